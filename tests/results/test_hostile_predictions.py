"""Whatever stands in place of a record's predictions: every command leaves it out by name, or says one line."""

import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command, call
from prediction_cases import MANIFEST, drawn, forge, lay_down, record_of

from aoft_bench.figures.series import method_styles, row_styles
from aoft_bench.figures.write import FIGURES
from aoft_bench.records.code_version import code_digest
from aoft_bench.records.files import predictions_path, read_record
from aoft_bench.records.predictions import read_predictions
from aoft_bench.results.collect import collect
from aoft_bench.results.kept import Kept
from aoft_bench.results.settings import build_comparisons
from aoft_bench.utils.errors import UserError

MADE = drawn(7, logits=True)


class Evil:
    """Makes a file in the working folder when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("unpickled",)


def archive(how: int = zipfile.ZIP_STORED, **changes: Any) -> bytes:
    """A file of `MADE`: other arrays, or other bytes of a member, in place of some; None: left out."""
    arrays = MADE.arrays() | {"manifest": np.array(MANIFEST)} | changes
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", how) as file:
        for name, value in arrays.items():
            if value is not None:
                file.writestr(f"{name}.npy", value if isinstance(value, bytes) else npy(value))
    return buffer.getvalue()


def npy(value: Any) -> bytes:
    buffer = BytesIO()
    np.save(buffer, value)
    return buffer.getvalue()


def header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + bytes(240)


def broken(how: int) -> bytes:
    """A compressed archive with a bad byte at a third of its first array, which its decompressor refuses."""
    content = bytearray(archive(how))
    content[50:60] = b"\xff" * 10
    return bytes(content)


def changed(name: str, value: float) -> np.ndarray:
    values = MADE.arrays()[name].copy()
    values[3] = value
    return values


def twice() -> bytes:
    buffer = BytesIO(archive())
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(buffer, "a") as file:
        file.writestr("label.npy", npy(MADE.label))
    return buffer.getvalue()


def without_ending() -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, value in (MADE.arrays() | {"manifest": np.array(MANIFEST)}).items():
            file.writestr(name, npy(value))
    return buffer.getvalue()


def contents() -> Iterator[bytes]:
    """Files that are not the predictions of their record, of the digest that the record has."""
    yield from (b"", b"no archive", npy(MADE.label), pickle.dumps(Evil()), archive()[:-40], twice(), without_ending())
    yield archive(label=np.array([Evil()] * 60, object))
    yield archive(manifest=np.array(Evil(), object))
    yield archive(manifest=np.array("cd" * 32))
    yield from (broken(how) for how in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
    yield archive(**{name: values[:50] for name, values in MADE.arrays().items()})
    yield archive(**{name: np.concatenate([values] * 2) for name, values in MADE.arrays().items()})
    for text in ("(" * 9000, "  \n  x\n y", "{{}: 1}", "{'descr': 'a', 'fortran_order': False, 'shape': (60L,)}"):
        yield archive(confidence=header(text))
    yield archive(zipfile.ZIP_DEFLATED, confidence=npy(MADE.confidence) + bytes(10**7))
    yield archive(zipfile.ZIP_DEFLATED, confidence=b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + b" " * 10**7)
    yield archive(zipfile.ZIP_DEFLATED, confidence=np.zeros(3_000_000, np.float32))
    yield archive(confidence=np.zeros(3_000_000, np.float32))
    for name in ("predicted", "confidence", "sum_of_squares", "logits"):
        yield archive(**{name: MADE.arrays()[name].astype(float)})
        yield archive(**{name: MADE.arrays()[name][:, None]})
        if name != "logits":  # which may be missing
            yield archive(**{name: None})
        if name != "predicted":
            yield from (archive(**{name: changed(name, value)}) for value in (np.nan, np.inf, -np.inf))
    yield archive(predicted=changed("predicted", 200))
    yield archive(predicted=MADE.label)  # all are right
    yield archive(more=np.zeros(3))


def in_place(path: Path) -> Iterator[None]:
    """Something else than a file at `path`, one after another."""
    path.mkdir()
    yield
    path.rmdir()
    os.mkfifo(path)
    yield
    path.unlink()
    path.symlink_to("/dev/zero")
    yield


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    """A results folder with two good methods of two seeds and one method whose predictions are hostile; its records."""
    root = tmp_path_factory.mktemp("hostile") / "results"
    of_this = {"data__classes": 5, "code": code_digest()}
    for method, skill in (("aoft", 3.0), ("lora", 2.0)):
        for seed in (0, 1):
            made = drawn(10 * len(method) + seed, skill=skill, logits=True)
            lay_down(root, record_of(made, method, seed=seed, **of_this), made)
    paths: list[Path] = []

    def add() -> tuple[Path, dict[str, Any]]:
        record = record_of(MADE, "ssf", seed=len(paths), **of_this)
        paths.append(lay_down(root, record, MADE))
        return paths[-1], record

    for content in contents():
        path, record = add()
        forge(path, record, content)
        path.write_text(json.dumps(record))
    for kind in range(3):
        path, _ = add()
        predictions_path(path).unlink()
        places = in_place(predictions_path(path))
        for _ in range(kind + 1):
            next(places)
    return root, paths


@pytest.mark.parametrize("command", ["tables", "report"])
def test_each_is_left_out_by_name_and_the_others_count(hostile: tuple[Path, list[Path]], command: str) -> None:
    root, paths = hostile
    before = set(root.parent.rglob("*"))
    done = call(command, "results", cwd=root.parent)
    assert done.code == 0, done.err
    assert not {path.name for path in set(root.parent.rglob("*")) - before if path.name == "unpickled"}
    assert not list(root.parent.rglob("*partial*"))
    written = "report.html" if command == "report" else "tables/predictions.md"
    text = (root / written).read_text()
    assert all(predictions_path(path).name in text for path in paths)
    lines = (done.out + done.err).splitlines()
    assert all(line.isprintable() for line in lines)
    assert command == "report" or sum("left out" in line for line in lines) == len(paths)
    assert command == "report" or ("| LoRA+AOFT† |" in text and "| LoRA |" in text and "| SSF |" not in text)


def test_figures_are_of_the_others(hostile: tuple[Path, list[Path]]) -> None:
    root, paths = hostile
    (comparison,) = build_comparisons(collect(root).records, None, kept := Kept(root))
    styles = row_styles(comparison, method_styles(row.method for row in comparison.rows))
    for kind in ("reliability", "confusion", "agreement"):
        assert FIGURES[kind](comparison, styles, [])
    assert set(kept.left_out) == {predictions_path(path) for path in paths}


def test_two_of_them_and_their_method_cannot_be_compared(hostile: tuple[Path, list[Path]]) -> None:
    root, paths = hostile
    good = call("compare", "aoft", "lora", cwd=root.parent)
    assert good.code == 0 and len(good.out.splitlines()) == 5 and good.err == ""
    other = str(next(root.rglob("aoft/digits/seed0-*.json")))
    for words in (("aoft", "ssf"), *((other, str(path)) for path in paths)):
        refused = call("compare", *words, cwd=root.parent)
        assert (refused.code, refused.out, len(refused.err.splitlines())) == (2, "", 1)
        assert "predictions.npz" in refused.err and "results.mode=force" in refused.err


def test_evaluate_stops_before_it_scores(hostile: tuple[Path, list[Path]]) -> None:
    root, paths = hostile
    for path in paths:
        refused = call("evaluate", str(path), cwd=root.parent)
        assert (refused.code, refused.out, len(refused.err.splitlines())) == (2, "", 1)
        assert predictions_path(path).name in refused.err


def test_their_records_are_not_merged(hostile: tuple[Path, list[Path]], tmp_path: Path, cli: Command) -> None:
    root, paths = hostile
    shutil.copytree(root / "records/vit_b16_in21k/lora", tmp_path / "B/records/vit_b16_in21k/lora")
    done = cli("merge-results", str(root), "B", "out=C")
    assert done.code == 1 and all(line.isprintable() for line in done.err.splitlines())
    report = (tmp_path / "C/merge.md").read_text()
    assert all(path.name in report for path in paths)
    found = collect(tmp_path / "C")
    assert sorted((one["method"], one["seed"]) for one in found.records) == [
        *(("aoft", 0), ("aoft", 1), ("lora", 0), ("lora", 1)),
    ]
    assert all(len(read_predictions(path, read_record(path))) == 60 for path in found.paths)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["B", "C"]


def test_a_flipped_byte_is_refused_or_changes_nothing(tmp_path: Path) -> None:
    record = record_of(MADE)
    path = lay_down(tmp_path, record, MADE)
    refused = 0
    for how in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        content = archive(how)
        for place in range(0, len(content), 37):
            forge(path, record, content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
            try:
                found = read_predictions(path, record).arrays()
            except UserError as error:
                refused += 1
                assert str(error).isprintable()
            else:
                assert all(np.array_equal(found[name], MADE.arrays()[name]) for name in found)
    assert refused > 60
