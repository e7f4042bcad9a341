"""What rows cost: parameters, time of a step, memory, images a second, size of the saved file; a table a machine."""

import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from aoft_bench.records.schema import Record
from aoft_bench.results.ranking import rounded
from aoft_bench.results.rows import Row
from aoft_bench.results.settings import Comparison
from aoft_bench.results.table import MISSING, Column, Entry, Table, count_entry, make_block

_MACHINE = ("device", "gpu", "cpu", "cores", "threads", "system")


@dataclass(frozen=True)
class _Runs:
    """The records of a row that were made on one machine."""

    row: Row
    records: Sequence[Record]


def cost_tables(comparison: Comparison) -> list[Table]:
    """One table for each machine that records were made on, with each batch size; nothing is ranked."""
    machines: dict[tuple[Any, ...], dict[int, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for number, row in enumerate(comparison.rows):
        for record in row.records:
            machines[_machine(record)][number].append(record)
    tables = []
    for machine in sorted(machines, key=str):
        records = machines[machine]
        rows = [_Runs(comparison.rows[number], records[number]) for number in sorted(records)]
        words = _described(machine)
        title = f"Cost: {comparison.title}" + (f", {words}" if len(machines) > 1 else "")
        shared = comparison.setting.as_columns() | {"on": words}
        tables.append(Table(title, _caption(comparison, words), _COLUMNS, [make_block(_COLUMNS, rows)], [], shared))
    return tables


def _machine(record: Record) -> tuple[Any, ...]:
    return (
        *(record["hardware"].get(name) for name in _MACHINE),
        record["hardware"].get("processes") or 1,  # older records do not say so
        record["config"]["recipe"]["batch_size"],
        record.get("versions", {}).get("torch"),
    )


def _described(machine: tuple[Any, ...]) -> str:
    device, gpu, cpu, cores, threads, system, processes, batch, torch = machine
    place = f"{gpu or device}" if device != "cpu" else f"CPU {cpu}, {threads} of {cores} cores used"
    together = f", {processes} processes together" if processes > 1 else ""
    return f"{place}{together}, {system}, torch {torch}, batches of {batch}"


def _caption(comparison: Comparison, words: str) -> str:
    return (
        f"{words}; {comparison.setting.img_size} px, {comparison.setting.precision}. Median over the runs of a row, of "
        "the peak memory the largest; step: batch size / training images a second. Times include whatever else the "
        "machine was doing, and memory on a CPU is that of the whole process: not properties of a method, not "
        "comparable across machines"
    )


def _cost(name: str, scale: float = 1.0) -> Callable[[Record], float | None]:
    """`cost.name` of a record times `scale`; None where it is not recorded."""

    def value(record: Record) -> float | None:
        found = record["cost"].get(name)
        return None if found is None else found * scale

    return value


def _speed(record: Record) -> float | None:
    """Training images a second; None for less than a run records, two decimals."""
    found = _cost("train_images_per_second")(record)
    return found if found and found >= 0.01 else None


def _step(record: Record) -> float | None:
    """Milliseconds of a training step."""
    speed = _speed(record)
    return 1000 * record["config"]["recipe"]["batch_size"] / speed if speed else None


def _over_runs(
    value: Callable[[Record], float | None],
    digits: int = 1,
    summary: Callable[[Sequence[float]], float] = statistics.median,
) -> Callable[[_Runs], Entry]:
    """The entry that summarises `value` over the runs that have it."""

    def entry(runs: _Runs) -> Entry:
        found = [(number, record["seed"]) for record in runs.records if (number := value(record)) is not None]
        if not found:
            return MISSING
        values, seeds = zip(*found, strict=True)
        return Entry(rounded(summary(values), digits), summary(values), values, seeds)

    return entry


_COLUMNS: list[Column[_Runs]] = [
    Column("method", lambda runs: Entry(runs.row.label), text=True),
    Column("trained", lambda runs: count_entry(runs.row.trained)),
    Column("with head", lambda runs: count_entry(runs.row.trained + runs.row.head)),
    Column("step (ms)", _over_runs(_step, digits=0)),
    Column("peak memory (GiB)", _over_runs(_cost("peak_memory_bytes", 2**-30), digits=2, summary=max)),
    Column("train images/s", _over_runs(_speed)),
    Column("score images/s", _over_runs(_cost("score_images_per_second"))),
    Column("saved file (MB)", _over_runs(_cost("trained_file_bytes", 1e-6), digits=2)),
    Column("runs", lambda runs: Entry(str(len(runs.records)), len(runs.records))),
]
