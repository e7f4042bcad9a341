"""Published rows that sweeps aim at, what was run for each, and what differs between the two.

A target is a line of results/published/reproductions.csv: it names a published row, our method, and the files of conf/
that hold the authors' settings. What stands beside it is every row of that method under protocol literature, and under
another protocol too where benchmark and kind of network are those of the published row.
"""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from aoft_bench.config.added_options import added_by_methods
from aoft_bench.config.folders import conf_dir
from aoft_bench.config.schema import RecipeOptions, warmup_epochs
from aoft_bench.data.tasks import TASKS
from aoft_bench.records.schema import Record
from aoft_bench.results.collect import LeftOut
from aoft_bench.results.published import (
    BEST_EPOCH,
    LAST_EPOCH,
    Published,
    PublishedRow,
    beside,
    differences,
    lines_of,
    load,
)
from aoft_bench.results.rows import Row, value_text
from aoft_bench.results.settings import Comparison
from aoft_bench.utils.errors import UserError, unknown, unknown_text

FILE = "reproductions.csv"
COLUMNS = ("name", "benchmark", "method", "source", "ours", "settings", "sweep", "seeds", "missing")
ROUNDING = 0.05  # of a published number


@dataclass(frozen=True)
class Target:
    """A published row to reproduce. name: of the line; ours: choice of ``method=``; settings: files and folders of
    conf/ with the authors' settings, the later ones win; sweep: the file of sweeps/ that runs it; seeds: over which the
    row is, as far as it is known; missing: what of the authors' training has no equivalent here."""

    name: str
    row: PublishedRow
    ours: str
    settings: tuple[str, ...]
    sweep: str
    seeds: str
    missing: str

    def called(self, name: str) -> bool:
        """Whether results.reproduces=`name` aims at this row: by its name, or by that of its sweep, which may have
        several."""
        return name in (self.name, self.sweep)

    @property
    def tasks(self) -> list[str]:
        """The tasks of the row's benchmark."""
        return [name for name, task in TASKS.items() if task.suite == self.row.benchmark]


@dataclass(frozen=True)
class CellPair:
    """One cell. published: as printed, None where only a mean is known; values: ours, one a seed; interval: where 95 %
    of further seeds are expected, None for fewer than two."""

    published: float | None
    values: tuple[float, ...]
    seeds: tuple[int, ...]

    @property
    def difference(self) -> float | None:
        """Ours minus the published number."""
        return statistics.fmean(self.values) - self.published if self.values and self.published is not None else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Student's prediction interval of one more seed, m ± t s sqrt(1 + 1/n), as wide as rounding at least."""
        count = len(self.values)
        if count < 2:
            return None
        from scipy.special import stdtrit  # what `scipy.stats.t.ppf` calls, without its checks and its import

        mean, deviation = statistics.fmean(self.values), statistics.stdev(self.values)
        half = ROUNDING + float(stdtrit(count - 1, 0.975)) * deviation * math.sqrt(1 + 1 / count)
        return mean - half, mean + half

    @property
    def within(self) -> bool | None:
        """Whether the published number may be another seed of ours; None where that cannot be said."""
        if self.interval is None or self.published is None:
            return None
        low, high = self.interval
        return low <= self.published <= high


@dataclass(frozen=True)
class Match:
    """One of our rows beside its target. cells: task -> pair, of the tasks that were run; best_epoch: the numbers are
    of the best test epoch, as the published ones; different: what differs, as short texts."""

    target: Target
    comparison: Comparison
    row: Row
    cells: dict[str, CellPair]
    best_epoch: bool
    different: list[str]

    @property
    def mean(self) -> CellPair:
        """Over the tasks that were run, of the seeds that all of them have."""
        pairs = list(self.cells.values())
        common = [seed for seed in pairs[0].seeds if all(seed in pair.seeds for pair in pairs)]
        values = [statistics.fmean(pair.values[pair.seeds.index(seed)] for pair in pairs) for seed in common]
        return CellPair(self._published_mean(), tuple(values), tuple(common))

    @property
    def whole(self) -> bool:
        """Whether every task of the benchmark was run."""
        return len(self.cells) == len(self.target.tasks)

    def _published_mean(self) -> float | None:
        known = [pair.published for pair in self.cells.values() if pair.published is not None]
        if len(known) == len(self.cells):
            return statistics.fmean(known)
        return flat_mean(self.target.row) if self.whole else None


def flat_mean(row: PublishedRow) -> float | None:
    """The flat mean of a published row: of its cells, or as printed."""
    return row.computed.get("mean19", row.mean if row.mean_kind == "mean19" else None)


def load_targets(root: Path, published: Published) -> list[Target]:
    """The targets of `root`/published. Lines that cannot be used are named in `published.left_out`."""
    path = published.folder / FILE if published.folder else root / "published" / FILE
    rows = {(row.benchmark, row.method, row.source): row for row in published.rows}
    targets: dict[str, Target] = {}
    for number, line in lines_of(path, COLUMNS, published.left_out):
        try:
            target = _target(line, rows)
            if target.name in targets:
                raise ValueError(f"{target.name} is the name of another line too")
            targets[target.name] = target
        except ValueError as error:
            text = f"line {number}: {error}; published/README.md says what a line holds"
            published.left_out.append(LeftOut(path, text))
    return list(targets.values())


def check_target(root: Path, name: str) -> None:
    """Raise `UserError` unless results.reproduces=`name` is a target with a row that exists, or the sweep of some."""
    published = load(root)
    targets = load_targets(root, published)
    if any(target.called(name) for target in targets):
        return
    if broken := [left for left in published.left_out if left.path.name == FILE]:
        raise UserError(f"results.reproduces={name}: {broken[0]}")
    if not targets:
        raise UserError(f"results.reproduces={name}: there is no results/published/{FILE} here; run it in a checkout")
    raise unknown(
        "published row (results.reproduces)",
        name,
        dict.fromkeys(name for one in targets for name in (one.name, one.sweep)),
    )


