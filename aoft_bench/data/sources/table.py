"""A CSV or parquet file with a row for each image. Everything is checked before an image is decoded.

    path      the image's file, relative to the folder of the table; or, in parquet,
    bytes     the encoded image itself
    label     whole numbers from 0 without gaps, or names of classes; another column by data.label
    split     train, val or test; optional: what is missing is drawn

Names of classes are sorted, and a label is the position of its name. Other columns are ignored.
"""

import csv
import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from aoft_bench.data.digests import digests_of
from aoft_bench.data.locations import Locations
from aoft_bench.data.sources.base import Source
from aoft_bench.data.sources.columns import SPLIT_NAMES, no_column, numbered, split_listings, split_of
from aoft_bench.data.sources.listing import (
    ListedImages,
    check_name,
    check_trained,
    file_state,
    read_list,
    relative,
    shortened,
    stamp_images,
)
from aoft_bench.data.tasks import Task
from aoft_bench.utils.errors import UserError
from aoft_bench.utils.text import shown

SUFFIXES = (".csv", ".parquet")


class _Rows(NamedTuple):
    """The columns of a table that are used, by their names, and where a row stands, in words."""

    columns: Mapping[str, Sequence[Any]]
    names: Sequence[str]
    entry: Callable[[int], str]


def from_table(task: Task, locations: Locations) -> Source:
    """The images of the table `data.root`; raises `UserError` that names the row, and the remedy."""
    path = locations.own_root(task, folder=False)
    found = read_table(path, locations.label or "label", locations.digests_of(task, path))
    what = "encoded images" if found.content else "paths"
    return found.source("table", f"table {path.resolve().name}, {what}", "images of the user's own, in a table")


def holds(root: Path) -> bool:
    """Whether `root` is a file whose name ends as that of a table."""
    return root.suffix.lower() in SUFFIXES and root.is_file()


def read_table(path: Path, label: str = "label", memory: Path | None = None) -> ListedImages:
    """Read and check a table, and that every image is there; no image is decoded.

    label: the name of the column; memory: where the digests of the images are remembered, see `digests`.
    """
    digest = hashlib.sha256()
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"{path} is no table that is read here; give a {' or '.join(SUFFIXES)} file")
    if path.suffix.lower() == ".csv":
        rows = _read_csv(path, label, digest)
    else:
        rows = _read_parquet(path, label, digest, memory)
    if label not in rows.columns:
        raise no_column(path, label, rows.names, "rename one, or name it by data.label=<column>")
    if not rows.columns[label]:
        raise UserError(f"{path} has no rows; write one for each image")
    digest.update(f"label {label}\n".encode())
    labels, class_names = numbered(rows.columns[label], rows.entry)
    splits = _splits(path, rows)
    classes = len(class_names) if class_names else 1 + int(labels.max())
    if "bytes" in rows.columns:
        return _encoded(path, rows, splits, labels, class_names, classes, digest)
    if "path" not in rows.columns:
        raise no_column(path, "path", rows.names, "give the files of the images in path, or, in parquet, bytes")
    files, entries = _paths(rows), [rows.entry(index) for index in range(len(labels))]
    listings = split_listings(files, labels, entries, splits)
    check_trained(f"the table {path}", "rows of train or val", classes, listings, class_names)
    states = [
        file_state(path.parent / name, f"{path.parent / entry}: the image {shortened(repr(name))}", "not there", "row")
        for listing in listings.values()
        for name, entry in zip(listing.files, listing.entries, strict=True)
    ]
    digests = stamp_images(path.parent, listings, states, digest, memory)
    return ListedImages(path.parent, path.parent, listings, classes, class_names, digest.hexdigest(), digests)


def _encoded(
    path: Path,
    rows: _Rows,
    splits: Sequence[str],
    labels: Any,
    class_names: tuple[str, ...] | None,
    classes: int,
    digest: "hashlib._Hash",
) -> ListedImages:
    """The images of a column of bytes; the digest of the file stands for them."""
    contents = rows.columns["bytes"]
    for index in range(len(contents)):
        if not contents[index].is_valid or not len(contents[index].as_buffer()):
            raise UserError(f"{rows.entry(index)}: the image is empty; give its bytes, or take the row out")
    files = [f"row {index}" for index in range(len(contents))]
    listings = split_listings(files, labels, [rows.entry(index) for index in range(len(contents))], splits)
    check_trained(f"the table {path}", "rows of train or val", classes, listings, class_names)
    positions = {split: [index for index, own in enumerate(splits) if own == split] for split in listings}

    def content(split: str, index: int) -> bytes:
        return bytes(contents[positions[split][index]].as_buffer())

    return ListedImages(path, path, listings, classes, class_names, digest.hexdigest(), {}, content)


