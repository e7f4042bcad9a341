"""How the jobs of a sweep ended: a note of each, and the summary of all.

Jobs may run in other processes and on other machines, so they return nothing. Each writes a note `<number>.json` into
a folder that the sweep makes for itself inside hydra.sweep.dir; a job without a note did not end.
"""

import json
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from aoft_bench.records.files import read_record
from aoft_bench.utils.errors import UserError
from aoft_bench.utils.files import write_text_atomically
from aoft_bench.utils.progress_bar import in_words
from aoft_bench.utils.text import counted

PLANNED = "planned"  # file beside the notes with the number of cells; its time is that of the sweep's start
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


def plan(folder: Path, cells: int) -> None:
    """Note how many cells a sweep is going to run, as it starts."""
    write_text_atomically(folder / PLANNED, f"{cells}\n")


def place(folder: Path, number: int) -> str:
    """Where in its sweep the job of this number is, as in "3 of 8, about 12 min left".

    The time is that of the jobs that have ended, times those that have not, for as many workers as there are.
    """
    path = folder / PLANNED
    cells, ended = int(path.read_text("utf-8")), len(list(folder.glob("*.json")))
    left = max(0.0, time.time() - path.stat().st_mtime) / max(1, ended) * (cells - ended)
    return f"{number + 1:,} of {cells:,}" + (f", about {in_words(left)} left" if ended else "")


def note(folder: Path, number: int, job: Job) -> None:
    """Leave the note of a job."""
    write_text_atomically(folder / f"{number}.json", json.dumps(asdict(job)) + "\n")


def read_notes(folder: Path, planned: list[list[str]]) -> list[Job]:
    """The jobs of the sweep in a folder, in the order in which they were planned, by their overrides.

    The outcome is "missing" where there is no note.
    """
    jobs = []
    for number, overrides in enumerate(planned):
        path = folder / f"{number}.json"
        jobs.append(Job(**json.loads(path.read_text("utf-8"))) if path.is_file() else Job(overrides, "missing"))
    return jobs


def summary(jobs: list[Job]) -> str:
    """How many cells there are of each outcome, and the name of each that failed or is missing."""
    counts = Counter(job.outcome for job in jobs)
    shown = {"skipped": "done before", "elsewhere": "running in other processes"}
    parts = [f"{counts[outcome]:,} {shown.get(outcome, outcome)}" for outcome in OUTCOMES if counts[outcome]]
    lines = [f"{counted(len(jobs), 'cell')}: {', '.join(parts)}"]
    for outcome in ("failed", "missing"):
        named = [f"  {outcome}: [{job.name}] {job.problem or ''}".rstrip() for job in jobs if job.outcome == outcome]
        lines += named[:NAMED] + ([f"  ... and {len(named) - NAMED:,} more {outcome}"] if len(named) > NAMED else [])
    return "\n".join(lines)


def records_of(jobs: list[Job]) -> tuple[list[dict[str, Any]], list[str]]:
    """(the records of the jobs that have one, a line for each that cannot be used)."""
    found, left_out = [], []
    for path in dict.fromkeys(job.record for job in jobs if job.record and job.outcome in ("done", "skipped")):
        try:
            found.append(read_record(Path(path)))
        except UserError as error:
            left_out.append(str(error))
    return found, left_out
