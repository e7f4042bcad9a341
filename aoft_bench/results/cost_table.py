"""What rows cost: parameters, time of a step, memory, images a second, size of the saved file; a table a machine."""

import statistics
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from aoft_bench.results.accuracy_table import count, facts
from aoft_bench.results.ranking import rounded
from aoft_bench.results.rows import Record, Row
from aoft_bench.results.settings import Table
from aoft_bench.results.table import MISSING, Block, Cell, Column, Grid

_COLUMNS = [
    Column("method", text=True),
    Column("trained"),
    Column("with head"),
    Column("step (ms)"),
    Column("peak memory (GiB)"),
    Column("train images/s"),
    Column("score images/s"),
    Column("saved file (MB)"),
    Column("runs"),
]
_MACHINE = ("device", "gpu", "cpu", "cores", "threads", "system")


def cost(table: Table) -> list[Grid]:
    """One table for each machine that records of `table` were made on, with each batch size; nothing is ranked."""
    machines: dict[tuple[Any, ...], dict[int, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for number, row in enumerate(table.rows):
        for record in row.records:
            machines[_machine(record)][number].append(record)
    grids = []
    for machine in sorted(machines, key=str):
        members = machines[machine]
        body = [_cells(table.rows[number], members[number]) for number in sorted(members)]
        words = _described(machine)
        title = f"Cost: {table.title}" + (f", {words}" if len(machines) > 1 else "")
        grids.append(Grid(title, _caption(table, words), _COLUMNS, [Block("", body)], [], facts(table) | {"on": words}))
    return grids


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


def _caption(table: Table, words: str) -> str:
    return (
        f"{words}; {table.setting.img_size} px, {table.setting.precision}. Median over the runs of a row, of the peak "
        "memory the largest; step: batch size / training images a second. Times include whatever else the machine was "
        "doing, and memory on a CPU is that of the whole process: not properties of a method, not comparable across "
        "machines"
    )


def _cells(row: Row, records: Sequence[Record]) -> list[Cell]:
    def known(name: str) -> dict[int, float]:
        return {i: r["cost"][name] for i, r in enumerate(records) if isinstance(r["cost"].get(name), int | float)}

    def cell(values: dict[int, float], scale: float = 1.0, digits: int = 1, largest: bool = False) -> Cell:
        scaled = [value * scale for value in values.values()]
        if not scaled:
            return Cell(MISSING)
        shown = max(scaled) if largest else statistics.median(scaled)
        return Cell(rounded(shown, digits), values=tuple(scaled), seeds=tuple(records[i]["seed"] for i in values))

    speed = {i: value for i, value in known("train_images_per_second").items() if value > 0}
    steps = {i: 1000 * records[i]["config"]["recipe"]["batch_size"] / value for i, value in speed.items()}
    return [
        Cell(row.label),
        Cell(count(row.trained)),
        Cell(count(row.trained + row.head)),
        cell(steps, digits=0),
        cell(known("peak_memory_bytes"), 2**-30, 2, largest=True),
        cell(speed),
        cell(known("score_images_per_second")),
        cell(known("trained_file_bytes"), 1e-6, 2),
        Cell(str(len(records))),
    ]
