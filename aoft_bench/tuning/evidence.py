"""The records of protocol `tune` below a folder, each reduced to what a choice needs.

Of a record of another protocol nothing is read but the protocol's name: its numbers are of test images, which no choice
may depend on.
"""

import dataclasses
import json
import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from aoft_bench.config.check import check_value
from aoft_bench.config.schema import RecipeOptions
from aoft_bench.records.files import STOPPED, command_of
from aoft_bench.records.schema import Record
from aoft_bench.results.collect import Collected, LeftOut, collect
from aoft_bench.results.setting import triple
from aoft_bench.utils.errors import unknown_text


@dataclass(frozen=True)
class TuningSetting:
    """What runs must share besides method and task so that their scores can be compared.

    backbone: its name; weights, data: the first twelve digits of their SHA-256 and fingerprint; px: input side;
    normalization: mean and standard deviation.
    """

    backbone: str
    weights: str
    px: int
    interpolation: str
    normalization: str
    precision: str
    epochs: int
    data: str

    def __str__(self) -> str:
        return (
            f"backbone {self.backbone} (weights {self.weights}), {self.px} px {self.interpolation}, "
            f"normalization {self.normalization}, {self.precision}, {self.epochs} epochs, data {self.data}"
        )


# an interpolation, and a key such as _target_
_NO_OPTION = re.compile(r'\$\{|"_\w*":')

SETTING_NAMES = tuple(field.name for field in dataclasses.fields(TuningSetting))


@dataclass(frozen=True)
class TuningRun:
    """A tuning run.

    method: the name of its row in a table; registered: the method itself; values: every value of recipe and method, by
    dotted name; score: val200 top-1 as a fraction of `images`; trained: parameters without the head; commit: of the
    code; command: that which reproduces the run; trained_epochs: fewer than those of the setting for a trial that
    `aoft-bench tune` stopped, whose score is that of its rung.
    """

    method: str
    registered: str
    dataset: str
    seed: int
    setting: TuningSetting
    values: dict[str, Any]
    score: Fraction
    images: int
    trained: int
    commit: str
    command: str
    trained_epochs: int

    @property
    def identity(self) -> str:
        """Equal for records of the same run, such as one of weights given as a file and one of them by name."""
        parts = (self.method, self.registered, self.dataset, self.seed, str(self.setting), self.values)
        return json.dumps(parts, sort_keys=True)


@dataclass(frozen=True)
class Evidence:
    """The tuning runs of a folder. left_out: why a record does not count; others: records of other protocols; stopped:
    trials that were not trained to the end, which are compared with nothing."""

    runs: list[TuningRun]
    left_out: list[str]
    others: int
    stopped: list[TuningRun] = dataclasses.field(default_factory=list)


def read_evidence(root: Path) -> Evidence:
    """The tuning runs below `root`, in order of the paths of their records, whatever finished first."""
    found = collect(root, protocol="tune")
    runs, left_out = _usable(found)
    stopped, others_left_out = _usable(collect(root, protocol="tune", folder=STOPPED))
    done = {run.identity for run in runs}
    stopped = [run for run in stopped if run.identity not in done]
    return Evidence(runs, [*left_out, *others_left_out], found.others, stopped)


def _usable(found: Collected) -> tuple[list[TuningRun], list[str]]:
    """(the runs of good records, why others are left out)"""
    left_out = [str(left) for left in found.left_out]
    runs: list[TuningRun] = []
    paths: dict[str, Path] = {}
    for path, record in zip(found.paths, found.records, strict=True):
        if problem := _problem(record):
            left_out.append(str(LeftOut(path, f"{problem}; was it edited? run the cell again")))
            continue
        run = run_of(record)
        first = paths.setdefault(run.identity, path)
        if first == path:
            runs.append(run)
        else:
            left_out.append(f"{path} is of the same run as {first}, which counts; delete one of them")
    return runs, left_out


def _problem(record: Record) -> str | None:
    """Why the values of a record cannot be settings of other runs; None if they can. They go into files of conf/."""
    config, known = record["config"], [field.name for field in dataclasses.fields(RecipeOptions)]
    for name, value in config["recipe"].items():
        if name not in known:
            return unknown_text("option of recipe", name, known)
        if problems := check_value(RecipeOptions, name, value, "recipe"):
            return problems[0]
    for name, value in config["method"].items():
        if not re.fullmatch(r"[a-z]\w*", name, re.ASCII) or _NO_OPTION.search(json.dumps(value)):
            return f"config.method holds {name!r}: {value!r}, which is no option of a method"
    return None


def run_of(record: Record) -> TuningRun:
    """A good record of protocol `tune` as a tuning run."""
    config, metrics = record["config"], record["metrics"]
    method = {name: value for name, value in config["method"].items() if name not in ("name", "label")}
    sections = {"method": method, "recipe": config["recipe"]}
    return TuningRun(
        method=record["method"],
        registered=config["method"]["name"],
        dataset=record["dataset"],
        seed=record["seed"],
        setting=_setting(record),
        values={f"{section}.{name}": value for section, some in sections.items() for name, value in some.items()},
        score=Fraction(metrics["correct"], metrics["total"]),
        images=metrics["total"],
        trained=record["parameters"]["trained"],
        commit=_commit(record.get("git") or {}),
        command=command_of(record) or "unknown",
        trained_epochs=trial["rungs"][trial["rung"] - 1]
        if (trial := record.get("trial"))
        else config["recipe"]["epochs"],
    )


def _commit(git: dict[str, Any]) -> str:
    """The commit of the code, and whether files were changed since."""
    if not git.get("commit"):
        return "unknown"
    states = {True: ", changed since", False: "", None: ", perhaps changed since"}
    return f"{git['commit']}{states[git.get('dirty')]}"


def _setting(record: Record) -> TuningSetting:
    config, data = record["config"], record["data"]
    return TuningSetting(
        backbone=record["backbone"],
        weights=record["weights"]["sha256"][:12],
        px=config["backbone"]["img_size"],
        interpolation=config["data"]["interpolation"],
        normalization=f"{triple(data['mean'])}±{triple(data['std'])}",
        precision=record["precision"],
        epochs=config["recipe"]["epochs"],
        data=data["fingerprint"][:12],
    )
