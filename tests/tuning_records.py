"""Tuning records that were never run, and a folder in which `aoft_bench.cli.select` chooses among them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from conftest import Command, Result
from omegaconf import OmegaConf

SELECT = "aoft_bench.cli.select"


def record(lr: float, correct: int, *, seed: int = 0, **changes: Any) -> dict[str, Any]:
    """A tuning record of lora on digits; `changes` by path, with __ for the dot."""
    made: dict[str, Any] = {
        "schema": 1,
        "backbone": "vit_nano",
        "method": "lora",
        "dataset": "digits",
        "seed": seed,
        "hash": "0123456789",
        "command": f"python -m aoft_bench method=lora recipe.lr={lr} seed={seed}",
        "finished": "2026-11-20T10:00:00+00:00",
        "protocol": {"name": "tune", "train": "train800", "score": "val200", "epoch": "last"},
        "metrics": {"split": "val200", "top1": 100 * correct / 200, "correct": correct, "total": 200},
        "curves": {"val200_top1": [100 * correct / 200]},
        "parameters": {"trained": 24576, "head": 1290},
        "data": {"fingerprint": "d" * 64, "official": False, "official_note": "", "mean": [0.5] * 3, "std": [0.5] * 3},
        "weights": {"sha256": "a" * 64, "source": "embedded"},
        "precision": "fp32",
        "git": {"commit": "c0ffee", "dirty": False},
        "config": {
            "backbone": {"img_size": 32},
            "data": {"interpolation": "bicubic"},
            "method": {"name": "lora", "rank": 8, "alpha": 8.0, "targets": ["q", "v"]},
            "recipe": {"epochs": 10, "lr": lr, "weight_decay": 1e-4, "warmup_epochs": None},
            "trainer": {},
        },
    }
    for path, value in changes.items():
        *sections, name = path.split("__")
        where = made
        for section in sections:
            where = where[section]
        where[name] = value
    return made


class World:
    """A folder with tuning records and a folder of configurations to write into."""

    def __init__(self, root: Path, cli: Command) -> None:
        self.root, self.cli = root, cli
        self.records = root / "results/tuning/records"
        self.conf = root / "mine"

    def add(self, *made: dict[str, Any], text: Callable[[str], str] = str) -> list[Path]:
        """Write records, each into a file of its own; `text` may damage it."""
        paths = []
        for one in made:
            self.records.mkdir(parents=True, exist_ok=True)
            paths.append(self.records / f"{len(list(self.records.iterdir())):03}.json")
            paths[-1].write_text(text(json.dumps(one)), encoding="utf-8")
        return paths

    def select(self, *given: str) -> Result:
        return self.cli("--conf", "mine", *given, module=SELECT)

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
