r"""SSF: a learned scale and shift of every channel after each operation of the network.

    scale * y + shift               y (..., C) the output of a layer, scale (C), shift (C); C first for a convolution

The layers are the patch embedding (and its norm, if it has one), norm1, qkv, proj, norm2, fc1 and fc2 of every block,
and the final norm. On Swin also the norm before each merging of patches, but not the linear layer after it, as in the
authors' code. Every scale and shift folds into the weight and the bias of its layer.

``init: released`` draws scale from N(1, 0.02^2) and shift from N(0, 0.02^2), as the authors do; the published numbers
and the per-task settings belong to it, so it is the default. ``init: identity`` takes 1 and 0: training starts at the
pre-trained function.

Parameters: 2 * (2 D + L * (7 D + H)), where H is the width of fc1. ViT-B/16: 205,824 (0.206 M in OSU's table). Tables
with 0.24 M on VTAB and 0.39 M on FGVC add the head, averaged over the tasks.

Source: Lian et al., NeurIPS 2022, arXiv 2210.08823, section 3.2; dongzelian/SSF at e94e0e7,
models/vision_transformer.py and models/swin_transformer.py.

Differs from the paper: nothing in the function. Scale and shift are not decayed, as in the authors' optimiser
(optim_factory.py), which decays only tensors of two dimensions: there, only the weight of the head.
"""

import copy
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from aoft_bench.backbones.layout import block_paths, channels_first, is_patch_merging, layers, replace
from aoft_bench.methods.parts.mergeable import Mergeable
from aoft_bench.methods.registry import Method, Shape, method

Init = Literal["released", "identity"]


class Rescaled(Mergeable):
    """scale * base(x) + shift, for a base that is a linear layer, a layer norm or a convolution with C channels."""

    def __init__(self, base: nn.Module, init: Init) -> None:
        super().__init__()
        self.base = base
        channels = base.normalized_shape[-1] if isinstance(base, nn.LayerNorm) else _weight(base).shape[0]
        spread = 0.02 if init == "released" else 0.0
        self.scale = nn.Parameter(1 + spread * torch.randn(channels))
        self.shift = nn.Parameter(spread * torch.randn(channels))

    def forward(self, x: Tensor) -> Tensor:
        y = self.base(x)
        shape = (-1, 1, 1) if channels_first(self.base) else (-1,)
        # scale and shift keep full precision under autocast: next to 1, bf16 has steps of 0.8 %
        return torch.addcmul(self.shift.view(shape), y, self.scale.view(shape)).to(y.dtype)

    @torch.no_grad()
    def merged(self) -> nn.Module:
        layer = copy.deepcopy(self.base)  # keeps the class and every setting of the layer
        weight = _weight(layer)
        bias = layer.bias * self.scale + self.shift if isinstance(layer.bias, Tensor) else self.shift.clone()
        scale = self.scale.view(-1, *[1] * (weight.ndim - 1))
        layer.weight = nn.Parameter(weight * scale, requires_grad=False)
        layer.bias = nn.Parameter(bias, requires_grad=False)
        return layer.train(self.training)


def rescale(model: nn.Module, path: str, layer: nn.Module, init: Init) -> None:
    """Put a `Rescaled` around the layer at `path`."""
    replace(model, path, Rescaled(layer, init).to(_weight(layer)))


@method("ssf")
class SSF(Method):
    """Options of SSF. init: as in the module's text."""

    init: Init = "released"

    source: ClassVar[str] = "arXiv 2210.08823 section 3.2; dongzelian/SSF@e94e0e7 models/vision_transformer.py"
    published: ClassVar[str] = "0.206 M; 0.24 M with the head"
    mergeable: ClassVar[bool] = True

    @property
    def starts_at_backbone(self) -> bool:
        return self.init == "identity"

    def scales(self, name: str) -> tuple[float, float]:
        return 1.0, 0.0

    def attach(self, model: nn.Module) -> None:
        block_paths(model)  # refuses networks without transformer blocks
        for path, layer in layers(model):
            if not is_patch_merging(path):
                rescale(model, path, layer, self.init)

    def count(self, shape: Shape) -> int:
        return 2 * ((1 + shape.from_pixels) * shape.width + shape.depth * (7 * shape.width + shape.hidden))


def _weight(layer: nn.Module) -> Tensor:
    assert isinstance(layer.weight, Tensor)
    return layer.weight
