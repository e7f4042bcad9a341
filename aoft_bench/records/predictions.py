"""What a model predicted of every scored image, in a file beside the record, which names it by its SHA-256.

    <root>/records/<backbone>/<method>/<dataset>/seed<k>-<hash>.predictions.npz

`numpy.load(path)` reads it, without pickle. It holds, for N images in the order of the manifest's split:

    label, predicted         (N,)           the true class and the one with the largest logit, from 0
    confidence               (N,) float32   the probability of `predicted`, of the softmax over all classes
    probability_of_label     (N,) float32   the probability of the true class
    sum_of_squares           (N,) float32   the sum over classes of the squared probabilities, which Brier's score needs
    logits                   (N, classes) float16   where `results.predictions=logits` asked for them
    manifest                 ()             the digest of the manifest, which identifies the images

Classes are whole numbers of 8 bits where 256 are enough, else of 16. Probabilities keep 32 bits: in 16 everything
below 6e-8 is 0, so that one confident mistake makes the log-likelihood infinite, and all above 0.9998 is 1. Logits of
16 bits are off by less than 0.004 below 8, which changes no predicted class: rounding keeps their order. They are
limited to ±65,504, the largest number of 16 bits.
"""

import functools
import hashlib
import io
import os
import warnings
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from aoft_bench.records.files import command_of, predictions_path
from aoft_bench.records.schema import Record
from aoft_bench.utils.errors import UserError
from aoft_bench.utils.files import read_regular, write_atomically
from aoft_bench.utils.text import one_line, shown

OVERHEAD = 2**14  # bytes of a file beside the values: headers of arrays and of the archive
_AGAIN = "run the cell again with results.mode=force"


@dataclass(frozen=True)
class Predictions:
    """The arrays of the module's docstring. logits: None where they were not kept."""

    label: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray
    probability_of_label: np.ndarray
    sum_of_squares: np.ndarray
    logits: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.label)

    @property
    def correct(self) -> np.ndarray:
        """(N,) bool."""
        return self.predicted == self.label

    def arrays(self) -> dict[str, np.ndarray]:
        """Name -> array of those that are kept."""
        return {field.name: value for field in fields(self) if (value := getattr(self, field.name)) is not None}


def index_type(classes: int) -> np.dtype:
    """The smallest type of whole numbers that holds a class."""
    return np.min_scalar_type(max(classes - 1, 0))


def write_predictions(path: Path, predictions: Predictions, manifest: str) -> str:
    """Write the predictions of the record at `path` beside it and return the SHA-256 of the file.

    manifest: the record's data.manifest. Raises `UserError` for a full disk or a read-only folder.
    """
    buffer = io.BytesIO()
    np.savez(buffer, **predictions.arrays(), manifest=np.array(manifest))  # type: ignore[arg-type]
    content = buffer.getbuffer()
    write_atomically(predictions_path(path), lambda partial: partial.write_bytes(content))
    return hashlib.sha256(content).hexdigest()


def keeps_predictions(record: Record) -> bool:
    """Whether the run of a record kept predictions; their file may still be on another machine."""
    return bool(record.get("predictions_sha256"))


def has_predictions(path: Path, record: Record) -> bool:
    """Whether the predictions of the record at `path` are here."""
    return keeps_predictions(record) and os.path.exists(predictions_path(path))


def read_predictions(path: Path, record: Record) -> Predictions:
    """The predictions of the record at `path`.

    Raises `UserError`, which names the file, if the run kept none, if they are not here, and if they are damaged, not
    what the run wrote, of other images, or do not give the record's number of correct images. Nothing in the file is
    believed before it is checked: it takes no more memory than the record says it has images.
    """
    file = predictions_path(path)
    if not keeps_predictions(record):
        raise UserError(
            f"{one_line(str(path))} has no predictions: it is of an older version or was run with "
            f"results.predictions=none; {_AGAIN}"
        )
    if not os.path.exists(file):
        raise UserError(
            f"{one_line(str(file))} is not here: predictions stay on the machine that made the record; copy the file "
            f"from there, or run it again: {command_of(record) or 'python -m aoft_bench'}"
        )
    try:
        return parse_predictions(file, record)
    except UserError as error:
        raise UserError(f"{one_line(str(file))} {error}") from None


def parse_predictions(file: Path, record: Record) -> Predictions:
    """The predictions in `file`, checked as `read_predictions` says. Its errors do not name the file."""
    try:
        return _parsed(_content(file, record), record)
    except UserError as error:
        raise UserError(f"{error}; {_AGAIN}") from None


