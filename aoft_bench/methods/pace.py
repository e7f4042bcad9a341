r"""PACE: every update is multiplied by noise in training, and two passes over the same images have to agree.

    y = x W^T + b + n (x (W * (A B))^T + W (p q) + b * e)        in every linear layer of block l,  n = 1 + s_l N(0, 1)
    loss = cross-entropy(f(x)) + strength * mean_i |f(x_i) - f'(x_i)|^2

W (out, in), A (out, r) and e (out) from zero, B (r, in) by Xavier's uniform rule, p (in, r) from zero, q (r, 1) by
Xavier's. f and f' are the logits (C) of two passes with noise of their own; stochastic depth drops the same branches in
both. n (images, 1, out) is one vector an image. s_l falls from ``sigma`` in the second block to sigma / L for the
logits; the first block has no noise. Without noise and penalty (sigma = strength = 0) this is the paper's baseline
LoRAmul+VPTadd. Training starts at the pre-trained function, scoring has no noise.

Parameters: L (r (11 D + 3 H + 4) + 5 D + H). ViT-B/16, r = 10: 2,203,104.

Source: Ni, Zhang, Koniusz, arXiv 2409.17137 (NeurIPS 2024); MaxwellYaoNi/PACE at 9fee345, Vision/pace and
Vision/train.py (``pace_type`` pace).

Differs from the code: the noise of the logits is drawn by the loss, not in the head. Its cheaper forms (lazy, fast) are
left out. Dropout inside the feed-forward parts, off by default here and there, differs between the two passes.
"""

from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import linear

from aoft_bench.backbones.layout import block_paths, check_rank, chosen_blocks, drop_paths, layers, replace
from aoft_bench.methods.base import Trained, at_least_fp32
from aoft_bench.methods.parts.mergeable import Mergeable, plain_linear
from aoft_bench.methods.registry import Method, Shape, method


def noise_of(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Standard normal values, of the type and on the device of `like`."""
    return torch.randn(shape, dtype=like.dtype, device=like.device)


def kept(count: int, rate: float, like: Tensor) -> Tensor:
    """One for each of `count` images whose branch is kept, else zero."""
    return torch.empty(count, dtype=like.dtype, device=like.device).bernoulli_(1 - rate)


class NoisyLinear(Mergeable):
    """A linear layer, its weight multiplied and its bias added to by what is trained. sigma: of the noise."""

    def __init__(self, base: nn.Linear, rank: int, sigma: float) -> None:
        super().__init__()
        outputs, inputs = base.weight.shape
        self.base, self.sigma = base, sigma
        self.down, self.up = nn.Parameter(torch.zeros(outputs, rank)), nn.Parameter(torch.empty(rank, inputs))
        self.prompt, self.mix = nn.Parameter(torch.zeros(inputs, rank)), nn.Parameter(torch.empty(rank, 1))
        self.bias = None if base.bias is None else nn.Parameter(torch.zeros(outputs))
        nn.init.xavier_uniform_(self.up)
        nn.init.xavier_uniform_(self.mix)

    def update(self) -> tuple[Tensor, Tensor]:
        """What is added to the weight, (out, in), and to the bias, (out)."""
        weight = self.base.weight
        bias = (weight @ (self.prompt @ self.mix)).squeeze(1)
        if self.bias is not None:
            bias = bias + self.base.bias * self.bias
        return weight * (self.down @ self.up), bias

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.update()
        if self.training and self.sigma:
            added = linear(x, weight, bias)
            shape = (len(x), *(1 for _ in x.shape[2:]), added.shape[-1])
            return self.base(x) + added * (1 + self.sigma * noise_of(shape, added))  # type: ignore[no-any-return]
        bias = bias if self.base.bias is None else self.base.bias + bias
        return linear(x, self.base.weight + weight, bias)

    @torch.no_grad()
    def merged(self) -> nn.Module:
        weight, bias = self.update()
        bias = bias if self.base.bias is None else self.base.bias + bias
        return plain_linear(self.base.weight + weight, bias, training=self.training)


class TwinDropPath(Mergeable):
    """Stochastic depth that drops the branches of the same images in both halves of a batch."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base: Any = base  # its rate may be changed later, as recipe.drop_path_from=trained does

    def forward(self, x: Tensor) -> Tensor:
        rate = float(self.base.drop_prob)
        if not self.training or not rate:
            return x
        mask = kept((len(x) + 1) // 2, rate, x).repeat(2)[: len(x)]
        return x * (mask / (mask.mean() + 1e-12)).view(-1, *(1 for _ in x.shape[1:]))

    def merged(self) -> nn.Module:
        return self.base  # type: ignore[no-any-return]


@method("pace")
class PACE(Method):
    """Options of PACE. rank: r; sigma: of the noise in the second block; strength: of the penalty."""

    rank: Annotated[int, Field(ge=1)] = 10
    sigma: Annotated[float, Field(ge=0)] = 1.2
    strength: Annotated[float, Field(ge=0)] = 1.0

    source: ClassVar[str] = "arXiv 2409.17137; MaxwellYaoNi/PACE@9fee345 Vision/pace, Vision/train.py"
    mergeable: ClassVar[bool] = True
    forms_weight_gradients: ClassVar[bool] = True

    def attach(self, model: nn.Module) -> None:
        blocks = [f"{path}." for path, _ in block_paths(model)]
        for path, layer in layers(model):
            if not isinstance(layer, nn.Linear):
                continue
            check_rank(self.rank, layer.in_features, layer.out_features, path)
            at = next((index for index, block in enumerate(blocks) if path.startswith(block)), 0)
            made = NoisyLinear(layer, self.rank, self._sigma(at, len(blocks)))
            replace(model, path, made.to(layer.weight).train(layer.training))
        if self.strength:
            for path, dropping, _ in drop_paths(model):
                replace(model, path, TwinDropPath(dropping).train(dropping.training))

    def _sigma(self, at: int, blocks: int) -> float:
        """Of the block `at`, from 0; `blocks` stands for the logits."""
        return self.sigma * (blocks + 1 - at) / blocks if at else 0.0

    def loss(self, handle: Trained, images: Tensor, labels: Tensor) -> Tensor:
        model = handle.model
        if not self.strength and not self.sigma:
            return super().loss(handle, images, labels)
        if not self.strength:
            return handle.objective.cross_entropy(self._logits(model, images), labels)
        one, two = self._logits(model, images.repeat(2, *(1 for _ in images.shape[1:]))).chunk(2)
        penalty = handle.objective.mean((one - two).square().sum(1), labels)
        return handle.objective.cross_entropy(one, labels) + self.strength * penalty

    def _logits(self, model: nn.Module, images: Tensor) -> Tensor:
        logits: Tensor = at_least_fp32(model(images))
        if not model.training or not self.sigma:
            return logits
        count = len(chosen_blocks(model, self.blocks))
        return logits * (1 + self._sigma(count, count) * noise_of(tuple(logits.shape), logits))

    def count(self, shape: Shape) -> int:
        width, hidden = shape.width, shape.hidden
        return shape.depth * (self.rank * (11 * width + 3 * hidden + 4) + 5 * width + hidden)
