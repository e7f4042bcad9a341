"""`python -m benchmarks`: measure and print Markdown tables; --out keeps them, and the numbers as JSON."""

import argparse
import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import torch

from aoft_bench.training.hardware import prepare_cpu
from benchmarks import cells, optable, peak, scoring, several, steps
from benchmarks.machine import Workload, describe
from benchmarks.report import markdown

SECTIONS = ("steps", "frozen", "scoring", "data path", "operations", "start-up", "several cells", "growth")


def main() -> int:
    options = _parser().parse_args()
    setting = _setting(options)
    prepare_cpu(setting.threads)  # as a run does
    warnings.filterwarnings("ignore", category=UserWarning)
    # as a run trains (aoft_bench.training.fit)
    if setting.device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        torch.utils.deterministic.fill_uninitialized_memory = False
    if options.peak_of:
        steps.print_peak(options.peak_of, setting)
        return 0
    found = describe(setting) | {"sections": {}}
    for name in options.only or SECTIONS:
        print(f"benchmarks: {name} ...", file=sys.stderr, flush=True)
        found["sections"][name] = _measured(name, setting, options, found["sections"])
        _keep(found, options.out)
    measured = found["sections"]
    if "steps" in measured and "scoring" in measured:
        measured["share of the matrix peak"] = peak.shares(setting, measured["steps"], measured["scoring"])
        _keep(found, options.out)
    print(markdown(found), end="")
    return 0


def _measured(name: str, setting: Workload, options: argparse.Namespace, before: dict[str, Any]) -> Any:
    cuda = setting.device.type == "cuda"
    if name == "steps":
        return steps.measure(setting, options.every_method)
    if name == "frozen":
        return steps.frozen(setting)
    if name == "scoring":
        return scoring.measure(setting, 128 if cuda else setting.batch, 12 if cuda else 2)
    if name == "data path":
        return scoring.data_path(setting)
    if name == "operations":
        return optable.measure(setting)
    if name == "start-up":
        return cells.measure(setting, options.epochs)
    if name == "growth":
        return cells.growth(setting, options.epochs)
    return several.measure(setting)


def _keep(found: dict[str, Any], out: str | None) -> None:
    """Write the results so far: a benchmark may be stopped."""
    if out:
        folder = Path(out)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "benchmark.json").write_text(json.dumps(found, indent=1) + "\n")
        (folder / "benchmark.md").write_text(markdown(found))


def _setting(o: argparse.Namespace) -> Workload:
    device = torch.device(o.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    cuda = device.type == "cuda"
    return Workload(
        device=device,
        precision=o.precision or ("bf16" if cuda else "fp32"),
        network=o.network,
        size=o.size,
        batch=o.batch or (64 if cuda else 8),
        rounds=o.rounds or (7 if cuda else 5),
        steps=o.steps or (10 if cuda else 1),
        threads=o.threads or torch.get_num_threads(),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__, allow_abbrev=False)
    parser.add_argument("--device", choices=["cpu", "cuda"], help="default: a GPU if there is one")
    parser.add_argument("--precision", choices=["fp32", "bf16"], help="default: bf16 on a GPU, fp32 on a CPU")
    parser.add_argument("--network", default="vit_base_patch16_224", help="a plain ViT of timm, or vit_nano")
    parser.add_argument("--size", type=int, default=224, help="of an image in pixels")
    parser.add_argument("--batch", type=int, help="images a step; default: 64 on a GPU, 8 on a CPU")
    parser.add_argument(
        "--rounds", type=int, help="timed rounds of a case and its reference; default: 7 on a GPU, 5 on a CPU"
    )
    parser.add_argument("--steps", type=int, help="steps in a round; default: 10 on a GPU, 1 on a CPU")
    parser.add_argument("--threads", type=int, help="CPU threads; default: torch's choice")
    parser.add_argument("--epochs", type=int, default=2, help="of the run that is timed from end to end")
    parser.add_argument(
        "--every-method", action="store_true", help="time the step of every method, not only the main ones"
    )
    parser.add_argument("--only", action="append", choices=SECTIONS, help="a section; may be given several times")
    parser.add_argument("--out", help="folder for benchmark.json and benchmark.md")
    parser.add_argument("--peak-of", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