def check_predictions(predictions: Predictions, record: Record) -> None:
    """Raise `UserError` if predictions are not those that the record's number was counted from.

    That is so if a value is none that softmax gives, or if they do not give the number of correct images.
    """
    counts, metrics, p = int(predictions.correct.sum()), record["metrics"], predictions
    classes = record["data"]["classes"]
    if max(int(p.label.max()), int(p.predicted.max())) >= classes:
        raise UserError(f"names class {max(p.label.max(), p.predicted.max()):,}, but there are {classes:,} from 0")
    for name, lowest in (("confidence", 0.999 / classes), ("probability_of_label", 0), ("sum_of_squares", 0)):
        values = getattr(p, name)
        if not (values >= lowest).all() or not (values <= 1.0001).all():  # NaN is neither
            raise UserError(f"holds {name} that is no probability, from {values.min():g} to {values.max():g}")
    if (p.probability_of_label > p.confidence).any() or (p.probability_of_label != p.confidence)[p.correct].any():
        raise UserError("gives the true class a probability that does not fit the one of the predicted class")
    if counts != metrics["correct"]:
        raise UserError(f"gives {counts:,} of {len(p):,} images as correct, the record {metrics['correct']:,}")
    if p.logits is not None:
        top = np.take_along_axis(p.logits, p.predicted[:, None].astype(np.intp), 1)[:, 0]
        if not np.isfinite(p.logits).all() or (top != p.logits.max(1)).any():
            raise UserError("holds logits of which the predicted class is not the largest")


def _content(file: Path, record: Record) -> bytes:
    """The bytes of the file, those that the run wrote."""
    images, classes = record["metrics"]["total"], record["data"].get("classes")
    if not classes:
        raise UserError("belongs to a record that does not say how many classes there are")
    most = images * (16 + 2 * index_type(classes).itemsize + 2 * classes) + OVERHEAD
    try:
        content = read_regular(file, most)
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror or error}") from None
    found, recorded = hashlib.sha256(content).hexdigest(), record["predictions_sha256"]
    if found != recorded:
        raise UserError(
            f"is not what the run wrote: its SHA-256 begins with {found[:12]}, in the record with {recorded[:12]}"
        )
    return content


def _parsed(content: bytes, record: Record) -> Predictions:
    """The predictions in the bytes of a file, checked against their record."""
    images, classes = record["metrics"]["total"], record["data"]["classes"]
    index, real = index_type(classes), np.dtype(np.float32)
    expected: dict[str, tuple[Any, tuple[int, ...]]] = {field.name: (real, (images,)) for field in fields(Predictions)}
    expected |= {"label": (index, (images,)), "predicted": (index, (images,))}
    expected["logits"] = (np.dtype(np.float16), (images, classes))
    manifest = record["data"].get("manifest")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = sorted(name.removesuffix(".npy") for name in archive.namelist())
            if sorted({*names, "logits"}) != sorted([*expected, "manifest"]) or len(set(names)) != len(names):
                allowed = ", ".join([*expected, "manifest"])
                raise UserError(f"holds the arrays {shown(', '.join(names))}; expected each once: {allowed}")
            kind = np.dtype(f"<U{len(manifest)}") if isinstance(manifest, str) and manifest else None
            if kind is None or str(_array(archive, "manifest", kind, ())) != manifest:
                raise UserError("is of other images than the record: the digests of their manifests differ")
            arrays = {name: _array(archive, name, *expected[name]) for name in expected if name in names}
    except UserError:
        raise
    except Exception as error:  # zipfile, each of its decompressors and numpy's headers have kinds of their own
        raise UserError(f"is damaged ({one_line(str(error))[:200]})") from None
    predictions = Predictions(**arrays)
    check_predictions(predictions, record)
    return predictions


def _array(archive: zipfile.ZipFile, name: str, kind: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """An array of the archive. Raises `UserError` if it has another type or shape, before its values are read."""
    with archive.open(f"{name}.npy") as file:
        expected = _header(kind, shape)
        if file.read(len(expected)) != expected:  # else there is nothing to parse, which takes long
            file.seek(0)
            start = io.BytesIO(file.read(OVERHEAD))  # a header may say that it has 4 GB
            version = np.lib.format.read_magic(start)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of headers and types that old versions of numpy wrote
                found_shape, by_columns, found = read(start)
            if found != kind or found_shape != shape or by_columns:
                raise UserError(f"holds {name} of {found} {shown(found_shape)}, the record needs {kind} {shown(shape)}")
            file.seek(start.tell())
        size = kind.itemsize * int(np.prod(shape, dtype=np.int64))
        values = file.read(size)
        if len(values) != size or file.read(1):
            raise ValueError(f"{name} has not the length that it says")
    return np.frombuffer(values, kind).reshape(shape)


@functools.lru_cache
def _header(kind: np.dtype, shape: tuple[int, ...]) -> bytes:
    """How numpy begins the file of such an array."""
    buffer = io.BytesIO()
    layout = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, layout)
    return buffer.getvalue()
