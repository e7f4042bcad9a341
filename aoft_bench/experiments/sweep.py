"""A sweep: which cells it has, what each job of it leaves to read, and how it ended.

Jobs may run in this process, in others or on other machines, so nothing is handed back: each writes a note
`<number>.json` into the sweep's folder (hydra.sweep.dir), and a job without one did not end.
"""

import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from aoft_bench.records.files import read_record
from aoft_bench.utils.errors import UserError
from aoft_bench.utils.files import write_text_atomically

NAMED = 20  # jobs of one outcome that a summary names
OUTCOMES = ("done", "skipped", "elsewhere", "failed", "missing", "dry run")


@dataclass(frozen=True)
class Job:
    """What became of a job. outcome: one of `OUTCOMES`; record: path of the cell's record, if it has one; problem: why
    it failed, in a line."""

    overrides: list[str]
    outcome: str
    record: str | None = None
    problem: str | None = None

    @property
    def name(self) -> str:
        return " ".join(self.overrides)


def jobs_of(params: dict[str, str], overrides: list[str]) -> list[list[str]]:
    """The overrides of each job, in order: the product of a sweep file's hydra.sweeper.params and the command line,
    which wins."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser

    words = [f"{key}={value}" for key, value in params.items()] + overrides
    (jobs,) = BasicSweeper.split_arguments(OverridesParser.create().parse_overrides(words), None)
    return jobs


def note(folder: Path, number: int, job: Job) -> None:
    """Leave the note of a job."""
    write_text_atomically(folder / f"{number}.json", json.dumps(asdict(job)) + "\n")


def jobs_in(folder: Path) -> list[Job]:
    """All jobs of the sweep in a folder, in order; "missing" where there is no note. Empty if no sweep began there."""
    from omegaconf import OmegaConf

    started = folder / "multirun.yaml"  # Hydra's own
    if not started.is_file():
        return []
    hydra: Any = OmegaConf.to_container(OmegaConf.load(started), resolve=False)["hydra"]  # type: ignore[index, call-overload]
    jobs = []
    for number, overrides in enumerate(jobs_of(hydra["sweeper"].get("params") or {}, hydra["overrides"]["task"])):
        path = folder / f"{number}.json"
        jobs.append(Job(**json.loads(path.read_text("utf-8"))) if path.is_file() else Job(overrides, "missing"))
    return jobs


def summary(jobs: list[Job]) -> str:
    """How many cells there are of each outcome, and the name of each that failed or is missing."""
    counts = Counter(job.outcome for job in jobs)
    shown = {"skipped": "done before", "elsewhere": "running in other processes"}
    parts = [f"{counts[outcome]:,} {shown.get(outcome, outcome)}" for outcome in OUTCOMES if counts[outcome]]
    lines = [f"{len(jobs):,} cells: {', '.join(parts)}"]
    for outcome in ("failed", "missing"):
        named = [f"  {outcome}: [{job.name}] {job.problem or ''}".rstrip() for job in jobs if job.outcome == outcome]
        lines += named[:NAMED] + ([f"  ... and {len(named) - NAMED:,} more {outcome}"] if len(named) > NAMED else [])
    return "\n".join(lines)


def records_of(jobs: list[Job]) -> list[dict[str, Any]]:
    """The records of the jobs that have one; a damaged one is left to `make tables` to name."""
    found = []
    for path in dict.fromkeys(job.record for job in jobs if job.record and job.outcome in ("done", "skipped")):
        try:
            found.append(read_record(Path(path)))
        except UserError:
            continue
    return found
