"""torch.compile for the blocks of a network. They have one shape, so one compilation serves all of them."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from aoft_bench.backbones.layout import block_paths


@contextmanager
def compiled_blocks(model: nn.Module, enabled: bool = True) -> Iterator[None]:
    """Run every block compiled inside this context, and eagerly again after it.

    What surrounds attention and the matrix products (layer norms, casts, additions) is fused, which saves passes over
    the activations. The first step takes seconds longer.
    """
    if not enabled:
        yield
        return
    blocks = [block for _, block in block_paths(model)]
    for block in blocks:
        block.compile(dynamic=False)
    try:
        yield
    finally:
        for block in blocks:
            block._compiled_call_impl = None
        torch._dynamo.reset()
