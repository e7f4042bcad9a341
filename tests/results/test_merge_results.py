"""`aoft-bench merge-results`: cells that agree, that disagree, that were edited, and what is never written."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import Command
from record_cases import record, write
from test_rules import verification

from aoft_bench.records.code_version import code_digest
from aoft_bench.records.files import predictions_path
from aoft_bench.records.predictions import Predictions, write_predictions
from aoft_bench.results.collect import collect
from aoft_bench.results.verified import read_verified, write_verified

CODE = {"code": code_digest()}
ELSEWHERE = CODE | {"hardware__gpu": "another GPU"}


def two_folders(root: Path) -> dict[str, Path]:
    """A and B with a cell each, one that agrees, one that disagrees, and one that was edited in B."""
    made = {"mine": write(root / "A", record(50.0, "svhn", **CODE))}
    write(root / "B", record(51.0, "svhn", seed=1, **ELSEWHERE))
    for name, other in (("agrees", 60.0), ("disagrees", 61.0), ("edited", 60.0)):
        dataset = {"agrees": "cifar100", "disagrees": "dtd", "edited": "eurosat"}[name]
        made[name] = write(root / "A", record(60.0, dataset, **CODE))
        write(root / "B", record(other, dataset, **ELSEWHERE))
    edited = root / "B" / made["edited"].relative_to(root / "A")
    edited.write_text(edited.read_text().replace('"top1": 60.0', '"top1": 70.0'))
    return made


def test_what_agrees_is_kept_once_and_the_rest_is_named(tmp_path: Path, cli: Command) -> None:
    made = two_folders(tmp_path)
    done = cli("merge-results", "A", "B", "out=C")
    assert done.code == 1
    place = made["disagrees"].relative_to(tmp_path / "A/records")
    disagree, left = done.err.splitlines()
    numbers = "60.00 % (6,000 of 10,000) in A; 61.00 % (6,100 of 10,000) in B; left out"
    assert disagree == f"aoft_bench: disagree {place}: {numbers}"
    assert left.startswith("aoft_bench: left out B/records/") and "metrics.top1 is 70, but 6,000 of 10,000" in left
    found = collect(tmp_path / "C")
    assert sorted((one["dataset"], one["seed"]) for one in found.records) == [
        *(("cifar100", 0), ("eurosat", 0), ("svhn", 0), ("svhn", 1)),
    ]
    for name in ("mine", "agrees", "edited"):  # byte for byte, and where both are good, A's
        assert (tmp_path / "C" / made[name].relative_to(tmp_path / "A")).read_bytes() == made[name].read_bytes()
    report = (tmp_path / "C/merge.md").read_text()
    code = code_digest()[:8]
    assert f"| A | a GPU, Linux | 2.9.0 | {code} | 3 | 0 | 1 |" in report
    assert f"| B | another GPU, Linux | 2.9.0 | {code} | 1 | 1 | 1 |" in report
    assert f"- {place}: {numbers}" in report and "4 records -> C" in done.out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["A", "B", "C"]


def test_folders_that_agree_end_with_0_in_an_empty_folder(tmp_path: Path, cli: Command) -> None:
    for name in ("A", "B", "D"):
        one = write(tmp_path / name, record(60.0, **CODE))
    one.with_suffix(".safetensors").write_bytes(b"trained")
    cells = [verification(record(60.0)), verification(record(60.0), 1)]
    for name, cell in zip("AB", cells, strict=True):
        write_verified(tmp_path / name, [cell])
    write(tmp_path / "B", record(60.0, method="lora-b", **CODE))  # sorts before lora as a text, after it as a folder
    (tmp_path / "C").mkdir()
    assert cli("merge-results", "A", "B", "D", "out=C").code == 0
    assert [path.suffix for path in (tmp_path / "C/records").rglob("*.*")] == [".json"] * 2
    assert set(read_verified(tmp_path / "C")[0]) == set(cells)


def test_other_versions_of_the_code_are_taken_when_they_are_named(tmp_path: Path, cli: Command) -> None:
    write(tmp_path / "A", record(60.0, **CODE))
    write(tmp_path / "B", record(60.0, "svhn", code="feedfeed"))
    refused = cli("merge-results", "A", "B", "out=C")
    assert refused.code == 2 and "its code digest feedfeed is not known" in refused.err
    assert "code=feedfeed takes records of that code, code=any takes all" in refused.err
    assert cli("merge-results", "A", "B", "out=C", "code=feedfeed").code == 0
    write(tmp_path / "B", record(60.0, "dtd"))
    assert "it has no code digest" in cli("merge-results", "A", "B", "out=D", "code=feedfeed").err
    assert not (tmp_path / "D").exists()
    assert cli("merge-results", "A", "B", "out=D", "code=any").code == 0


def with_predictions(root: Path, correct: int) -> Path:
    """A record of 3 right images of 4, with predictions of which `correct` are right."""
    label, near = np.array([0, 1, 1, 0], np.uint8), np.array([0.9] * 4, np.float32)
    predicted = np.where(np.arange(4) < correct, label, 1 - label)
    p = Predictions(label, predicted, near, np.where(predicted == label, near, near - 0.8), near)
    made = record(75.0, metrics__correct=3, metrics__total=4, data__classes=2, data__official=False, **CODE)
    made["data"]["manifest"] = "digest"
    path = write(root, made)
    made["predictions_sha256"] = write_predictions(path, p, "digest")
    return write(root, made)


def test_predictions_are_checked_and_go_with_their_record(tmp_path: Path, cli: Command) -> None:
    path = with_predictions(tmp_path / "B", correct=3)
    plain = write(tmp_path / "A", json.loads(path.read_text()) | {"predictions_sha256": ""})
    assert cli("merge-results", "A", "B", "out=C").code == 0
    beside = predictions_path(tmp_path / "C" / path.relative_to(tmp_path / "B"))
    assert beside.read_bytes() == predictions_path(path).read_bytes()
    with_predictions(tmp_path / "B", correct=2)
    done = cli("merge-results", "A", "B", "out=D")
    assert done.code == 2 and "its predictions are not those of its number" in done.err
    assert "gives 2 of 4 images as correct, the record 3" in done.err
    write(tmp_path / "B", record(60.0, "svhn", **CODE))
    done = cli("merge-results", "A", "B", "out=D")
    assert done.code == 1 and "gives 2 of 4 images as correct" in done.err
    assert (tmp_path / "D" / plain.relative_to(tmp_path / "A")).read_bytes() == plain.read_bytes()


def test_nothing_is_left_where_a_record_changes_while_it_is_copied(
    tmp_path: Path, cli: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "A", record(60.0, **CODE))
    write(tmp_path / "B", record(60.0, "svhn", **CODE))
    copy = shutil.copyfile

    def changed(source: Path, target: Path) -> None:
        copy(source, target)
        target.write_text(json.dumps(json.loads(target.read_text()) | {"finished": "later"}))

    monkeypatch.setattr("aoft_bench.results.merge.shutil.copyfile", changed)
    done = cli("merge-results", "A", "B", "out=C")
    assert done.code == 2 and "have changed while they were copied" in done.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["A", "B"]
