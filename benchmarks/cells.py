"""Start-up, whole cells, and how their time and memory grow. Each runs in a process of its own, as a user starts it."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.machine import Workload

TESTED = 387_904  # test images of the 19 tasks of VTAB-1k
TASKS, TRAINED = 19, 1000

# prints the seconds from the start of Python to the end of the first training step
_FIRST_STEP = """
import sys, time
from aoft_bench.training.module import FineTuning
began, real = float(sys.argv[1]), FineTuning.training_step
def first(self, batch, index):
    loss = real(self, batch, index)
    loss.item()
    print("seconds", time.time() - began, flush=True)
    import os; os._exit(0)
FineTuning.training_step = first
from aoft_bench.cli import main
main(sys.argv[2:])
"""


def measure(setting: Workload, epochs: int) -> dict[str, Any]:
    """Start-up times, and a run on the digits with the setting's network (random weights) and image size."""
    with tempfile.TemporaryDirectory(prefix="aoft_bench-") as folder:
        words = _cell(setting, Path(folder))
        starts = startup([*words, f"results.root={folder}/started"])
        return {"startup": starts, "cell": cell(words, Path(folder), epochs)}


def _cell(setting: Workload, folder: Path) -> list[str]:
    from safetensors.torch import save_file

    from benchmarks.networks import vit

    words = [f"data.cache={folder}/cache", "dataset=digits", "logger=none"]
    words += [
        "trainer.progress=none",
        f"recipe.batch_size={setting.batch}",
        f"trainer.accelerator={setting.device.type}",
    ]
    words += [f"trainer.precision={setting.precision}", f"trainer.threads={setting.threads}"]
    if setting.network == "vit_nano":
        return [*words, "backbone=vit_nano"]
    weights = folder / "random.safetensors"
    save_file({k: v.cpu() for k, v in vit(setting.network, setting.size, setting.device).state_dict().items()}, weights)
    words += ["backbone=vit_b16_in21k", "backbone.name=random", f"backbone.checkpoint={weights}"]
    return [*words, f"backbone.timm={setting.network}", f"backbone.img_size={setting.size}", "hparams=none"]


def startup(words: list[str], times: int = 3) -> list[dict[str, Any]]:
    """Seconds from the start of Python: medians of `times` starts, after one that prepares the data."""

    def python(*command: str) -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, *command], check=True, capture_output=True, env=_environment())
        return time.perf_counter() - start

    def first_step() -> float:
        command = [sys.executable, "-c", _FIRST_STEP, repr(time.time()), *words]
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=_environment())
        return float(next(line.split()[1] for line in done.stdout.splitlines() if line.startswith("seconds")))

    runs = {
        "python": lambda: python("-c", "pass"),
        "import torch": lambda: python("-c", "import torch"),
        "imports of a cell, torch's included": lambda: python(
            "-c", "import aoft_bench.cli.run, aoft_bench.experiments.run, hydra"
        ),
        "start to the end of the first training step": first_step,
    }
    rows = []
    for name, run in runs.items():
        run()
        rows.append({"case": name, "seconds": statistics.median(run() for _ in range(times))})
    return rows


def cell(words: list[str], folder: Path, epochs: int) -> dict[str, Any]:
    """Wall-clock parts of one AOFT run, and what a table takes from them: one method, 19 tasks, 100 epochs."""
    start = time.perf_counter()
    cost = _cost([*words, f"results.root={folder}/results", f"recipe.epochs={epochs}"], folder / "results")
    wall = time.perf_counter() - start
    rest = wall - cost["train_seconds"] - cost["score_seconds"]
    table = TASKS * (TRAINED * 100 / cost["train_images_per_second"] + rest) + TESTED / cost["score_images_per_second"]
    return {
        "epochs": epochs,
        "wall_seconds": wall,
        "train_seconds": cost["train_seconds"],
        "train_images_per_second": cost["train_images_per_second"],
        "score_images_per_second": cost["score_images_per_second"],
        "peak_memory_bytes": cost["peak_memory_bytes"],
        "other_seconds": rest,
        "table_seconds": table,
    }


def growth(setting: Workload, epochs: int) -> list[dict[str, Any]]:
    """Cost of AOFT runs with vit_nano: 800 and 1,000 training images, and 1, 2 and 4 times `epochs`."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="aoft_bench-") as name:
        folder = Path(name)
        words = _cell(replace(setting, network="vit_nano", batch=32), folder)
        for protocol, images in (("tune", 800), ("clean", TRAINED)):
            for times in (1, 2, 4):
                root = folder / f"{protocol}{times}"
                options = [f"protocol={protocol}", f"recipe.epochs={times * epochs}", f"results.root={root}"]
                cost = _cost([*words, *options], root)
                rows.append(
                    {
                        "case": f"{images:,} images x {times * epochs} epochs",
                        "train_seconds": cost["train_seconds"],
                        "milliseconds_an_image": 1e3 * cost["train_seconds"] / (images * times * epochs),
                        "peak_bytes": cost["peak_memory_bytes"],
                    }
                )
    return rows


def _cost(words: list[str], root: Path) -> dict[str, Any]:
    """Run a cell in its own process, and return the cost from its record, the only one in the results folder."""
    subprocess.run([sys.executable, "-m", "aoft_bench", *words], check=True, capture_output=True, env=_environment())
    (path,) = (root / "records").rglob("*.json")
    return json.loads(path.read_text())["cost"]  # type: ignore[no-any-return]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")])}
