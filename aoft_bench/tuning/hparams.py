"""The files that `select` writes: conf/hparams/<set>/<method>/<dataset>.yaml. Comments with the evidence, then values.

The last line of a file's header is a digest of all other lines. It tells a file that was edited, or made by hand, from
one that can be replaced. The set is `tuned`, or has another name; then conf/hparams/<set>.yaml is written too, since
Hydra needs it to find the set.
"""

import hashlib
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml

from aoft_bench.config.folders import conf_dir
from aoft_bench.config.hparams_files import PACKAGE, hparams_problem
from aoft_bench.data.tasks import OWN, TASKS
from aoft_bench.tuning.choice import Choice, Point, seeds_text
from aoft_bench.utils.errors import UserError
from aoft_bench.utils.files import check_writable, write_text_atomically
from aoft_bench.utils.text import one_line

DIGEST = "# sha256 of all other lines: "
SETTING = "# setting: "
TUNED = "tuned"  # the default set; empty in conf/


def path_of(conf: Path, name: str, choice: Choice) -> Path:
    """Where `hparams=<name>` looks for a choice below a folder of configurations."""
    return conf / "hparams" / name / choice.method / f"{choice.dataset}.yaml"


def set_file(conf: Path, name: str) -> dict[Path, str]:
    """Path and text of conf/hparams/<name>.yaml, which refuses methods and tasks that nothing was chosen for.

    It is tuned.yaml with another name; nothing for tuned.yaml itself, which comes with conf/.
    """
    if name == TUNED:
        return {}
    text = (conf_dir() / "hparams" / f"{TUNED}.yaml").read_text(encoding="utf-8")
    for before, after in (
        ("aoft-bench select", f"aoft-bench select --as {name}"),
        (f"hparams={TUNED}", f"hparams={name}"),
    ):
        text = text.replace(before, after)
    return {conf / "hparams" / f"{name}.yaml": text.replace(f"conf/hparams/{TUNED}", f"conf/hparams/{name}")}


def check_set(conf: Path, name: str) -> None:
    """Raise `UserError` if `name` is no name, or that of hyper-parameters which `select` did not write."""
    if not re.fullmatch(r"[A-Za-z0-9_]+", name):
        raise UserError(f"--as takes a name of letters, digits and _, not {name!r}")
    for path in set_file(conf, name):
        existing = [found for found in (path, path.with_suffix("")) if found.exists()]
        # only the first words are compared, since later versions word the rest differently; 0.1.0 had aoft_bench.select
        if existing and not re.search(rf"# What aoft(-bench |_bench\.)select --as {name} chose", _text(path)):
            raise UserError(f"--as {name}: {existing[0]} is no set that aoft-bench select made; give another name")


def text_of(choice: Choice, name: str, known: Collection[str]) -> str:
    """The whole file of a set `name`: the same bytes for the same records. known: the choices of ``method=``.

    The body has every value of recipe and method of the chosen runs, also of those that were not tuned, so that a
    default that changes later does not change the choice. Raises `UserError` if the values are no such options.
    """
    header = [PACKAGE, *map(_comment, _header(choice, name, known))]
    body = _body(choice.best.runs[0].values)
    text = "\n".join([*header, DIGEST + _digest(header + body), *body]) + "\n"
    if problem := hparams_problem(text):
        raise UserError(f"the file for {choice.method} on {choice.dataset} {problem}; was a tuning record edited?")
    return text


def check_replaceable(path: Path, choice: Choice) -> None:
    """Raise `UserError` if `path` was edited or written by hand, or holds the choice for another setting."""
    if not path.exists():
        return
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise UserError(
            f"cannot read {path}: {error.strerror}; move it away, or give another folder by --conf DIR"
        ) from None
    digests = [line.removeprefix(DIGEST) for line in lines if line.startswith(DIGEST)]
    others = [line for line in lines if not line.startswith(DIGEST)]
    if digests != [_digest(others)]:
        what = "was edited since aoft-bench select wrote it" if digests else "was not written by aoft-bench select"
        raise UserError(f"{path} {what}; keep it, or let --force replace it")
    setting = next((line.removeprefix(SETTING) for line in others if line.startswith(SETTING)), "unknown")
    if setting != str(choice.setting):
        raise UserError(
            f"{path} holds the choice for another setting ({setting}; here: {choice.setting}); "
            "keep both by --as NAME, or let --force replace it"
        )


