"""`aoft-bench select [RESULTS]`: choose hyper-parameters by their tuning runs, for `hparams=tuned`.

Reads the records of protocol `tune` below RESULTS/records (default: results/tuning) and writes, for each method and
task, what scored best on val200 to conf/hparams/tuned/<method>/<dataset>.yaml; with ``--as NAME`` to
conf/hparams/NAME, for `hparams=NAME`. See docs/tuning.md.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from aoft_bench.cli import ArgumentParser
from aoft_bench.config.check import problems_of
from aoft_bench.config.choices import choices
from aoft_bench.config.folders import conf_dir
from aoft_bench.tuning import hparams
from aoft_bench.tuning.choice import Choice, check_comparable, choose, seeds_text
from aoft_bench.tuning.evidence import SETTING_NAMES, Evidence, TuningRun, read_evidence
from aoft_bench.utils.errors import UserError, unknown
from aoft_bench.utils.text import counted

TUNE = "python -m aoft_bench -cd sweeps -cn tune"


def main(arguments: Sequence[str]) -> int:
    """Write the chosen settings. Raises `UserError`, and writes no file, if anything cannot be decided."""
    parser = ArgumentParser("select")
    parser.add_argument("results", nargs="?", default="results/tuning", type=Path, help="default: results/tuning")
    parser.add_argument("--methods", metavar="A,B", help="only these rows")
    parser.add_argument("--datasets", metavar="A,B", help="only these tasks")
    for name in SETTING_NAMES:
        parser.add_argument(f"--{name}", metavar="VALUE", help=f"only runs of this {name}, where records have several")
    parser.add_argument(
        "--as", dest="name", default=hparams.TUNED, metavar="NAME", help="for hparams=NAME; default: tuned"
    )
    parser.add_argument("--conf", type=Path, default=conf_dir(), help="folder of configurations to write into")
    parser.add_argument(
        "--force", action="store_true", help="replace files that were edited, or are of another setting"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be chosen and write nothing")
    _select(parser.parse_args(arguments))
    return 0


def _select(arguments: argparse.Namespace) -> None:
    found = read_evidence(arguments.results)
    for text in found.left_out:
        print(f"aoft_bench: left out: {text}", file=sys.stderr)
    groups: dict[tuple[str, str], list[TuningRun]] = defaultdict(list)
    for run in sorted(_selected(found, arguments), key=lambda run: (run.method, run.dataset)):
        groups[run.method, run.dataset].append(run)
    check_comparable(groups)
    chosen = [choose(runs, [one for one in found.stopped if _is_like(one, runs[0])]) for runs in groups.values()]
    known = choices([conf_dir(), arguments.conf])
    conf, name = arguments.conf, arguments.name
    hparams.check_set(conf, name)
    written = {hparams.path_of(conf, name, choice): hparams.text_of(choice, name, known) for choice in chosen}
    problems = []
    for choice, path in zip(chosen, written, strict=True):
        try:
            if not arguments.force:
                hparams.check_replaceable(path, choice)
        except UserError as error:
            problems.append(str(error))
    if problems:
        raise UserError(problems_of(problems))
    if not arguments.dry_run:
        hparams.write(written | hparams.set_file(conf, name))
    for choice, path in zip(chosen, written, strict=True):
        _report(choice, path, arguments)
    total = sum(len(point.runs) for choice in chosen for point in (*choice.points, *choice.incomplete))
    verb = "would be written" if arguments.dry_run else "written"
    others = f"; {counted(found.others, 'record')} of other protocols left alone" if found.others else ""
    print(f"{counted(len(written), 'file')} {verb} from {counted(total, 'tuning record')}{others}")


def _is_like(run: TuningRun, other: TuningRun) -> bool:
    """Whether two runs are of one method on one task under one setting."""
    return all(getattr(run, name) == getattr(other, name) for name in ("method", "dataset", "setting"))


def _selected(found: Evidence, arguments: argparse.Namespace) -> list[TuningRun]:
    """The runs that the command line selects. Raises `UserError` if there are none, or none of a name that is given."""
    runs = found.runs
    if not runs:
        others = f"{found.others} of other protocols, which are not read" if found.others else "none at all"
        if found.stopped:
            others = f"{counted(len(found.stopped), 'trial')} of aoft-bench tune that did not come to the end"
        raise UserError(
            f"no tuning records below {arguments.results / 'records'} ({others}); "
            f"make some: {TUNE} method=aoft dataset=digits"
        )
    for option, field in (("methods", "method"), ("datasets", "dataset")):
        given = getattr(arguments, option)
        names = given.split(",") if given is not None else []
        allowed = {getattr(run, field) for run in runs}
        for name in names:
            if name not in allowed:
                raise unknown(field, name, allowed, f"others have no tuning records: {TUNE} {field}=...")
        runs = [run for run in runs if not names or getattr(run, field) in names]
    for name in SETTING_NAMES:
        given = getattr(arguments, name)
        allowed = {str(getattr(run.setting, name)) for run in runs}
        if given is not None and given not in allowed:
            raise unknown(name, given, allowed, "others have no tuning records")
        runs = [run for run in runs if given in (None, str(getattr(run.setting, name)))]
    if not runs:
        raise UserError(f"no tuning records of {arguments.methods} on {arguments.datasets} below {arguments.results}")
    return runs


def _report(choice: Choice, path: Path, arguments: argparse.Namespace) -> None:
    best = choice.best
    print(
        f"{choice.method} · {choice.dataset} · {choice.setting.backbone}: {best}, val200 top-1 "
        f"{100 * float(best.score):.2f} %, the best of {len(choice.points) + len(choice.stopped)}, "
        f"{seeds_text(best.seeds)}"
    )
    if choice.stopped:
        print(f"  {len(choice.stopped)} of them were stopped early; {choice.epochs:,} epochs of training in all")
    for edge in choice.edges:
        print(f"  {edge}: others beyond may be better")
    for point in choice.incomplete:
        print(f"  not in the running: {point}, with {seeds_text(point.seeds)} only")
    bundled = hparams.path_of(conf_dir(), arguments.name, choice)
    if bundled != path and bundled.exists() and arguments.conf.resolve() != conf_dir().resolve():
        print(f"  {bundled} exists too, and hparams={arguments.name} takes that one first")
    shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    print(f"  {'would be written to ' if arguments.dry_run else ''}{shown}", flush=True)
