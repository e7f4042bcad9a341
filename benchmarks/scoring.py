"""Images a second of scoring, and the cost of the data path."""

from typing import Any

import numpy as np
import torch

import aoft_bench
from aoft_bench.data.loader import DeviceBatches, StreamedBatches
from aoft_bench.data.transforms import NORMALIZATIONS, normalize
from aoft_bench.training.hardware import autocast
from aoft_bench.training.score import predict
from benchmarks.machine import Workload
from benchmarks.networks import ALL, CLASSES, FLOOR, batch, vit
from benchmarks.steps import training
from benchmarks.timing import Times, alternate, forget, seconds_of

MEAN, STD = NORMALIZATIONS["half"]


def measure(setting: Workload, batch_size: int, batches: int) -> list[dict[str, Any]]:
    """Score `batches` batches with AOFT and LoRA, merged and unmerged, from images in the computer's memory. The
    reference is the plain timm network on one batch that is on the device and normalized already."""
    device = setting.device
    bare = vit(setting.network, setting.size, device).eval()
    ready = normalize(batch(batch_size, setting.size, device)[0], MEAN, STD)

    @torch.inference_mode()
    def run_bare() -> None:
        for _ in range(batches):
            with autocast(device, setting.precision):
                bare(ready)

    rng = np.random.default_rng(0)
    rows = []
    for native in dict.fromkeys((setting.size, 32)):
        images = rng.integers(0, 256, (batch_size * batches, native, native, 3), dtype=np.uint8)
        labels = rng.integers(0, CLASSES, len(images))
        for method, options in (("aoft", {}), ("lora", {"targets": ALL})):
            handle = aoft_bench.attach(vit(setting.network, setting.size, device), method, prepared={}, **options)
            for merged in (True, False):
                if merged:
                    handle.merge()
                loader = StreamedBatches(images, labels, batch_size, size=setting.size, device=device)

                def run(model: Any = handle.model, loader: Any = loader) -> None:
                    predict(model, loader, mean=MEAN, std=STD, device=device, precision=setting.precision)

                times = alternate(run, run_bare, setting.rounds, 1, device)
                rows.append(_row(f"{method}, {'merged' if merged else 'unmerged'}, {native} px", times, len(images)))
                if merged:
                    handle.unmerge()
            del handle
            forget(device)
    reference = sorted(times.reference)[len(times.reference) // 2]
    return [{"case": "bare timm network", "share": 1.0, "images_per_second": batch_size * batches / reference}, *rows]


def _row(name: str, times: Times, images: int) -> dict[str, Any]:
    return {"case": name, "share": 1 / times.ratio, "images_per_second": images / times.median}


def data_path(setting: Workload) -> list[dict[str, Any]]:
    """Milliseconds a batch of the data path alone, and as a share of a step of the floor."""
    device = setting.device
    floor = training(FLOOR, setting, graphs=device.type == "cuda")
    step = alternate(floor.step, floor.step, setting.rounds, setting.steps, device).median
    del floor
    forget(device)
    images, labels = batch(1000, setting.size, device)
    rows = []
    for flip in (False, True):
        loader = DeviceBatches(images, labels, setting.batch, shuffle=True, random_flip=flip)

        def epoch(loader: Any = loader) -> None:
            for part, _ in loader:
                normalize(part, MEAN, STD)

        seconds_of(epoch, 1, device)
        seconds = min(seconds_of(epoch, 1, device) for _ in range(setting.rounds)) / len(loader)
        name = f"training batch: order, gather, {'mirror, ' if flip else ''}normalise"
        rows.append({"case": name, "milliseconds": 1e3 * seconds, "share_of_step": seconds / step})
    return rows
