"""`python -m benchmarks.numerics PACK WEIGHTS`: losses in bf16 beside those in fp32, step by step, on real images.

A ViT-Ti with the given weights is trained by each method on the same batches of a folder pack, once in each precision,
and once more in fp32 from weights that are disturbed in their sixth digit, which shows how far two fp32 runs drift
apart. Prints the first and last losses, and the largest and mean differences.
"""

import argparse
import sys
from functools import partial
from pathlib import Path

import torch

import aoft_bench
from aoft_bench.backbones.networks import build
from aoft_bench.config.schema import BackboneOptions
from aoft_bench.data.loader import DeviceBatches, to_device
from aoft_bench.data.locations import Locations
from aoft_bench.data.prepared_task import prepare
from aoft_bench.data.transforms import normalize
from aoft_bench.training.hardware import autocast, prefer_fast_attention

RATES = {"aoft": 1e-3, "lora": 1e-3, "adapter": 1e-3, "full": 3e-4}
DISTURBANCE = 1e-6


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.numerics", description=__doc__)
    parser.add_argument("pack", type=Path)
    parser.add_argument("weights")
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--methods", nargs="+", choices=RATES, default=list(RATES))
    parser.add_argument("--lr", type=float, help="instead of the methods' own rates")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    locations = Locations(Path("data/cache"), options.pack, "folder")
    task = prepare(aoft_bench.data.task("folder"), locations, image_size=options.size, interpolation="bicubic")
    images, labels = task.train("train800val200")
    batches = DeviceBatches(to_device(images, options.size, "bicubic", device), labels, 32, shuffle=True)
    backbone = BackboneOptions("vit_ti", "vit_tiny_patch16_224", options.weights, options.size)
    for method in options.methods:
        rate = options.lr or RATES[method]
        train = partial(_losses, backbone, method, rate, task.classes, batches, options.steps)
        whole, half, disturbed = train("fp32"), train("bf16"), train("fp32", DISTURBANCE)
        print(
            f"{method}, lr {rate:g}, {options.steps} steps: loss {whole[0]:.3f} -> {whole[-1]:.3f} in fp32; "
            f"bf16 {half[-1]:.3f}, {_apart(whole, half)}; disturbed {disturbed[-1]:.3f}, {_apart(whole, disturbed)}",
            flush=True,
        )
    return 0


def _apart(one: list[float], other: list[float]) -> str:
    apart = [abs(a - b) for a, b in zip(one, other, strict=True)]
    return f"at most {max(apart):.4f} and on average {sum(apart) / len(apart):.4f} apart"


def _losses(
    backbone: BackboneOptions,
    method: str,
    rate: float,
    classes: int,
    batches: DeviceBatches,
    steps: int,
    precision: str,
    disturbance: float = 0.0,
) -> list[float]:
    torch.manual_seed(0)
    network = build(backbone, classes)
    noise = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.model.parameters():
            parameter.mul_(1 + disturbance * torch.randn(parameter.shape, generator=noise))
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
