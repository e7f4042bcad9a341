"""Eight records as earlier versions wrote them: they load, keep their hash and stand in a table in every later version.

Six are of the records that the project shipped when this test was made, the oldest of them without options that came
later; one each of the protocols literature and tune was made for it. Do not change them: a version that cannot read
them cannot read the records that others have.
"""

import csv
import shutil
from pathlib import Path

import pytest
from conftest import Command

from aoft_bench.records.files import read_record
from aoft_bench.records.identity import record_hash
from aoft_bench.results.collect import collect

ROOT = Path(__file__).parent / "frozen"
PATHS = sorted(ROOT.rglob("*.json"))
REPOSITORY = Path(__file__).resolve().parents[2]
SWEEPS = REPOSITORY / "sweeps"
EVERY = sorted((REPOSITORY / "results").glob("*/records/**/*.json"))  # shipped and appendix


def test_the_frozen_records_are_all_here() -> None:
    assert {path.stem for path in PATHS} == {
        "seed0-0a2b13ca23",  # aoft, bf16: before the digest of the code, the manifest of the data, four trainer options
        "seed0-305d181f1c",  # adapter, fp32
        "seed0-ce12ec656c",  # a tuner of peft
        "seed2-4afae957eb",  # lora
        "seed1-f254d6be28",  # lora_matched: a row with a label of its own
        "seed0-7c4ffd6dc7",  # linear on random weights
        "seed3-1162cadbee",  # lora, protocol literature
        "seed0-05c3b4e7f6",  # aoft_adapter, protocol tune
    }


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_frozen_record_keeps_its_hash(path: Path) -> None:
    record = read_record(path)
    assert record_hash(record) == record["hash"]
    assert path.stem == f"seed{record['seed']}-{record['hash']}"


def test_frozen_records_stand_in_tables(tmp_path: Path, cli: Command) -> None:
    found = collect(ROOT)
    assert not found.left_out and found.paths == PATHS
    shutil.copytree(ROOT, tmp_path / "results")
    done = cli("tables")
    assert done.code == 0 and not done.err
    with (tmp_path / "results/tables/accuracy_long.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["mean"]]
    shown = {(row["row"], row["column"], round(float(row["mean"]), 1)) for row in rows}
    for record in found.records:
        assert (record["method"], record["dataset"], round(record["metrics"]["top1"], 1)) in shown, record["hash"]


def test_every_shipped_record_keeps_its_hash() -> None:
    assert len(EVERY) >= 249
    for path in EVERY:
        record = read_record(path)
        assert record_hash(record) == record["hash"] == path.stem.partition("-")[2]


def test_the_command_of_a_frozen_record_finds_it_done(tmp_path: Path, cli: Command) -> None:
    """The code of this version gives the same hash to the same data, weights and configuration. The recipe is given as
    the record has it, since `hparams=embedded` of the command was chosen anew."""
    (path,) = ROOT.rglob("seed1-f254d6be28.json")
    shutil.copytree(ROOT, tmp_path / "results")
    record = read_record(path)
    given = record["command"].removeprefix("python -m aoft_bench -cd sweeps ").replace("hparams=embedded ", "").split()
    recipe = [
        f"recipe.{name}={'null' if value is None else value}" for name, value in record["config"]["recipe"].items()
    ]
    done = cli("-cd", str(SWEEPS), *given, *recipe, "results.mode=only-cached")
    assert done.code == 0, done.err
    assert f"(done before)\n  results/{path.relative_to(ROOT)}" in done.out
