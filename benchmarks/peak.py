"""The share of the matrix peak (MFU): operations that the network needs over what the chip could do in that time."""

from typing import Any

import torch

from benchmarks.machine import Workload
from benchmarks.timing import seconds_of


def matrix_peak(setting: Workload, side: int = 8192) -> float:
    """Operations a second of a large product of random matrices, in the setting's precision: the best of ten."""
    if setting.device.type == "cpu":
        side = 2048
    dtype = torch.bfloat16 if setting.precision == "bf16" else torch.float32
    a, b = (torch.randn(side, side, device=setting.device, dtype=dtype) for _ in range(2))
    seconds_of(lambda: a @ b, 3, setting.device)
    return 2 * side**3 / min(seconds_of(lambda: a @ b, 1, setting.device) for _ in range(10))


def operations(network: str, size: int) -> float:
    """Operations (a multiplication and an addition are two) of a forward pass of one image through a plain ViT: the
    products with weights and the two of attention; the backward pass of the activations takes as many again, and the
    two of attention twice."""
    from torch.utils.flop_counter import FlopCounterMode

    from benchmarks.networks import vit

    model = vit(network, size, torch.device("cpu")).eval()
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 3, size, size))
    return float(counter.get_total_flops())


def shares(setting: Workload, steps: list[dict[str, Any]], scores: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """MFU of each step, counting a forward and one backward product a layer, and of scoring."""
    peak, forward = matrix_peak(setting), operations(setting.network, setting.size)
    rows = [{"case": "matrix product", "tflops": peak / 1e12, "share": 1.0}]
    for row in steps:
        if "milliseconds" in row and row["case"] != "full":
            done = 2 * forward * setting.batch / (row["milliseconds"] / 1e3)
            name = f"training step: {row['case']}{', graph' if row['graph'] else ''}"
            rows.append({"case": name, "tflops": done / 1e12, "share": done / peak})
    for row in scores:
        done = forward * row["images_per_second"]
        rows.append({"case": f"scoring: {row['case']}", "tflops": done / 1e12, "share": done / peak})
    return rows
