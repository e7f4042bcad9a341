"""A search of `aoft-bench tune`: the settings of a grid for one method on one task, and the trials that train them."""

import contextlib
import json
import os
import shlex
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from aoft_bench.cli import method_class
from aoft_bench.cli.run import cell_command
from aoft_bench.config.command_line import CommandLine, read_command_line, split_word
from aoft_bench.config.compose import jobs_of
from aoft_bench.config.schema import RunConfig, from_dict
from aoft_bench.records.code_version import code_digest
from aoft_bench.records.files import CellFiles, read_record
from aoft_bench.records.identity import cell_hash, identity
from aoft_bench.tuning.choice import as_typed, choose
from aoft_bench.tuning.evidence import read_evidence, run_of
from aoft_bench.tuning.halving import DIVERGED, Plan, plan
from aoft_bench.tuning.journal import Definition, Journal, Stretch
from aoft_bench.tuning.portfolio import portfolio
from aoft_bench.utils.errors import UserError
from aoft_bench.utils.files import user_path
from aoft_bench.utils.locks import claim
from aoft_bench.utils.text import counted

FOLDER = "searches"  # below the folder of results


@dataclass(frozen=True)
class Cell:
    """A setting under one seed. command: what its record says reproduces it."""

    config: RunConfig
    command: str


