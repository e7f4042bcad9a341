r"""RLRR: every weight of a block is rescaled by a rank-one matrix, on top of itself, and SSF on the other layers.

    W' = W + diag(left) W diag(right),   b' = b + shift      W (out, in), left (out), right (in), shift (out)

The matrices are q, k, v, proj, fc1 and fc2 of every block, each with vectors of its own. The patch embedding, norm1
and norm2 of every block and the final norm get a scale and a shift as in ssf.py. All of it folds into the layers.

For tokens x (T x in) and gradients g (T x out), with the gradient G = g^T x of W', one layer at a time:

    d left = (G * W) right,   d right = (G * W)^T left,   dx = g W'

The forward pass is one product and the backward pass two, as in full fine-tuning. Without G they are one and three,
for (g * left) W and (x * right) W^T, and passes over the activations besides (docs/performance.md).

``init: released`` is the authors': left ~ U(-sqrt 6, sqrt 6), right ~ U(-sqrt(6/in), sqrt(6/in)) (their Kaiming
uniform of a column and of a row), shift zero, scales and shifts of the other layers as in ssf.py. The published numbers
and the per-task settings belong to it, so it is the default. ``init: identity`` sets left to zero and starts the other
layers at 1 and 0: training starts at the pre-trained function.

Parameters: 2 * (2 D + 2 L D) + L * (12 D + 3 D + 3 H), where H is the width of fc1. ViT-B/16: 288,768. Tables print
0.33 M on VTAB and 0.47 M on FGVC, which add the head averaged over the tasks.

Source: Dong et al., CVPR 2024, arXiv 2403.19067; zstarN70/RLRR at 287c772, models/networks.py.

Differs from the paper: q, k and v are rows of timm's fused layer. As in the authors' optimiser, shifts and whatever
belongs to a norm are not decayed; left, right and the patch embedding's are. On Swin (models/swin.py) the authors give
q, k and v one ``right`` and leave the patch embedding and the norm before a merging of patches as they are; here the
rule above holds for every layer, and the merging itself is a matrix like the others (as it is theirs).
"""

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from aoft_bench.backbones.layout import block_paths, is_patch_embedding, layers, matrices_in, replace
from aoft_bench.methods.parts.mergeable import Mergeable, compute_dtype, plain_linear
from aoft_bench.methods.registry import Method, Shape, method
from aoft_bench.methods.ssf import Init, rescale


class ResidualRescaled(Mergeable):
    """A frozen linear layer that computes x W'^T + b'.

    The layer holds P matrices on top of each other (q, k and v: 3). left (out), right (P, in), shift (out).
    """

    def __init__(self, base: nn.Linear, matrices: int, init: Init) -> None:
        super().__init__()
        self.base = base
        inputs, outputs = base.in_features, base.out_features
        bound = math.sqrt(6) if init == "released" else 0.0
        self.left = nn.Parameter(torch.empty(outputs).uniform_(-bound, bound))
        self.right = nn.Parameter(torch.empty(matrices, inputs).uniform_(-1, 1) * math.sqrt(6 / inputs))
        self.shift = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        dtype = compute_dtype(x)
        weight, factors, bias = self.base.weight, (self.left, self.right), self._bias().to(dtype)
        if self.base.bias is None:  # apart, so that timm may add biases of q and v in place, which it keeps itself
            return _RescaledLinear.apply(x.to(dtype), weight, None, *factors) + bias  # type: ignore[no-any-return]
        return _RescaledLinear.apply(x.to(dtype), weight, bias, *factors)  # type: ignore[no-any-return]

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        weight = _rescaled(self.base.weight, self.left, self.right)
        return plain_linear(weight, self._bias().clone(), training=self.training)

    def _bias(self) -> Tensor:
        return self.shift if self.base.bias is None else self.base.bias + self.shift


def _rescaled(weight: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """W' of the P matrices in `weight` (out, in), each with out / P rows."""
    factors = 1 + left.view(len(right), -1, 1) * right[:, None]
    return weight * factors.view_as(weight)


class _RescaledLinear(torch.autograd.Function):
    """y = x W'^T + b'; gradients flow to x, to b', to left and to right."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, left: Tensor, right: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight, left, right)
        return torch.nn.functional.linear(x, _rescaled(weight, left, right).to(x.dtype), bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        x, weight, left, right = ctx.saved_tensors
        grad, tokens = grads[0].reshape(-1, weight.shape[0]), x.reshape(-1, weight.shape[1])
        of_x = (grad @ _rescaled(weight, left, right).to(x.dtype)).view_as(x) if ctx.needs_input_grad[0] else None
        of_factors = (grad.T @ tokens * weight).view(len(right), -1, weight.shape[1])  # of left right^T: G * W
        of_left = of_factors @ right[..., None]
        of_right = left.view(len(right), 1, -1) @ of_factors
        of_bias = grad.sum(0) if ctx.needs_input_grad[2] else None
        return of_x, None, of_bias, of_left.flatten(), of_right.squeeze(1)


@method("rlrr")
class RLRR(Method):
    """Options of RLRR. init: as in the module's text."""

    init: Init = "released"

    source: ClassVar[str] = "arXiv 2403.19067, CVPR 2024; zstarN70/RLRR@287c772 models/networks.py"
    published: ClassVar[str] = "0.33 M with the head"
    mergeable: ClassVar[bool] = True
    forms_weight_gradients: ClassVar[bool] = True

    @property
    def starts_at_backbone(self) -> bool:
        return self.init == "identity"

    def scales(self, name: str) -> tuple[float, float]:
        decayed = name.endswith((".left", ".right")) or is_patch_embedding(name)
        return 1.0, float(decayed)

    def attach(self, model: nn.Module) -> None:
        block_paths(model)  # refuses networks without transformer blocks
        for path, layer in layers(model):
            if isinstance(layer, nn.Linear):
                replace(model, path, ResidualRescaled(layer, matrices_in(path), self.init).to(layer.weight))
            else:
                rescale(model, path, layer, self.init)

    def count(self, shape: Shape) -> int:
        other_layers = 2 * (1 + shape.from_pixels + 2 * shape.depth) * shape.width
        # in + 2 out of each matrix: q, k, v and proj, then fc1 and fc2
        return other_layers + shape.depth * (12 * shape.width + 3 * (shape.width + shape.hidden))
