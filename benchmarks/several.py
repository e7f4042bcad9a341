"""Do several cells of one method train faster together, in one process on one frozen network?

K LoRAs (seeds, or learning rates): the frozen layers see K batches at once, and each LoRA its own part of them, as
two thin batched products beside the frozen layer. The reference: K steps of `aoft_bench`, one after the other.
"""

from typing import Any

import torch
from torch import Tensor, nn

from aoft_bench.backbones.layout import block_paths
from benchmarks.machine import Workload
from benchmarks.networks import ALL, Case, Training, batch, ours, vit
from benchmarks.steps import training
from benchmarks.timing import alternate, forget


class ManyLoRA(nn.Module):
    """x (K B, N, in) -> x W^T + b + (x_k A_k) B_k, A (K, in, r), B (K, r, out)."""

    def __init__(self, base: nn.Linear, count: int, rank: int) -> None:
        super().__init__()
        self.base, self.count = base, count
        device = base.weight.device
        self.a = nn.Parameter(torch.randn(count, base.in_features, rank, device=device) * base.in_features**-0.5)
        self.b = nn.Parameter(torch.randn(count, rank, base.out_features, device=device) * 1e-3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.base(x)
        each = x.reshape(self.count, -1, x.shape[-1])
        return y + torch.bmm(torch.bmm(each, self.a.to(x.dtype)), self.b.to(x.dtype)).view_as(y)  # type: ignore[no-any-return]


def many(count: int) -> Any:
    def adapt(model: nn.Module) -> nn.Module:
        model.requires_grad_(False)
        for _, block in block_paths(model):
            for parent, name in ((block.attn, "qkv"), (block.mlp, "fc1"), (block.mlp, "fc2")):
                setattr(parent, name, ManyLoRA(getattr(parent, name), count, 8))
        return model

    return adapt


def measure(setting: Workload, counts: tuple[int, ...] = (2, 4, 8)) -> list[dict[str, Any]]:
    """How many times as fast K cells together are as one after the other."""
    graphs = setting.device.type == "cuda"
    rows = []
    one = training(Case("lora", ours("lora", targets=ALL)), setting, graphs)
    for count in counts:
        images, labels = batch(setting.batch * count, setting.size, setting.device)
        model = vit(setting.network, setting.size, setting.device)
        together = Training(Case("many", many(count)), model, setting.device, setting.precision, graphs, images, labels)
        times = alternate(together.step, one.step, setting.rounds, max(1, setting.steps // count), setting.device)
        rows.append({"case": f"{count} cells together", "times_as_fast": count / times.ratio})
        del together, model
        forget(setting.device)
    return rows