@dataclass
class Search:
    """The settings of a grid for one method on one task.

    cells: of each setting, as it is typed, one for each seed; values: those of its options that vary; options: of this
    command. found: whether a setting was trained to the end, known when the search is done.
    """

    cells: dict[str, list[Cell]]
    values: dict[str, dict[str, Any]]
    options: dict[str, str]
    next_words: str
    found: bool = False
    _printed: set[Stretch] = field(default_factory=set)
    _files: dict[str, list[CellFiles]] = field(default_factory=dict)

    @property
    def config(self) -> RunConfig:
        """That of the first cell, for what all cells have in common."""
        return next(iter(self.cells.values()))[0].config

    @property
    def seeds(self) -> int:
        return len(next(iter(self.cells.values())))

    @property
    def dry_run(self) -> bool:
        return self.config.dry_run

    @property
    def label(self) -> str:
        c = self.config
        return f"{c.method.label} · {c.dataset.name} · {c.backbone.name}"

    @property
    def plan(self) -> Plan:
        given = self.options["rungs"]
        rungs = None if given == "auto" else [int(rung) for rung in given.split(",")]
        epochs, wanted = self.config.recipe.epochs, self.options["trials"]
        if rungs and max(rungs) >= epochs:
            raise UserError(f"rungs={given}: {max(rungs)} is not before the last of {epochs} epochs; give fewer epochs")
        count = len(self.cells) if wanted == "all" else min(int(wanted), len(self.cells))
        return plan(count, epochs, int(self.options["factor"]), rungs)

    def announced(self) -> str:
        """What will be run, in a line."""
        found = self.plan
        steps = ", ".join(f"{count} to epoch {rung}" for count, rung in zip(found.settings, found.rungs, strict=True))
        seeds = f" for each of {self.seeds} seeds" if self.seeds > 1 else ""
        return (
            f"{self.label}: {steps}: {counted(found.spent, 'epoch')}{seeds}, {found.spent / found.of_grid:.0%} of the "
            f"{found.of_grid:,} that these {found.settings[0]} settings take to the end"
        )

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """A context in which this process works on the search: its data and weights found, its journal open."""
        from aoft_bench.experiments.experiment import prepare_experiment
        from aoft_bench.experiments.locate import files_of, hash_of

        c, first = self.config, prepare_experiment(self.config)
        found = {"fingerprint": first.prepared.fingerprint, "precision": first.precision}
        hashes = {}
        for setting, cells in self.cells.items():
            hashes[setting] = [hash_of(cell.config, weights_sha256=first.weights_sha256, **found) for cell in cells]
            configs = (cell.config for cell in cells)
            self._files[setting] = [files_of(*pair) for pair in zip(configs, hashes[setting], strict=True)]
        # other images, weights, epochs or seeds are another search; another grid has the same place, and is refused
        of_all = identity(c.as_dict(), weights=first.weights_sha256, **found)
        seeds = [cell.config.seed for cell in next(iter(self.cells.values()))]
        of_all |= {"method": c.method.name, "recipe": c.recipe.epochs, "seed": sorted(seeds)}
        root = user_path(c.results.root, "results.root")
        folder = root / FOLDER / c.backbone.name / c.method.label / c.dataset.name / cell_hash(of_all)
        definition = Definition(code_digest(), hashes, self.options, self.plan)
        self._journal = Journal(folder, definition, lambda: self._queue(root))
        with self._journal.working():
            yield

    def _queue(self, root: Path) -> list[str]:
        """The settings in the order in which they are tried."""
        order, c = list(self.cells), self.config
        if self.options["start"] == "portfolio":
            names = {"method": c.method.label, "backbone": c.backbone.name, "dataset": c.dataset.name}
            found = portfolio(read_evidence(root), self.values, **names)
            print(f"{self.label}: starts with {found}: {'; '.join(found.settings)}", flush=True)
            order = [*found.settings, *(name for name in order if name not in found.settings)]
        return order[: self.plan.settings[0]]

    def step(self) -> Literal["wait", "done", "ran"]:
        """Run the next trial of the search, if there is one, and print those that have ended since."""
        taken = self._journal.take()
        if isinstance(taken, str):
            self._print_ended()
            return taken
        try:
            score = self._run(taken)
        except BaseException:
            self._journal.give_back(taken)
            raise
        self._journal.end(taken, score)
        self._print_ended()
        return "ran"

    def _run(self, stretch: Stretch) -> float:
        """Train a setting up to its rung, for each seed: mean val200 top-1 in %, or `DIVERGED`."""
        from aoft_bench.experiments.run import run
        from aoft_bench.training.score import DivergedError

        found = self.plan
        trial = {"rung": stretch.rung, "rungs": list(found.rungs), "trials": list(found.settings)}
        scores = []
        for cell in self.cells[stretch.setting]:
            try:
                record = run(cell.config, cell.command, trial=trial).record
            except DivergedError:
                return DIVERGED
            assert record is not None
            if stretch.rung == len(found.rungs):
                scores.append(record["metrics"]["top1"])  # what `select` reads; the merged network, unlike the curve
            else:
                curve = record["curves"]["val200_top1"]  # of a cell that is done it is longer
                scores.append(curve[found.rungs[stretch.rung - 1] - 1])
        return round(sum(scores) / len(scores), 6)

    def _print_ended(self) -> None:
        """Print the trials that have ended, by any process, and were not printed before."""
        found = self.plan
        for stretch, score in self._journal.ended().items():
            if stretch in self._printed:
                continue
            self._printed.add(stretch)
            top1 = "diverged" if score == DIVERGED else f"val200 top-1 {score:.2f} %"
            print(
                f"{self.label}: {stretch.setting}: rung {stretch.rung} of {len(found.rungs)}, "
                f"{found.rungs[stretch.rung - 1]} of {found.rungs[-1]} epochs, {top1}",
                flush=True,
            )

    def summary(self) -> str:
        """The best setting, what was spent, and what to type next. Removes the checkpoints that no trial needs."""
        found, ended = self.plan, self._journal.ended()
        self._remove_checkpoints()
        last = [s.setting for s, score in ended.items() if s.rung == len(found.rungs) and score != DIVERGED]
        runs = [(run_of(read_record(files.record)), setting) for setting in last for files in self._files[setting]]
        if not runs:
            return f"{self.label}: no setting could be trained: all diverged; give lower rates"
        self.found = True
        best = choose([run for run, _ in runs]).best  # as `select` chooses
        setting = next(setting for run, setting in runs if run is best.runs[0])
        spent = sum({s.setting: found.rungs[s.rung - 1] for s in ended}.values()) * self.seeds  # its last rung counts
        return (
            f"{self.label}: {setting}, val200 top-1 {100 * float(best.score):.2f} %, the best of "
            f"{found.settings[0]}\n  {spent:,} epochs of training; the grid takes {found.of_grid * self.seeds:,}\n"
            f"  next: {self.next_words}"
        )

    def _remove_checkpoints(self) -> None:
        """Remove the checkpoints of trials that were stopped, which for `full` take a gigabyte each."""
        for files in (files for some in self._files.values() for files in some):
            if files.checkpoint.is_file() and files.stopped.is_file():
                with claim(files.lock, files.checkpoint.name, wait=False) as mine:
                    if mine:
                        files.checkpoint.unlink(missing_ok=True)
                        files.lock.unlink(missing_ok=True)


