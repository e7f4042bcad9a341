"""Hooks that build the factors of all low-rank updates once a forward pass, in batches, and the merged weights."""

from typing import Any

import torch
from torch import Tensor, nn

from aoft_bench.methods.parts.low_rank import LowRank
from aoft_bench.methods.parts.mergeable import compute_dtype
from aoft_bench.methods.parts.merged_linear import AdaptedLinear


def build_once_a_step(model: nn.Module) -> None:
    """Let `model` build all factors (`LowRank.build_factors_of`) and merged weights at the start of a forward pass.

    Submodules called directly compute their own factors. The numbers are the same.
    """
    if any(isinstance(module, LowRank) for module in model.modules()):
        model.register_forward_pre_hook(_build_all)
        model.register_forward_hook(_forget_all, always_call=True)


@torch.no_grad()
def build_for_good(model: nn.Module) -> None:
    """Build the factors and the merged weights once, as constants of a model that is not trained any more.

    What they are computed from is then no part of a forward pass, nor of a traced one.
    """
    _build_all(model, (next(model.parameters()),))
    for hooks in (model._forward_pre_hooks, model._forward_hooks):
        for key in [key for key, hook in hooks.items() if hook in (_build_all, _forget_all)]:
            del hooks[key]


def _build_all(model: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    modules = list(model.modules())
    # with gradient checkpointing a layer runs again in the backward pass, and must do the same there
    if any(getattr(module, "grad_checkpointing", False) for module in modules):
        return
    updates_of: dict[type[LowRank], list[LowRank]] = {}
    for module in modules:
        if isinstance(module, LowRank):
            updates_of.setdefault(type(module), []).append(module)
    dtype = compute_dtype(inputs[0])
    with torch.autocast(inputs[0].device.type, enabled=False):  # factors keep full precision
        for kind, updates in updates_of.items():
            for update, factors in zip(updates, kind.build_factors_of(updates), strict=True):
                update.prebuilt = factors
        for module in modules:
            if isinstance(module, AdaptedLinear):
                module.prebuilt = module.build(dtype)


def _forget_all(model: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
    for module in model.modules():
        if isinstance(module, (LowRank, AdaptedLinear)):
            module.prebuilt = None
