"""Putting the records of several results folders together: what agrees once, what disagrees by name.

A cell that stands in several folders with the same number of right images is kept once. One whose numbers differ is
left out: to keep the first would let the order of the arguments choose a result, and a mean of both is no run. Its row
lacks it then, which everybody sees, and `aoft-bench verify` tells which number comes out.
"""

import shutil
import uuid
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from aoft_bench.records.files import predictions_path
from aoft_bench.records.predictions import has_predictions, read_predictions
from aoft_bench.records.schema import Record
from aoft_bench.results.collect import Collected, LeftOut, collect
from aoft_bench.results.table import Column, Entry, Table, count_entry, make_block
from aoft_bench.results.verified import Verification, key_of, machine_of, read_verified, write_verified
from aoft_bench.results.writers.markdown import to_markdown
from aoft_bench.utils.errors import UserError
from aoft_bench.utils.files import write_text_atomically
from aoft_bench.utils.text import one_line

REPORT = "merge.md"


@dataclass(frozen=True)
class Contribution:
    """A results folder that is merged."""

    root: Path
    found: Collected
    verified: Sequence[Verification]


@dataclass(frozen=True)
class Copy:
    """A cell as it stands in one of the folders."""

    root: Path
    path: Path
    record: Record


@dataclass(frozen=True)
class Merge:
    """What several folders hold together, by the path of a record below records/.

    kept: of copies that agree the first, or the first with its predictions; doubles: the others; disagreeing: all
    copies of a cell whose numbers differ; left_out: files that cannot be used.
    """

    sources: Sequence[Contribution]
    kept: dict[str, Copy] = field(default_factory=dict)
    doubles: list[Copy] = field(default_factory=list)
    disagreeing: dict[str, list[Copy]] = field(default_factory=dict)
    left_out: list[LeftOut] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether every cell of every folder is kept."""
        return not self.disagreeing and not self.left_out


def read_source(root: Path) -> Contribution:
    """A results folder with the records that can be used. Raises `UserError` for another folder, or for none."""
    if not (root / "records").is_dir():
        what = "no results folder: it has no records/" if root.is_dir() else "not here"
        raise UserError(f"{one_line(str(root))} is {what}; give folders as results.root=DIR names them")
    found = collect(root)
    cells, damaged = read_verified(root)
    usable = Collected(left_out=[*found.left_out, *damaged])
    for path, record in zip(found.paths, found.records, strict=True):
        try:
            if has_predictions(path, record):
                read_predictions(path, record)
        except UserError as error:
            usable.left_out.append(LeftOut(path, f"its predictions are not those of its number: {error}"))
        else:
            usable.paths.append(path)
            usable.records.append(record)
    if not usable.records:
        first = f"; the first, {usable.left_out[0]}" if usable.left_out else ""
        raise UserError(f"{one_line(str(root))}: none of its {len(usable.left_out)} records can be used{first}")
    return Contribution(root, usable, cells)


def check_code(sources: Sequence[Contribution], known: Sequence[str]) -> None:
    """Raise `UserError` for records of a code that is not known: nobody could say what they measured."""
    unknown = [
        (path, record.get("code"))
        for source in sources
        for path, record in zip(source.found.paths, source.found.records, strict=True)
        if record.get("code") not in known
    ]
    if not unknown:
        return
    path, digest = unknown[0]
    what = f"its code digest {digest} is not known" if digest else "it has no code digest, as records of older versions"
    digests = sorted({code for _, code in unknown if code})
    take = f"code={','.join(digests[:5])} takes records of that code, " if digests else ""
    others = f" and {len(unknown) - 1:,} more" if len(unknown) > 1 else ""
    raise UserError(
        f"{one_line(str(path))}{others}: {what} (known: {', '.join(known)}); look at "
        f"where they came from: {take}code=any takes all"
    )


def merge(sources: Sequence[Contribution]) -> Merge:
    """Which cells are kept, and which are not. Nothing is written."""
    copies: dict[str, list[Copy]] = defaultdict(list)
    for source in sources:
        for path, record in zip(source.found.paths, source.found.records, strict=True):
            copies[key_of(record)].append(Copy(source.root, path, record))
    merged = Merge(sources, left_out=[left for source in sources for left in source.found.left_out])
    for key in sorted(copies):
        kept = max(copies[key], key=lambda copy: has_predictions(copy.path, copy.record))  # the first of these
        if all(_number(copy.record) == _number(kept.record) for copy in copies[key]):
            merged.kept[key] = kept
            merged.doubles.extend(copy for copy in copies[key] if copy is not kept)
        else:
            merged.disagreeing[key] = copies[key]
    return merged


def write_merge(merged: Merge, out: Path) -> None:
    """Write the folder `out` in one step: the kept records as they are, verified.json, and merge.md on all others."""
    partial = out.with_name(f"{out.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        for key, copy in merged.kept.items():
            target = partial / "records" / key
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(copy.path, target)
            if has_predictions(copy.path, copy.record):
                shutil.copyfile(predictions_path(copy.path), predictions_path(target))
        copied = {key_of(record): record for record in collect(partial).records}
        if copied != {key: copy.record for key, copy in merged.kept.items()}:
            raise UserError("records have changed while they were copied; nothing is written: run again")
        cells = [cell for source in merged.sources for cell in source.verified]
        if cells:
            write_verified(partial, cells)
        notes = [*disagreements(merged), *(f"left out {left}" for left in merged.left_out)]
        write_text_atomically(partial / REPORT, to_markdown([provenance(merged)], notes))
        out.parent.mkdir(parents=True, exist_ok=True)
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def disagreements(merged: Merge) -> list[str]:
    """A line for each cell whose copies differ, with all numbers."""
    return [f"{one_line(key)}: {'; '.join(map(_said, copies))}; left out" for key, copies in merged.disagreeing.items()]


def provenance(merged: Merge) -> Table:
    """Who ran what on which hardware: a row for each folder, machine, version of torch and of the code."""
    counts: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    kinds = {
        "kept": merged.kept.values(),
        "again": merged.doubles,
        "disagree": [copy for copies in merged.disagreeing.values() for copy in copies],
    }
    for kind, copies in kinds.items():
        for copy in copies:
            counts[_who(copy)][kind] += 1

    def count(kind: str, who: tuple[str, ...]) -> Entry:
        return count_entry(counts[who][kind])

    words = ("folder", "machine", "torch", "code")
    columns: list[Column[tuple[str, ...]]] = [
        *(Column(name, partial(_word, i), text=True) for i, name in enumerate(words)),
        *(Column(kind, partial(count, kind)) for kind in kinds),
    ]
    files = "file" if len(merged.left_out) == 1 else "files"
    caption = (
        f"{len(merged.kept):,} cells kept; again: equal to a cell kept from another folder; disagree: with another "
        f"number there, left out; {len(merged.left_out):,} {files} could not be used"
    )
    return Table("Who ran what", caption, columns, [make_block(columns, sorted(counts))])


def _word(index: int, who: tuple[str, ...]) -> Entry:
    return Entry(who[index])


def _who(copy: Copy) -> tuple[str, ...]:
    record = copy.record
    torch, code = (record.get("versions") or {}).get("torch"), record.get("code")
    return str(copy.root), machine_of(record), torch or "unknown", (code or "unknown")[:8]


def _number(record: Record) -> tuple[object, ...]:
    metrics = record["metrics"]
    return tuple(metrics.get(name) for name in ("split", "correct", "total", "best_test_epoch_top1"))


def _said(copy: Copy) -> str:
    metrics = copy.record["metrics"]
    best = metrics.get("best_test_epoch_top1")
    also = "" if best is None else f", best test epoch {best:.2f} %"
    numbers = f"{metrics['top1']:.2f} % ({metrics['correct']:,} of {metrics['total']:,}{also})"
    return f"{numbers} in {one_line(str(copy.root))}"
