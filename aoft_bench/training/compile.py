"""torch.compile of a network's blocks: they have one shape, so that one is compiled for all of them."""

import torch
from torch import nn

from aoft_bench.backbones.layout import block_paths


def compile_blocks(model: nn.Module, on: bool) -> None:
    """Let every block run compiled from its next call on, or as it is written again, in place.

    What surrounds attention and the products (layer norms, casts, additions) is fused, and so costs fewer passes over
    the activations. The first step takes seconds longer.
    """
    for _, block in block_paths(model):
        if on:
            block.compile(dynamic=False)
        else:
            block._compiled_call_impl = None
    if not on:
        torch._dynamo.reset()
