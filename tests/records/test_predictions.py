"""The predictions beside a record: what is written is read, and what does not fit its record is refused in a line."""

import io
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prediction_cases import MANIFEST, drawn, forge, lay_down, record_of

from aoft_bench.records.files import predictions_path, read_record
from aoft_bench.records.predictions import has_predictions, index_type, read_predictions
from aoft_bench.utils.errors import UserError


def archive(write: Any = np.savez, **changes: Any) -> bytes:
    """The content of a file of `drawn()`, with other arrays in place of some; None: left out."""
    arrays = drawn(logits=True).arrays() | {"manifest": np.array(MANIFEST)} | changes
    buffer = io.BytesIO()
    write(buffer, **{name: value for name, value in arrays.items() if value is not None})
    return buffer.getvalue()


@pytest.fixture()
def kept(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """The path and content of a record with predictions and logits."""
    made = drawn(logits=True)
    record = record_of(made)
    return lay_down(tmp_path, record, made), record


@pytest.mark.parametrize("logits", [False, True])
def test_what_is_written_is_read_by_us_and_by_numpy_alone(tmp_path: Path, logits: bool) -> None:
    made = drawn(logits=logits)
    record = record_of(made)
    path = lay_down(tmp_path, record, made)
    assert read_record(path) == record and has_predictions(path, record)
    found = read_predictions(path, record)
    with np.load(predictions_path(path), allow_pickle=False) as by_numpy:
        assert str(by_numpy["manifest"]) == MANIFEST
        assert set(by_numpy) == {*made.arrays(), "manifest"}
        for name, values in made.arrays().items():
            for other in (by_numpy[name], found.arrays()[name]):
                assert other.dtype == values.dtype and np.array_equal(other, values)
    assert (found.logits is not None) == logits
    assert found.correct.sum() == record["metrics"]["correct"]


def test_the_same_predictions_are_the_same_file(tmp_path: Path) -> None:
    paths = [lay_down(tmp_path / name, record_of(drawn()), drawn()) for name in "ab"]
    assert len({predictions_path(path).read_bytes() for path in paths}) == 1


def test_classes_take_the_smallest_type_that_holds_them() -> None:
    assert [index_type(classes).itemsize for classes in (1, 2, 256, 257, 65_536, 65_537)] == [1, 1, 1, 2, 2, 4]


def test_compressed_files_are_read_too(kept: tuple[Path, dict[str, Any]]) -> None:
    path, record = kept
    forge(path, record, archive(np.savez_compressed))
    assert np.array_equal(read_predictions(path, record).predicted, drawn().predicted)


def test_a_record_without_predictions_says_so(kept: tuple[Path, dict[str, Any]]) -> None:
    path, record = kept
    predictions_path(path).unlink()
    assert not has_predictions(path, record)
    with pytest.raises(UserError, match="is not here: predictions stay on the machine that made the record"):
        read_predictions(path, record)
    del record["predictions_sha256"]
    with pytest.raises(UserError, match="has no predictions: it is of an older version or was run with"):
        read_predictions(path, record)


def test_another_file_is_not_what_the_run_wrote(kept: tuple[Path, dict[str, Any]]) -> None:
    path, record = kept
    order = np.random.default_rng(0).permutation(60)  # as many are right, but not the same images
    predictions_path(path).write_bytes(archive(**{name: values[order] for name, values in GOOD.arrays().items()}))
    with pytest.raises(UserError, match="is not what the run wrote: its SHA-256 begins with"):
        read_predictions(path, record)


def changed(name: str, value: float, where: int = 3) -> np.ndarray:
    """An array of `drawn()` with one other value."""
    values = drawn(logits=True).arrays()[name].copy()
    values[where] = value
    return values


GOOD = drawn(logits=True)
WRONG = int(np.flatnonzero(~GOOD.correct)[0])
RIGHT = int(np.flatnonzero(GOOD.correct)[0])
MANY = {name: np.zeros((3_000_000, *values.shape[1:]), values.dtype) for name, values in drawn().arrays().items()}


def of_header(shape: tuple[int, ...]) -> bytes:
    """An archive whose array of confidences claims a shape, with no values behind it."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
    buffer = io.BytesIO(archive(confidence=None))
    with zipfile.ZipFile(buffer, "a") as file:
        file.writestr("confidence.npy", header.getvalue())
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "reason"),  # the reason is the id: the bytes would be one of 42 MB
    [
        (b"", "is damaged"),
        (b"no archive", "is damaged (File is not a zip file)"),
        (archive()[:-30], "is damaged"),
        (archive().replace(b"NUMPY", b"NUMBY"), "is damaged (Bad CRC-32"),
        (archive(manifest=np.array("cd" * 32)), "is of other images than the record"),
        (archive(manifest=np.array("x")), "holds manifest of <U1 (), the record needs <U64 ()"),
        (archive(manifest=np.array(["a", 1], object)), "holds manifest of object (2,)"),
        (archive(label=np.array([None] * 60, object)), "holds label of object (60,), the record needs uint8 (60,)"),
        (archive(confidence=None), "holds the arrays 'label, logits, manifest, predicted"),
        (archive(more=np.zeros(3)), "expected each once: label, predicted, confidence"),
        (archive(**{name: values[:50] for name, values in drawn().arrays().items()}), "holds label of uint8 (50,)"),
        (archive(confidence=drawn().confidence.astype(np.float64)), "holds confidence of float64 (60,)"),
        (archive(logits=np.asfortranarray(GOOD.logits)), "holds logits of float16 (60, 5)"),
        (archive(logits=np.zeros((60, 4), np.float16)), "holds logits of float16 (60, 4), the record needs float16"),
        (of_header((60,)), "is damaged (confidence has not the length that it says)"),
        (of_header((10**15,)), "holds confidence of float32 (1000000000000000,)"),
        (archive(np.savez_compressed, label=MANY["label"]), "holds label of uint8 (3000000,)"),
        (archive(**MANY), "cannot be read: it has "),
        (archive(label=changed("label", 5)), "names class 5, but there are 5 from 0"),
        (archive(predicted=changed("predicted", 200)), "names class 200"),
        (archive(confidence=changed("confidence", np.nan)), "holds confidence that is no probability"),
        (archive(confidence=changed("confidence", 2)), "holds confidence that is no probability"),
        (archive(probability_of_label=changed("probability_of_label", -1)), "holds probability_of_label that is no"),
        (archive(probability_of_label=changed("probability_of_label", 0, RIGHT)), "does not fit the one of the pred"),
        (archive(probability_of_label=changed("probability_of_label", 1, WRONG)), "does not fit the one of the pred"),
        (archive(logits=GOOD.logits[::-1].copy()), "holds logits of which the predicted class is not the largest"),
        (archive(logits=np.full_like(GOOD.logits, np.nan)), "holds logits of which"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_what_does_not_fit_its_record_is_refused_in_a_line(
    kept: tuple[Path, dict[str, Any]], content: bytes, reason: str
) -> None:
    path, record = kept
    forge(path, record, content)
    tracemalloc.start()
    with pytest.raises(UserError) as refused:
        read_predictions(path, record)
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()
    text = str(refused.value)
    assert reason in text and text.isprintable() and "results.mode=force" in text and len(text) < 700


def test_predictions_of_another_run_do_not_give_the_records_count(kept: tuple[Path, dict[str, Any]]) -> None:
    path, record = kept
    other = drawn(seed=1)
    assert other.correct.sum() != record["metrics"]["correct"]
    forge(path, record, archive(**other.arrays(), logits=None))
    with pytest.raises(UserError, match=rf"gives {other.correct.sum()} of 60 images as correct, the record"):
        read_predictions(path, record)
