"""What a training step does, counted: operations, memory made, memory kept for the backward pass. No clock."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from networks import batch, vit
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import aoft_bench


@dataclass(frozen=True)
class Counts:
    """operations: calls that compute something, views left out; made: bytes of all tensors they made, in the forward
    and the backward pass; saved: bytes kept for the backward pass, parameters left out."""

    operations: int
    made: int
    saved: int


class _Watch(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.operations = self.made = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        tensors = [t for t in (result if isinstance(result, (tuple, list)) else [result]) if isinstance(t, Tensor)]
        if tensors and not any(a.alias_info and not a.alias_info.is_write for a in function._schema.arguments):
            self.operations += 1
            self.made += sum(t.nbytes for t in tensors)
        return result


def counted(method: str | None, depth: int, width: int = 32, images: int = 4, **options: Any) -> Counts:
    """One step of a small ViT with a method, of 17 tokens an image; None is the floor: all frozen, gradients flow
    through all blocks."""
    model = vit(depth=depth, embed_dim=width).train()
    if method is None:
        model.requires_grad_(False)
        model.patch_embed.register_forward_hook(lambda module, inputs, out: out.detach().requires_grad_())
    else:
        aoft_bench.attach(model, method, **options)
    inputs, labels = batch(16, images)
    return counts_of(model, lambda: F.cross_entropy(model(inputs), labels))


def counts_of(model: nn.Module, loss: Callable[[], Tensor]) -> Counts:
    """What a forward pass that gives a loss, and its backward pass, do."""
    kept: dict[int, int] = {}
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with _Watch() as watch, torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        value = loss()
        saved = sum(kept.values())
        value.backward()
    return Counts(watch.operations, watch.made, saved)


def weights_of(model: nn.Module, *names: str) -> int:
    """Bytes of the weights of a network whose layers have these names."""
    return sum(p.nbytes for n, p in model.named_parameters() if n.endswith(tuple(f"{name}.weight" for name in names)))
