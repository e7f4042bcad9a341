"""Tiny networks of timm's own classes, in float64, for tests of methods."""

import copy
import functools

import torch
from torch import Tensor, nn

from aoft_bench.backbones.layout import Shape, block_paths, head_parameters, heads_of, image_size, matrix_of
from aoft_bench.backbones.tiny import tiny
from aoft_bench.methods import Handle
from aoft_bench.utils.fast_imports import import_timm

timm = import_timm()
TIGHT = dict(rtol=0.0, atol=1e-10)


def vit(**options) -> nn.Module:
    """Two blocks of width 32 on 16 px; the head is not zero, so that gradients reach what is below it.

    A copy of one that is made once, which is half the time. What is drawn next is as after making one.
    """
    model, state = _vit(**options)
    torch.set_rng_state(state)
    return copy.deepcopy(model)


@functools.cache
def _vit(**options) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    shape = dict(img_size=16, patch_size=4, embed_dim=32, depth=2, num_heads=2, num_classes=5)
    model = timm.models.vision_transformer.VisionTransformer(**{**shape, **options})
    return alive(model).double().eval(), torch.get_rng_state()


def swin() -> nn.Module:
    """Two stages of one block each, widths 16 and 32."""
    torch.manual_seed(0)
    model = timm.models.swin_transformer.SwinTransformer(
        img_size=32, patch_size=4, window_size=4, embed_dim=16, depths=(1, 1), num_heads=(1, 2), num_classes=5
    )
    return alive(model).double().eval()


def of_family(family: str) -> nn.Module:
    """The tiny network of a family, see backbones/tiny.py."""
    return copy.deepcopy(_of_family(family))


@functools.cache
def _of_family(family: str) -> nn.Module:
    torch.manual_seed(0)
    return alive(tiny(family)).double()


def shape_of(model: nn.Module) -> Shape:
    """The sizes of a plain ViT that formulas of parameter counts are written in."""
    blocks, head = block_paths(model), head_parameters(model)
    fc1 = matrix_of(blocks[0][1], "fc1")
    parameters = sum(p.numel() for name, p in model.named_parameters() if name not in head)
    heads = heads_of(blocks[0][1], "shape_of")
    return Shape(len(blocks), fc1.inputs, fc1.outputs, parameters, heads)


@torch.no_grad()
def alive(model: nn.Module) -> nn.Module:
    """Move every weight off its initial zeros and ones, as pre-training does, so that no signal dies out."""
    for parameter in model.parameters():
        scale = parameter[0].numel() ** -0.5 if parameter.ndim == 2 else 0.05
        parameter.add_(scale * torch.randn_like(parameter))
    return model


@torch.no_grad()
def perturb(handle: Handle, seed: int = 1, scale: float = 0.1) -> None:
    """Stand in for training: move everything that is trained."""
    generator = torch.Generator().manual_seed(seed)
    for _, parameter in handle.trained():
        parameter.add_(scale * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))


def batch(size: int, count: int = 4) -> tuple[Tensor, Tensor]:
    """(images, labels) of noise."""
    generator = torch.Generator().manual_seed(2)
    return torch.randn(count, 3, size, size, generator=generator, dtype=torch.float64), torch.arange(count) % 5


def kept_for_backward(handle: Handle) -> set[tuple[int, ...]]:
    """The shapes of what a training step on noise keeps for the backward pass, which is run."""
    images, labels = batch(image_size(handle.model)[0])
    handle.model.train()
    kept: set[tuple[int, ...]] = set()

    def pack(tensor: Tensor) -> Tensor:
        kept.add(tuple(tensor.shape))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        handle.loss(images, labels).backward()
    return kept
