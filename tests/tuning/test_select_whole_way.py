"""Tuning by a sweep, choosing on val200 and using what was chosen, with true runs."""

from pathlib import Path

import pytest
from conftest import Command, words
from packs import make_pack

from aoft_bench.records.files import read_record
from aoft_bench.tuning.hparams import set_file, write

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory, nano: dict[str, str]) -> tuple[Path, dict[str, str]]:
    """A pack, and the options of a cell on it."""
    root = tmp_path_factory.mktemp("tuned")
    make_pack(root / "pack")
    return root, nano | {"dataset": "folder", "data.root": "pack", "data.cache": "cache"}


def test_tune_select_and_use(tuned: tuple[Path, dict[str, str]], cli: Command) -> None:
    """hparams=tuned is the chosen run: under protocol=tune its cell has the same hash, and is found done."""
    root, options = tuned
    grid = {"method": "lora_matched", "recipe.lr": "1e-3,2e-2", "recipe.weight_decay": "0.0", "method.alpha": "2.0"}
    done = cli("-cd", str(ROOT / "sweeps"), "-cn", "tune", *words(options | grid), cwd=root)
    assert done.code == 0, done.err
    paths = sorted((root / "results/tuning").rglob("*.json"))
    assert len(paths) == 2
    assert not (root / "results/records").exists(), "tuning stays apart from results"
    best = max(
        (read_record(path) for path in paths),
        key=lambda made: (made["metrics"]["correct"], -made["config"]["recipe"]["lr"]),
    )
    ask = {"method": "lora_matched", "hparams": "tuned", "recipe.epochs": "1"}
    for name in ("of_its_own", "tuned"):
        ask["hparams"] = name
        chosen = cli("select", "--conf", "mine", "--as", name, cwd=root)
        assert chosen.code == 0, chosen.err
        again = cli("-cd", "mine", *words(options | ask, protocol="tune", results__root="results/tuning"), cwd=root)
        assert again.code == 0, again.err
        assert "(done before)" in again.out and best["hash"] in again.out
    clean = cli("-cd", "mine", *words(options | ask), cwd=root)
    assert clean.code == 0, clean.err
    (path,) = (root / "results/records").rglob("*.json")
    made = read_record(path)
    assert made["config"]["method"] == best["config"]["method"]
    assert made["config"]["recipe"] == best["config"]["recipe"]
    assert (made["protocol"]["name"], made["metrics"]["split"]) == ("clean", "test")


def test_what_is_not_tuned_is_said_in_a_line(tuned: tuple[Path, dict[str, str]], cli: Command) -> None:
    """In a set of one's own too, where the commands are those that fill it."""
    root, options = tuned
    write(set_file(root / "sets", "long"))
    for name, select in (
        ("tuned", "`aoft-bench select`"),
        ("long", "`aoft-bench select --as long`"),
    ):
        done = cli("-cd", "sets", *words(options, method="adapter", hparams=name), cwd=root)
        assert done.code == 2
        (line,) = done.err.splitlines()
        assert line.startswith("aoft_bench: recipe.lr: nothing is tuned for adapter on folder yet: run `")
        assert "python -m aoft_bench -cd sweeps -cn tune method=adapter dataset=folder" in line
        assert select in line and "hparams=none" in line


def test_a_grid_key_that_does_not_exist(tuned: tuple[Path, dict[str, str]], cli: Command) -> None:
    root, options = tuned
    sweeps = str(ROOT / "sweeps")
    done = cli("-cd", sweeps, "-cn", "tune", *words(options, method="lora", recipe__lrr="1,2"), cwd=root)
    assert done.code == 2
    assert "unknown option of recipe 'lrr' (did you mean 'lr'?)" in done.err


@pytest.mark.parametrize("key", ["recipe.lrr", "method.rnk", "sed"])
def test_a_grid_key_of_a_file_that_does_not_exist(
    tuned: tuple[Path, dict[str, str]], cli: Command, tmp_path: Path, key: str
) -> None:
    root, options = tuned
    lines = ["defaults:", "  - config", "  - _self_", "hydra:", "  mode: MULTIRUN", "  sweeper:", "    params:"]
    (tmp_path / "mine.yaml").write_text("\n".join([*lines, f"      {key}: 1,2", ""]))
    done = cli("-cd", str(tmp_path), "-cn", "mine", *words(options, method="lora"), cwd=root)
    assert done.code == 2
    (line,) = done.err.splitlines()
    assert line.startswith("aoft_bench: ") and key in line
