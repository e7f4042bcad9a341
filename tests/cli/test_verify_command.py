"""`aoft-bench verify`: true cells run again, edited ones, and what cannot be run here."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import Command, call, words
from packs import make_pack

from aoft_bench.cli.verify import Cell
from aoft_bench.records.code_version import code_digest
from aoft_bench.records.identity import record_hash
from aoft_bench.records.schema import check_record
from aoft_bench.results.verified import NAME, read_verified
from aoft_bench.utils.errors import UserError


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, nano: dict[str, str]) -> Path:
    """A folder with a pack, and results/ with a true cell."""
    root = tmp_path_factory.mktemp("ran")
    make_pack(root / "pack", sizes={"train800": 24, "val200": 8, "test": 20}, shape=(32, 32))
    options = nano | {"dataset": "folder", "method": "linear", "data.root": "pack", "data.cache": "cache"}
    done = call(*words(options), cwd=root)
    assert done.code == 0, done.err
    return root


@pytest.fixture
def folder(ran: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(ran, tmp_path, dirs_exist_ok=True))


def record_of(folder: Path) -> Path:
    (path,) = (folder / "results/records").rglob("*.json")
    return path


def edit(path: Path, **changes: Any) -> None:
    made = json.loads(path.read_text())
    for name, value in changes.items():
        section, key = name.split("__")
        made[section][key] = value
    check_record(made)  # an edit that no check finds
    path.write_text(json.dumps(made))


def test_a_true_cell_comes_out_and_an_edited_one_does_not(folder: Path, cli: Command) -> None:
    path = record_of(folder)
    before = {file.name for file in (folder / "results").rglob("*")}
    done = cli("verify", "results", "sample=9")
    assert done.code == 0 and not done.err
    key = path.relative_to(folder / "results/records").as_posix()
    assert "1 of 1 cells, chosen with seed 0" in done.out and f"[1/1] {key}" in done.out
    assert "): equal\n  the same machine, torch and code\n1 equal\n" in done.out and "tolerance" in done.out
    assert {file.name for file in (folder / "results").rglob("*")} == before | {NAME}  # nothing else is left
    ((cell,), damaged) = read_verified(folder / "results")
    assert (cell.record, cell.outcome, cell.code, damaged) == (key, "equal", code_digest(), [])

    correct = cell.correct + (3 if cell.correct < 15 else -3)
    edit(path, metrics__correct=correct, metrics__top1=5.0 * correct, hardware__cpu="another CPU")
    done = cli("verify", str(path))
    assert done.code == 1 and "differs by " in done.out and "no tolerance is known" in done.out
    assert "machine another CPU" in done.out and "1 differs" in done.out
    assert {cell.outcome for cell in read_verified(folder / "results")[0]} == {"equal", "differs"}


def test_what_cannot_be_run_here_is_said(folder: Path, cli: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aoft_bench.experiments.device.cuda_is_available", lambda: False)
    path = record_of(folder)
    shutil.rmtree(folder / "pack")
    gone = cli("verify", str(path.parent))
    assert gone.code == 2 and "1 not run" in gone.out
    assert gone.err.startswith("  cannot be run here: ") and "pack does not exist" in gone.err
    edit(path, hardware__gpu="NVIDIA H200")
    no_gpu = cli("verify", "results")
    assert no_gpu.code == 2 and "it ran on NVIDIA H200, and torch sees no GPU; trainer.accelerator=cpu" in no_gpu.err
    make_pack(folder / "other", shape=(32, 32), seed=1)
    other = cli("verify", "results", "trainer.accelerator=cpu", "data.root=other", "data.cache=other_cache")
    assert other.code == 2 and "the data here are not those of the record" in other.err
    assert not (folder / "results" / NAME).exists()


def test_the_sample_is_chosen_by_its_seed(folder: Path, cli: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    first = record_of(folder)
    made = json.loads(first.read_text())
    for seed in range(1, 8):
        made["seed"] = made["config"]["seed"] = seed
        made["hash"] = record_hash(made)
        first.with_name(f"seed{seed}-{made['hash']}.json").write_text(json.dumps(made))
    asked: list[int] = []

    def not_here(cell: Cell, changes: dict[str, Any]) -> None:
        asked.append(cell.record["seed"])
        raise UserError("no")

    monkeypatch.setattr("aoft_bench.cli.verify._again", not_here)
    for words_given in (["sample=4"], ["sample=4", "seed=0"], ["sample=4", "seed=1"]):
        assert cli("verify", "results", *words_given).code == 2
    assert len(set(asked[:4])) == 4 and asked[:4] == asked[4:8] != asked[8:]
