"""`python -m benchmarks.numerics PACK WEIGHTS`: losses in bf16 beside those in fp32, step by step, on real images.

A ViT-Ti with the given weights is trained by each method on the same batches of a folder pack, once in each precision;
printed are the largest and the last difference of the losses, and how far each run came.
"""

import argparse
import sys
from pathlib import Path

import torch

import aoft_bench
from aoft_bench.backbones import build
from aoft_bench.config import BackboneOptions
from aoft_bench.data.loader import DeviceBatches, to_device
from aoft_bench.data.places import Places
from aoft_bench.data.prepare import prepare
from aoft_bench.data.transforms import normalize
from aoft_bench.training.hardware import autocast, prefer_fast_attention

METHODS = {"aoft": 1e-3, "lora": 1e-3, "adapter": 1e-3, "full": 3e-4}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.numerics", description=__doc__)
    parser.add_argument("pack", type=Path)
    parser.add_argument("weights")
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--steps", type=int, default=50)
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    places = Places(Path("data/cache"), options.pack, "folder")
    task = prepare(aoft_bench.data.task("folder"), places, image_size=options.size, interpolation="bicubic")
    images, labels = task.train("train800val200")
    batches = DeviceBatches(to_device(images, options.size, "bicubic", device), labels, 32, shuffle=True)
    backbone = BackboneOptions("vit_ti", "vit_tiny_patch16_224", options.weights, options.size)
    for method, rate in METHODS.items():
        runs = [_losses(backbone, method, rate, task.classes, batches, p, options.steps) for p in ("fp32", "bf16")]
        apart = [abs(a - b) for a, b in zip(*runs, strict=True)]
        print(
            f"{method}: {options.steps} steps, loss {runs[0][0]:.3f} -> {runs[0][-1]:.3f} in fp32, {runs[1][-1]:.3f} "
            f"in bf16; largest difference {max(apart):.4f}, mean {sum(apart) / len(apart):.4f}",
            flush=True,
        )
    return 0


def _losses(
    backbone: BackboneOptions,
    method: str,
    rate: float,
    classes: int,
    batches: DeviceBatches,
    precision: str,
    steps: int,
) -> list[float]:
    torch.manual_seed(0)
    network = build(backbone, classes)
    handle = aoft_bench.attach(network.model, method)
    model, device = network.model.to(batches.images.device).train(), batches.images.device
    prefer_fast_attention(model, device)
    groups = [{"params": params, "lr": rate * lr} for (lr, _), params in handle.groups().items()]
    optimizer = torch.optim.AdamW(groups, lr=rate, weight_decay=1e-4)
    losses: list[float] = []
    while len(losses) < steps:
        batches.set_epoch(len(losses))
        for images, labels in batches:
            with autocast(device, precision):
                logits = model(normalize(images, network.mean, network.std))
            loss = torch.nn.functional.cross_entropy(logits.float(), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return losses[:steps]


if __name__ == "__main__":
    sys.exit(main())
