r"""SPT: where gradients of training images are large, single weights, vectors or low-rank modules are trained.

    every matrix W (out, in) of the blocks, with the n_W sensitive weights in it:
        n_W < cost / alpha:    y = x W'^T + b',  W' = W + v at the sensitive places
        otherwise              y = x W^T + b' + m(x)            form lora
                               y = h + m(h),  h = x W^T + b'    form adapter, but m(x) beside proj
    m(x) = x A B,                    cost = r (in + out)             form lora
    m(h) = gelu(h A + a) B + c,      cost = r (2 out + 1) + out      form adapter

The sensitivity of a parameter is the square of its gradient, summed over the first 16 batches of 32 training images;
the loss is cross-entropy with a head drawn from a normal distribution of 0.02, truncated. The most sensitive k
parameters of all matrices, biases and norms are marked. A bias or a norm's weight with a fifth (1 / beta) of its values
marked is trained whole, a bias with fewer in the marked places, the class token always. k is the number, in steps of
20,000 up to 1.58 M, with which the size comes nearest to the ``budget``. A, B (r wide) start as in LoRA. In training
single values of what m reads are dropped (``dropout``, not for proj), and its output for whole images (``drop_path``).
Vectors and single weights are not decayed. Training starts at the pre-trained function.

Parameters: near the budget, by the images; without them a choice that fills it from the first block on stands in.

Source: He et al., arXiv 2303.08566 (ICCV 2023); ziplab/SPT at e385f67, engine.py (`get_sensitivity`), train_spt.py,
model/vision_transformer_timm.py.

Differs from the code: gradients are taken in evaluation mode, so that the choice is the same wherever it is made. The
second factor of a module starts at zero, as the paper's LoRA and the module itself have it; in the code the network's
own initialisation overwrites it with a normal distribution of 0.02. As in the code, marked values of norms that are not
trained whole count for the budget and stay frozen. Its adapter script reads the choices made for lora; here each form
makes its own.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear

from aoft_bench.backbones.layout import (
    CLASS_TOKEN,
    acted_on,
    block_paths,
    check_rank,
    classes_of,
    features,
    layers,
    matrices_in,
    matrix_of,
    replace,
    require_plain_attention,
)
from aoft_bench.config.fields import Count, Positive, Unit
from aoft_bench.methods.base import Batches, Prepared
from aoft_bench.methods.parts.choices import flags, places
from aoft_bench.methods.parts.tuned_layers import BottleneckOptions, Form, TunedLinear, TunedNorm
from aoft_bench.methods.registry import Method, Shape, method
from aoft_bench.utils.errors import UserError

STEP, STEPS = 20_000, 79  # of the number of marked parameters
IMAGES, BATCHES = 32, 16  # that gradients are taken of


@dataclass(frozen=True)
class Part:
    """Parameters that are trained whole or one by one: a matrix, a bias, the weight or bias of a norm.

    name: of the buffer that holds what is chosen, of which this is the part `index`, from 0. size: number of
    parameters. cost: how many are trained where it is trained whole, from `enough` sensitive ones on.
    """

    name: str
    index: int
    size: int
    cost: int
    enough: float

    @property
    def is_matrix(self) -> bool:
        return self.name.endswith(".places")


def allocate(sensitivity: Tensor, parts: list[Part], fixed: int, budget: int, step: int) -> list[Tensor | None]:
    """What is trained of each part: its marked places, rising, or None where it is trained whole.

    sensitivity: of all parts, flat, one behind the other; fixed: parameters that are trained in any case; step: of the
    number of marked parameters.
    """
    order = sensitivity.topk(min(len(sensitivity), STEPS * step)).indices
    ends = torch.tensor([part.size for part in parts]).cumsum(0)
    owner = torch.searchsorted(ends, order.cpu(), right=True)
    cost = torch.tensor([part.cost for part in parts])
    enough = torch.tensor([part.enough for part in parts], dtype=torch.float64)
    best: tuple[int, int, Tensor] | None = None
    for count in range(step, len(order) + step, step):
        marked = torch.bincount(owner[:count], minlength=len(parts))
        whole = marked >= enough
        off = abs(fixed + int(torch.where(whole, cost, marked).sum()) - budget)
        if best is None or off <= best[0]:
            best = off, count, whole
    assert best is not None
    chosen, of = order[: best[1]].cpu(), owner[: best[1]]
    starts = [int(end) - part.size for end, part in zip(ends, parts, strict=True)]
    return [
        None if whole else (chosen[of == index] - starts[index]).sort().values
        for index, whole in enumerate(best[2].tolist())
    ]


@method("spt")
class SPT(Method):
    """Options of SPT. form: of the modules; budget: parameters that are trained, without the head; rank: r of a
    module; alpha, beta: how easily a matrix gets a module and a vector is trained whole; dropout, drop_path: rates in
    a module."""

    form: Form = "lora"
    budget: Count = 400_000
    rank: Annotated[int, Field(ge=1)] = 8
    alpha: Positive = 10.0
    beta: Positive = 5.0
    dropout: Unit = 0.1
    drop_path: Unit = 0.1

    source: ClassVar[str] = "arXiv 2303.08566; ziplab/SPT@e385f67 engine.py, model/vision_transformer_timm.py"
    published: ClassVar[str] = "0.2 to 1.0 M, the budgets that its code sweeps (ours: 0.4 M); chosen by the images"

    @property
    def mergeable(self) -> bool:
        return self.form == "lora"

    @property
    def why_not_mergeable(self) -> str:
        return "its adapters are not linear; train method=spt, whose form=lora can be"

    def tunes(self, model: nn.Module) -> list[str]:
        acts = acted_on(model)
        return [name for name, _ in model.named_parameters() if name == CLASS_TOKEN and acts(name)]

    def scales(self, name: str) -> tuple[float, float]:
        return 1.0, float(name.endswith(("down.weight", "up.weight")))

    def prepare(self, model: nn.Module, batches: Batches) -> Prepared:
        found = list(self._parts(model))
        head = torch.empty(classes_of(model), found[-1][1].shape[-1])
        nn.init.trunc_normal_(head, std=0.02, generator=torch.Generator().manual_seed(0))
        squares = [torch.zeros_like(tensor).flatten() for _, tensor in found]
        model.requires_grad_(False)
        for _, layer in self._layers(model):
            layer.requires_grad_(True)
        for images, labels in islice(_small(batches), BATCHES):
            logits = linear(features(model, images), head.to(images))
            torch.autograd.backward(cross_entropy(logits, labels))
            for square, (_, tensor) in zip(squares, self._parts(model, gradients=True), strict=True):
                square += tensor.flatten().square()
            model.zero_grad()
        if not all(square.isfinite().all() for square in squares):
            why = "the backbone's weights are broken: give others by backbone.checkpoint"
            raise UserError(f"spt cannot choose: gradients of training images are not finite; {why}")
        parts = [part for part, _ in found]
        fixed = sum(model.get_parameter(name).numel() for name in self.tunes(model))
        step = min(STEP, max(1, self.budget // 10))  # smaller for networks that are
        return self._named(parts, allocate(torch.cat(squares), parts, fixed, self.budget, step))

    def attach_prepared(self, model: nn.Module, prepared: Prepared) -> None:
        prepared = prepared or self._stand_in(model)
        bottlenecks = BottleneckOptions(self.form, self.rank, self.drop_path)
        projections = [matrix_of(block, "proj").layer for _, block in block_paths(model)]
        for path, layer in self._layers(model):
            first: Tensor = next(layer.parameters())
            made: nn.Module
            if isinstance(layer, nn.LayerNorm):
                made = TunedNorm(layer, flags(prepared, f"{path}.tuned", 2))
            else:
                choice = {
                    "places": places(prepared, f"{path}.places", layer.weight.numel()),
                    "bias_places": places(prepared, f"{path}.bias_places", layer.out_features),
                    "tuned": flags(prepared, f"{path}.tuned", matrices_in(path)),
                }
                of_proj = any(layer is other for other in projections)
                dropout = 0.0 if of_proj else self.dropout
                made = TunedLinear(layer, choice, bottlenecks, of_proj or self.form == "lora", dropout)
            replace(model, path, made.to(first).train(layer.training))

    def count(self, shape: Shape) -> int | None:
        return None  # by the images

    def _layers(self, model: nn.Module) -> Iterator[tuple[str, Any]]:
        """(path, layer) of the norms, and of the linear layers of the blocks."""
        blocks = block_paths(model)
        for _, block in blocks:
            require_plain_attention(block, "spt")
        inside = tuple(f"{path}." for path, _ in blocks)
        for path, layer in layers(model):
            if isinstance(layer, nn.LayerNorm) or (isinstance(layer, nn.Linear) and path.startswith(inside)):
                yield path, layer

    def _parts(self, model: nn.Module, gradients: bool = False) -> Iterator[tuple[Part, Tensor]]:
        """Every `Part` and its values, or their gradients."""
        for path, layer in self._layers(model):
            is_norm = isinstance(layer, nn.LayerNorm)
            count = 1 if is_norm else matrices_in(path)
            for kind in ("weight", "bias"):
                tensor = getattr(layer, kind)
                if tensor is None:
                    continue
                name = f"{path}.tuned" if is_norm else f"{path}.{'places' if kind == 'weight' else 'bias_places'}"
                for index, values in enumerate((tensor.grad if gradients else tensor.detach()).chunk(count)):
                    cost, enough = values.numel(), values.numel() / self.beta
                    if values.ndim == 2:
                        outputs, inputs = values.shape
                        check_rank(self.rank, inputs, outputs, path)
                        lora = self.rank * (inputs + outputs)
                        cost = lora if self.form == "lora" else self.rank * (2 * outputs + 1) + outputs
                        enough = cost / self.alpha
                    index = int(kind == "bias") if is_norm else index
                    yield Part(name, index, values.numel(), cost, enough), values

    def _named(self, parts: list[Part], chosen: list[Tensor | None]) -> Prepared:
        """What was chosen, by the names of buffers."""
        prepared: Prepared = {}
        for part, marked in zip(parts, chosen, strict=True):
            path, _, kind = part.name.rpartition(".")
            if kind != "bias_places":  # a matrix or a part of a norm
                before = prepared.get(f"{path}.tuned", torch.zeros(0, dtype=torch.bool))
                prepared[f"{path}.tuned"] = torch.cat([before, torch.tensor([marked is None])])
            if kind != "tuned":
                every = torch.arange(0 if part.is_matrix else part.size)  # a module acts on the matrix
                found = part.index * part.size + (every if marked is None else marked)
                prepared[part.name] = torch.cat([prepared.get(part.name, torch.arange(0)), found])
                prepared.setdefault(f"{path}.bias_places", torch.arange(0))  # of a layer without a bias
        return prepared

    def _stand_in(self, model: nn.Module) -> Prepared:
        """A choice of the size of the budget: all vectors, then a module for each matrix, from the first block on."""
        parts = [part for part, _ in self._parts(model)]
        left = self.budget - sum(part.cost for part in parts if not part.is_matrix)
        chosen: list[Tensor | None] = []
        for part in parts:
            whole = not part.is_matrix or part.cost <= left
            left -= part.cost if whole and part.is_matrix else 0
            chosen.append(None if whole else torch.arange(0))
        return self._named(parts, chosen)


def _small(batches: Batches) -> Iterator[tuple[Tensor, Tensor]]:
    """The same images in batches of at most 32."""
    for images, labels in batches:
        yield from zip(torch.split(images, IMAGES), torch.split(labels, IMAGES), strict=True)
