"""What rows cost: parameters, time of a step, memory, images a second, size of the saved file; a table a machine."""

import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
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
        record["hardware"].get("processes", 1),  # older records do not say so
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


def _cost(
    name: str,
    runs: _Runs,
    scale: float = 1.0,
    digits: int = 1,
    summary: Callable[[Sequence[float]], float] = statistics.median,
) -> Entry:
    """The records' `cost.name` times `scale`, summarised; missing where no record has it."""
    found = [(r["cost"][name], r["seed"]) for r in runs.records if isinstance(r["cost"].get(name), int | float)]
    return _summarised([(value * scale, seed) for value, seed in found], digits, summary)


def _speed(runs: _Runs) -> list[tuple[float, Record]]:
    """Training images a second of the records that have them."""
    found = [(record["cost"].get("train_images_per_second"), record) for record in runs.records]
    return [(value, record) for value, record in found if isinstance(value, int | float) and value > 0]


def _images(runs: _Runs) -> Entry:
    return _summarised([(value, record["seed"]) for value, record in _speed(runs)])


def _step(runs: _Runs) -> Entry:
    times = [(1000 * r["config"]["recipe"]["batch_size"] / value, r["seed"]) for value, r in _speed(runs)]
    return _summarised(times, digits=0)


def _summarised(
    found: Sequence[tuple[float, int]],
    digits: int = 1,
    summary: Callable[[Sequence[float]], float] = statistics.median,
) -> Entry:
    """found: (value, seed) of each run."""
    if not found:
        return MISSING
    values, seeds = zip(*found, strict=True)
    number = summary(values)
    return Entry(rounded(number, digits), number, values, seeds)


_COLUMNS: list[Column[_Runs]] = [
    Column("method", lambda runs: Entry(runs.row.label), text=True),
    Column("trained", lambda runs: count_entry(runs.row.trained)),
    Column("with head", lambda runs: count_entry(runs.row.trained + runs.row.head)),
    Column("step (ms)", _step),
    Column("peak memory (GiB)", partial(_cost, "peak_memory_bytes", scale=2**-30, digits=2, summary=max)),
    Column("train images/s", _images),
    Column("score images/s", partial(_cost, "score_images_per_second")),
    Column("saved file (MB)", partial(_cost, "trained_file_bytes", scale=1e-6, digits=2)),
    Column("runs", lambda runs: Entry(str(len(runs.records)), len(runs.records))),
]
