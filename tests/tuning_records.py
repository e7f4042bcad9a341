"""Tuning records that were never run, and a folder in which `aoft-bench select` chooses among them."""

import json
from pathlib import Path
from typing import Any

import record_cases
from conftest import Command, Result
from omegaconf import OmegaConf


def record(lr: float, correct: int, *, seed: int = 0, **changes: Any) -> dict[str, Any]:
    """A tuning record of lora on digits, `correct` of 200 right; `changes` by path, with __ for the dot."""
    changes = {
        "dataset": "digits",
        "backbone": "vit_nano",
        "command": f"python -m aoft_bench method=lora recipe.lr={lr} seed={seed}",
        "protocol": {"name": "tune", "train": "train800", "score": "val200", "epoch": "last"},
        "metrics": {"split": "val200", "top1": 100 * correct / 200, "correct": correct, "total": 200},
        "curves": {"val200_top1": [100 * correct / 200]},
        "parameters": {"trained": 24576, "head": 1290},
        "data__fingerprint": "d" * 64,
        "data__source": "embedded",
        "data__official": False,
        "git": {"commit": "c0ffee", "dirty": False},
        "config__backbone__img_size": 32,
        "config__method": {"name": "lora", "rank": 8, "alpha": 8.0, "targets": ["q", "v"]},
        "config__recipe": {"epochs": 10, "batch_size": 32, "lr": lr, "weight_decay": 1e-4, "warmup_epochs": None},
    } | changes
    made = record_cases.record(correct / 2, seed=seed, **changes)
    config = made["config"]
    config["method"]["label"] = made["method"]
    for section in ("backbone", "dataset"):
        config[section]["name"] = made[section]
    config["protocol"]["name"] = made["protocol"]["name"]
    return made


class World:
    """A folder with tuning records and a folder of configurations to write into."""

    def __init__(self, root: Path, cli: Command) -> None:
        self.root, self.cli = root, cli
        self.conf = root / "mine"

    def add(self, *made: dict[str, Any]) -> list[Path]:
        """Write records where they belong."""
        return [record_cases.write(self.root / "results/tuning", one) for one in made]

    def select(self, *given: str) -> Result:
        return self.cli("select", "--conf", "mine", *given)

    def file(self, method: str = "lora", dataset: str = "digits", name: str = "tuned") -> Path:
        return self.conf / "hparams" / name / method / f"{dataset}.yaml"

    def chosen(self, *given: str) -> Any:
        """What select writes for lora on digits."""
        done = self.select(*given)
        assert done.code == 0, done.err
        return OmegaConf.load(self.file())

    def refused(self, *given: str) -> str:
        """The line that select ends with; nothing may have been written."""
        before = {path: path.read_bytes() for path in self.conf.rglob("*") if path.is_file()}
        done = self.select(*given)
        assert done.code == 2, (done.out, done.err)
        assert "Traceback" not in done.err and not done.out
        assert {path: path.read_bytes() for path in self.conf.rglob("*") if path.is_file()} == before
        (line,) = [line for line in done.err.splitlines() if "left out" not in line]
        assert line.startswith("aoft_bench: ")
        return line


def edit(path: Path, **changes: Any) -> None:
    """Change a record's file by hand."""
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), "utf-8")