def write(files: dict[Path, str]) -> None:
    """Write all files, or none: every folder is tried first. Raises `UserError` for one that cannot be written."""
    for path in files:
        check_writable(path, "settings", "--conf DIR, and -cd DIR to the runs that use it")
    for path, text in files.items():
        write_text_atomically(path, text)


def _comment(line: str) -> str:
    """A line of the header, which stays a comment whatever a record says."""
    return f"# {one_line(line)}"


def _header(choice: Choice, name: str, known: Collection[str]) -> list[str]:
    """The lines of the header, without the signs of a comment."""
    first = choice.best.runs[0]
    own = choice.dataset not in TASKS  # one file of conf/dataset is for all of the user's own images
    dataset = f"{OWN} dataset.name={choice.dataset}" if own else choice.dataset
    method = choice.method if choice.method in known else first.registered
    found = choice.method in known and not own
    asked = f"method={method} dataset={dataset} hparams={name if found else f'{name}/{choice.method}/{choice.dataset}'}"
    tuned = ", ".join(choice.best.values) or "nothing, a single setting was run"
    seeds = seeds_text(choice.best.seeds)
    lines = [
        f"Chosen on val200 for {choice.method} on {choice.dataset} by aoft_bench.select; used by",
        f"  python -m aoft_bench {asked}",
        f"setting: {choice.setting}",
        f"tuned: {tuned}; the other values are those of the same runs",
        f"val200 top-1 in % of {first.images} images, mean ± standard deviation over {seeds}; > is taken",
    ]
    lines += [f"{'>' if point is choice.best else ' '} {point_text(point)}" for point in choice.points]
    if choice.incomplete:
        lines.append("not in the running, since runs of some seeds are missing or failed:")
        lines += [f"  {point_text(point)}, {seeds_text(point.seeds)} only" for point in choice.incomplete]
    if choice.stopped:
        lines.append("stopped early by aoft-bench tune, after so many epochs:")
        lines += [f"  {point_text(point)}, {point.runs[0].trained_epochs} epochs" for point in choice.stopped]
        lines.append(f"epochs of training in all: {choice.epochs:,}")
    lines += [f"{edge}: others beyond may be better" for edge in choice.edges]
    runs = [run for point in (*choice.points, *choice.incomplete, *choice.stopped) for run in point.runs]
    lines.append(f"code: {'; '.join(f'commit {commit}' for commit in sorted({run.commit for run in runs}))}")
    return [*lines, f"the run of seed {first.seed} of what is taken:", f"  {first.command}"]


def point_text(point: Point) -> str:
    """A point of the grid with its score, its runs and its size in a line."""
    spread = "" if point.spread is None else f" ± {point.spread:.2f}"
    return f"{point}: {100 * float(point.score):.2f}{spread}, n={len(point.runs)}, {point.trained:,} trained"


def _body(values: dict[str, Any]) -> list[str]:
    lines = []
    for section in ("method", "recipe"):
        inside = {name.removeprefix(f"{section}."): v for name, v in values.items() if name.startswith(f"{section}.")}
        lines += [f"{section}:"] if inside else []
        for name, value in inside.items():
            lines.append(f"  {_dumped(name)}: {_dumped(value)}")
    return lines


def _dumped(value: Any) -> str:
    """A value in YAML, in one line."""
    return yaml.safe_dump(value, default_flow_style=True, width=10**6).removesuffix("...\n").strip()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _digest(lines: list[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