def _target(line: Mapping[str, str], rows: Mapping[tuple[str, str, str], PublishedRow]) -> Target:
    """Raises `ValueError` for a line whose row, method or settings do not exist."""
    if None in line or None in line.values():
        raise ValueError("it has more or fewer values than there are columns")
    key = (line["benchmark"], line["method"], line["source"])
    if key not in rows:
        methods = sorted({method for benchmark, method, _ in rows if benchmark == line["benchmark"]})
        if line["method"] in methods:
            what = unknown_text("source", line["source"], [s for b, m, s in rows if (b, m) == key[:2]])
        else:
            what = unknown_text("published row", line["method"], methods)
        raise ValueError(f"{line['name']} names a row that is in no file: {what}")
    conf, settings = conf_dir(), tuple(line["settings"].split())
    known = sorted(path.stem for path in (conf / "method").glob("*.yaml"))
    if line["ours"] not in known:
        raise ValueError(unknown_text("method", line["ours"], known))
    for name in settings:
        if not ((conf / name).is_dir() or (conf / f"{name}.yaml").is_file()):
            raise ValueError(f"there are no settings {name} in conf/")
    return Target(line["name"], rows[key], line["ours"], settings, line["sweep"], line["seeds"], line["missing"])


def matches(target: Target, comparisons: Iterable[Comparison]) -> list[Match]:
    """Our rows that stand beside a target, those that differ least from it and have most tasks first."""
    found = [
        _match(target, comparison, row)
        for comparison in comparisons
        if comparison.setting.split == "test"
        and not comparison.setting.subset  # a draw of some images is another task
        and comparison.setting.suite == target.row.benchmark
        and (comparison.setting.protocol == "literature" or beside([target.row], comparison))
        for row in comparison.rows
        if row.method == target.ours
    ]
    return sorted(found, key=lambda one: (len(one.different), -len(one.cells)))


def _match(target: Target, comparison: Comparison, row: Row) -> Match:
    best = target.row.checkpoint == BEST_EPOCH and row.best_epoch.keys() == row.cells.keys()
    numbers = row.best_epoch if best else row.cells
    cells = {
        task: CellPair(target.row.cells.get(task), tuple(numbers[task]), tuple(row.seeds(task)))
        for task in target.tasks
        if task in numbers
    }
    different = differences(target.row, comparison, BEST_EPOCH if best else LAST_EPOCH)
    seeds = sorted({seed for pair in cells.values() for seed in pair.seeds})
    different.append(f"seeds {target.seeds or 'not stated'} (ours: {', '.join(map(str, seeds))})")
    different += _other_settings(target, row.records)
    if target.missing:
        different.append(f"without an equivalent here: {target.missing}")
    return Match(target, comparison, row, cells, best, different)


def _other_settings(target: Target, records: Sequence[Record]) -> list[str]:
    """The authors' settings that these records were not made with: the first two tasks of each option are named."""
    if not target.settings:
        return ["settings not those of the authors, which conf/hparams does not have"]
    found: dict[str, dict[str, str]] = {}
    authors = {dataset: _settings(target, dataset) for dataset in dict.fromkeys(one["dataset"] for one in records)}
    for record in records:
        for name, value in authors[record["dataset"]].items():
            section, _, option = name.partition(".")
            ours = _of_record(record["config"][section], section, option)
            if not _same(value, ours):
                got = "its default" if ours is None else value_text(ours)
                found.setdefault(name, {})[record["dataset"]] = f"{value_text(_plain(value))} (ours: {got})"
    texts = []
    for name, by_task in found.items():
        texts_of_it = dict.fromkeys(by_task.values())
        if len(texts_of_it) == 1:
            texts.append(f"{name} {next(iter(texts_of_it))}")
        else:
            named = [f"{task} {text}" for task, text in by_task.items()]
            more = f" and {len(named) - 2} more" if len(named) > 2 else ""
            texts.append(f"{name}: {', '.join(named[:2])}{more}")
    return texts


def _settings(target: Target, dataset: str) -> dict[str, Any]:
    """section.option -> value of the authors' settings for one task."""
    merged: dict[str, Any] = {}
    for name in target.settings:
        path = conf_dir() / name
        path = path / f"{dataset}.yaml" if path.is_dir() else path.with_suffix(".yaml")
        tree = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None
        for section in ("method", "recipe"):
            options = (tree or {}).get(section) or {}
            merged |= {f"{section}.{option}": value for option, value in options.items() if option != "label"}
    return merged


def _of_record(options: Mapping[str, Any], section: str, option: str) -> Any:
    """An option as a run had it, those too that were left out at their default; None for one that is not known."""
    if section == "recipe" and option == "warmup_epochs":
        return warmup_epochs(options["epochs"], options[option])
    if option in options:
        return options[option]
    if section == "method":
        return added_by_methods().get(str(options["name"]), {}).get(option)
    return next((f.default for f in fields(RecipeOptions) if f.name == option and f.default is not MISSING), None)


def _plain(value: Any) -> Any:
    """YAML's 1e-3, which PyYAML reads as a text, as the number that Hydra makes of it."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _same(theirs: Any, ours: Any) -> bool:
    theirs = _plain(theirs)
    if isinstance(theirs, float) and isinstance(ours, int | float):
        return math.isclose(theirs, ours)
    return bool(theirs == ours)