def searches_of(arguments: Sequence[str], options: dict[str, str], folder: Path | None) -> list[Search]:
    """The searches that a command line asks for, in order. Raises `UserError` for what cannot be searched."""
    line = read_command_line(arguments, method_class, folder)
    if launcher := [word for word in line.words if word.startswith("hydra")]:
        raise UserError(f"{launcher[0]}: tune starts no processes; start the same command several times instead")
    from aoft_bench.backbones.choice import completed

    composer = line.composer
    jobs = jobs_of(composer.sweep_params(line.name), line.words)
    groups: dict[str, list[tuple[list[str], RunConfig]]] = defaultdict(list)
    for job, tree in zip(jobs, composer.compose_jobs(line.name, jobs), strict=True):
        config = from_dict(completed(tree), method_class)
        _check(config)
        groups[_same(config)].append((job, config))
    return [_search(line, cells, options) for cells in groups.values()]


def _check(config: RunConfig) -> None:
    """Raise `UserError` for a run that chooses by other images than val200, or is not run once."""
    if config.protocol.name != "tune":
        raise UserError(
            f"protocol={config.protocol.name}: settings are chosen on val200, never by test images; give "
            "protocol=tune, or a sweep file that does, as in aoft-bench tune -cd sweeps -cn tune"
        )
    if config.results.mode != "missing":
        raise UserError(f"results.mode={config.results.mode}: tune takes missing alone; give another results.root=DIR")


def _same(config: RunConfig) -> str:
    """Equal for cells of one search: these differ in seed and options of method and recipe, but not in epochs."""
    tree = config.as_dict()
    tree["recipe"] = {"epochs": config.recipe.epochs}
    tree["method"] = {"name": config.method.name, "label": config.method.label}
    return json.dumps(tree | {"seed": None}, sort_keys=True)


def _search(line: CommandLine, cells: list[tuple[list[str], RunConfig]], options: dict[str, str]) -> Search:
    first = cells[0][1]
    flat = [_options_of(config) for _, config in cells]
    varying = [name for name in flat[0] if len({json.dumps(one.get(name)) for one in flat}) > 1]
    label = f"{first.method.label} on {first.dataset.name}"
    if not varying:
        raise UserError(
            f"{label} has one setting, so there is nothing to choose: give an option of recipe or method several "
            "values, as in recipe.lr=1e-3,3e-3,1e-2"
        )
    folder = Path(os.path.relpath(line.folder)) if line.folder else None
    found: dict[str, list[Cell]] = defaultdict(list)
    values: dict[str, dict[str, Any]] = {}
    for (job, config), one in zip(cells, flat, strict=True):
        chosen = {name: one.get(name) for name in varying}
        setting = " ".join(f"{name}={as_typed(value)}" for name, value in chosen.items())
        if config.seed not in [cell.config.seed for cell in found[setting]]:  # one may be given twice
            found[setting].append(Cell(config, cell_command(folder, line.name, job)))
        values[setting] = chosen
    if len({len(some) for some in found.values()}) > 1:
        raise UserError(f"{label}: some settings have more seeds than others; give the same seeds to all")
    return Search(dict(found), values, options, _next(cells[0][0], first))


def _options_of(config: RunConfig) -> dict[str, Any]:
    """The options of recipe and method by their dotted names, as `tuning.evidence` names those of a record."""
    tree = config.as_dict()
    method = {name: value for name, value in tree["method"].items() if name not in ("name", "label")}
    sections = {"method": method, "recipe": tree["recipe"]}
    return {f"{section}.{name}": value for section, some in sections.items() for name, value in some.items()}


def _next(job: Sequence[str], config: RunConfig) -> str:
    """The commands that use the choice."""
    kept = ("method", "dataset", "backbone", "name", "trainer", "logger", "dataset.name", "data.root")
    given = dict(map(split_word, job))
    words = [f"{name}={given[name]}" for name in kept if name in given]
    root = [] if config.results.root == "results/tuning" else [config.results.root]
    return f"{shlex.join(['aoft-bench', 'select', *root])}; python -m aoft_bench {shlex.join(words)} hparams=tuned"
