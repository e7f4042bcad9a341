r"""GPS: of the weights of every neuron those with the largest gradient are trained, chosen from the training images.

    W'[o, i] = W[o, i] + v[o, j]  where i = c[o, j],  W' = W elsewhere;   y = x W'^T + b

in every linear layer and the patch embedding; W (out, in), v (out, k) trained from zero, c (out, k) the k inputs of
each output whose weights have the largest |dL / dW|, b (out) trained too. L is the supervised contrastive loss of the
features z (n, D) in front of the head, scaled to length one, summed over the batches of the training split:

    L = - mean_a mean_{p: y_p = y_a, p != a} log( exp(z_a z_p / 0.07) / sum_{n != a} exp(z_a z_n / 0.07) )

Every image is in its batch twice, so that each has a partner. Norms, tokens and position embeddings stay as they are.
Training starts at the pre-trained function. The gradient of v is taken at its places; that of W is never formed.

Parameters: (k + 1) (L (5 D + H) + D), biases included. ViT-B/16, k = 1: 167,424 (0.22 M in V-PETL-Bench's table, with
the mean head of VTAB and k = 2 for one task).

Source: Zhang et al., arXiv 2312.10136 (CVPR 2024); FightingFighting/GPS at 72e0c31, utils/pruning.py,
utils/loss_utils.py, train_gps.py (`calculate_gradient`).

Differs from the code: it takes the gradient in training mode, of two crops of each image with other colours; here, as
the choice has to be the same wherever it is made, in evaluation mode, of the image itself, twice.
"""

from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import conv2d, normalize

from aoft_bench.backbones.layout import block_paths, features, layers, replace
from aoft_bench.methods.base import Batches, Prepared
from aoft_bench.methods.parts.choices import indices
from aoft_bench.methods.parts.mergeable import Mergeable, compute_dtype, plain_linear
from aoft_bench.methods.parts.sparse import sparse_linear
from aoft_bench.methods.registry import Method, Shape, method
from aoft_bench.utils.errors import UserError

TEMPERATURE = 0.07

Layer = nn.Linear | nn.Conv2d


def contrast(features: Tensor, labels: Tensor) -> Tensor:
    """The supervised contrastive loss of features (n, D), each of which is taken twice; labels (n,)."""
    z, y = normalize(features.repeat(2, 1)), labels.repeat(2)
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    logits = (z @ z.T / TEMPERATURE).masked_fill(itself, -torch.inf)
    share = logits.log_softmax(dim=1)
    partners = (y[:, None] == y) & ~itself
    return -(share.masked_fill(~partners, 0).sum(1) / partners.sum(1)).mean()


class Sparse(Mergeable):
    """A layer with trained values at chosen places of its weight. chosen (out, k): the inputs of each output."""

    chosen: Tensor

    def __init__(self, base: Layer, chosen: Tensor) -> None:
        super().__init__()
        self.base = base
        self.values = nn.Parameter(torch.zeros_like(chosen, dtype=base.weight.dtype, device=base.weight.device))
        self.register_buffer("chosen", chosen.to(base.weight.device))

    def weight(self) -> Tensor:
        """The whole weight, in the shape that the layer has it."""
        flat = self.base.weight.flatten(1)
        return flat.scatter(1, self.chosen, flat.gather(1, self.chosen) + self.values).view_as(self.base.weight)


class SparseLinear(Sparse):
    """Input (..., in), output (..., out)."""

    def forward(self, x: Tensor) -> Tensor:
        dtype = compute_dtype(x)
        with torch.no_grad():
            weight = self.weight().to(dtype)
        bias = None if self.base.bias is None else self.base.bias.to(dtype)
        return sparse_linear(x.to(dtype), weight, bias, self.values.T.flatten(), [(None, i) for i in self.chosen.T])

    @torch.no_grad()
    def merged(self) -> nn.Module:
        bias = self.base.bias
        return plain_linear(self.weight(), None if bias is None else bias.detach().clone(), training=self.training)


class SparseConv(Sparse):
    """A convolution, such as the one that embeds patches."""

    base: nn.Conv2d

    def forward(self, x: Tensor) -> Tensor:
        base = self.base
        return conv2d(x, self.weight(), base.bias, base.stride, base.padding, base.dilation, base.groups)

    @torch.no_grad()
    def merged(self) -> nn.Module:
        base, bias = self.base, self.base.bias
        sizes: dict[str, Any] = {name: getattr(base, name) for name in ("stride", "padding", "dilation", "groups")}
        sizes |= {"kernel_size": base.kernel_size, "bias": bias is not None, "device": "meta"}
        layer = nn.Conv2d(base.in_channels, base.out_channels, **sizes)
        layer.weight = nn.Parameter(self.weight(), requires_grad=False)
        if bias is not None:
            layer.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)
        return layer.train(self.training)


def layers_of(model: nn.Module) -> list[tuple[str, Layer]]:
    """(path, layer) of every linear layer and convolution, except in the head."""
    return [(path, layer) for path, layer in layers(model) if isinstance(layer, nn.Linear | nn.Conv2d)]


@method("gps")
class GPS(Method):
    """Options of GPS. per_neuron: k, how many weights of every neuron are trained."""

    per_neuron: Annotated[int, Field(ge=1)] = 1

    source: ClassVar[str] = "arXiv 2312.10136; FightingFighting/GPS@72e0c31 utils/pruning.py, utils/loss_utils.py"
    published: ClassVar[str] = "0.22 M, with the mean head of VTAB"
    mergeable: ClassVar[bool] = True

    def tunes(self, model: nn.Module) -> list[str]:
        block_paths(model)
        return [f"{path}.bias" for path, layer in layers_of(model) if layer.bias is not None]

    def prepare(self, model: nn.Module, batches: Batches) -> Prepared:
        block_paths(model)
        for images, labels in batches:
            torch.autograd.backward(contrast(features(model, images), labels))
        found = {}
        for path, layer in layers_of(model):
            gradient = layer.weight.grad
            if gradient is None or not gradient.isfinite().all():
                why = "the backbone's weights are broken: give others by backbone.checkpoint"
                raise UserError(f"gps cannot choose: the gradient of {path} is not finite; {why}")
            self._check(path, layer)
            found[f"{path}.chosen"] = gradient.flatten(1).abs().topk(self.per_neuron, dim=1).indices.sort(dim=1).values
        return found

    def attach_prepared(self, model: nn.Module, prepared: Prepared) -> None:
        for path, layer in layers_of(model):
            inputs = self._check(path, layer)
            chosen = indices(prepared, f"{path}.chosen", (len(layer.weight), self.per_neuron), inputs)
            kind = SparseLinear if isinstance(layer, nn.Linear) else SparseConv
            replace(model, path, kind(layer, chosen))

    def _check(self, path: str, layer: Layer) -> int:
        """Number of inputs of each output; `UserError` if there are fewer than are to be chosen."""
        inputs = layer.weight[0].numel()
        if self.per_neuron > inputs:
            raise UserError(
                f"method.per_neuron is too large: got {self.per_neuron}, but a neuron of {path} has {inputs} inputs; "
                f"give 1 to {inputs}"
            )
        return inputs

    def count(self, shape: Shape) -> int:
        return (self.per_neuron + 1) * (
            shape.depth * (5 * shape.width + shape.hidden) + shape.from_pixels * shape.width
        )