def _read_csv(path: Path, label: str, digest: "hashlib._Hash") -> _Rows:
    try:
        text = read_list(path, digest, "table").decode("utf-8-sig")
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        names = next(reader, [])
        lines, numbers = [], []
        for line in reader:
            if line:
                lines.append(line)
                numbers.append(reader.line_num)
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start}); save the table as UTF-8") from error
    except csv.Error as error:
        raise UserError(f"{path} is not CSV ({error}); save the table again") from error

    def entry(index: int) -> str:
        return f"{path.name} line {numbers[index]}"

    for index, line in enumerate(lines):
        if len(line) != len(names):
            raise UserError(f"{entry(index)} has {len(line)} values for {len(names)} columns; quote values with commas")
    wanted = _used(path, names, ("path", label, "split"))
    columns = {name: [line[names.index(name)] for line in lines] for name in wanted}
    return _Rows(columns, names, entry)


def _read_parquet(path: Path, label: str, digest: "hashlib._Hash", memory: Path | None) -> _Rows:
    import pyarrow as arrow
    from pyarrow import parquet

    (content,) = digests_of([path], [file_state(path, f"the table {path}", "not there", "table")], memory, path.name)
    digest.update(f"{content}\n".encode())
    try:
        names = parquet.read_schema(path).names
        wanted = _used(path, names, ("bytes", "path", label, "split"))
        table = parquet.read_table(path, columns=wanted, memory_map=True)
    except (arrow.ArrowException, OSError) as error:
        raise UserError(f"cannot read {path}: {' '.join(str(error).split())[:200]}; write the table again") from error

    def entry(index: int) -> str:
        return f"{path.name} row {index}"

    if "bytes" in wanted and not (
        arrow.types.is_binary(kind := table.schema.field("bytes").type) or arrow.types.is_large_binary(kind)
    ):
        raise UserError(f"{path}: the column bytes holds {kind}; give the encoded images as binary")
    columns = {name: table[name] if name == "bytes" else table[name].to_pylist() for name in wanted}
    return _Rows(columns, names, entry)


def _used(path: Path, names: Sequence[str], columns: Sequence[str]) -> list[str]:
    """Those of `columns` that a table with these names has; raises `UserError` for one that it has twice."""
    twice = next((name for name in columns if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"{path} has {names.count(twice)} columns {twice!r}; rename all but one of them")
    return [name for name in columns if name in names]


def _splits(path: Path, rows: _Rows) -> list[str]:
    """The split of each row; all train where there is no such column."""
    if "split" not in rows.columns:
        return ["train800"] * len(next(iter(rows.columns.values())))
    found = []
    for index, name in enumerate(rows.columns["split"]):
        split = split_of(name) if isinstance(name, str) else None
        if split is None:
            allowed = ", ".join(names[0] for names in SPLIT_NAMES.values())
            raise UserError(f"{rows.entry(index)}: the split {shown(name)} is unknown; allowed: {allowed}")
        found.append(split)
    if "train800" not in found:
        raise UserError(f"{path} has no row of the split train; give some, or leave the column split out")
    return found


def _paths(rows: _Rows) -> list[str]:
    """The file of each row, checked: relative, inside the folder of the table, and named once."""
    first: dict[str, int] = {}
    files = []
    for index, name in enumerate(rows.columns["path"]):
        where = rows.entry(index)
        if not isinstance(name, str) or not name:
            raise UserError(f"{where}: the path is {shown(name)}; give the file of the image")
        if problem := check_name(name):
            raise UserError(f"{where}: the name {shortened(repr(name))} {problem}; rename the file")
        file = relative(name)
        if file is None:
            raise UserError(
                f"{where}: {shortened(repr(name))} points outside the folder of the table; write paths relative to it"
            )
        if file in first:
            raise UserError(
                f"{where}: {shortened(repr(file))} is listed twice, first in {rows.entry(first[file])}; keep one of "
                f"the two"
            )
        first[file] = index
        files.append(file)
    return files
