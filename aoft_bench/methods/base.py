"""The base class of all methods, and what a method must and may define."""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from pydantic.dataclasses import dataclass as checked_dataclass
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from aoft_bench.backbones.layout import Shape as Shape
from aoft_bench.backbones.layout import last_blocks
from aoft_bench.config.fields import Blocks, added

Batches = Iterable[tuple[Tensor, Tensor]]  # (normalized images (B, C, S, S), labels (B,) int64), the same in every pass
Prepared = dict[str, Tensor]  # what `Method.prepare` chose, by the names that it has as buffers of the adapted model


@dataclass(frozen=True)
class Factors:
    """The two projections of one module that a method inserted, which `aoft-bench analyze` looks at.

    down (in, d), up (d, out): W_down and W_up as trained, without any scale between or around them.
    update: (A, B) with shapes (in, k) and (out, k), every scale included; the linear part of what the module adds to
    the network is x A B^T.
    """

    down: Tensor
    up: Tensor
    update: tuple[Tensor, Tensor]


def at_least_fp32(logits: Tensor) -> Tensor:
    """`logits` in the precision that losses are computed in."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


class Objective:
    """How the images of a batch make one loss: by their mean. Training puts its own into `Handle.objective`, with the
    recipe's label smoothing, and for the shard of a batch."""

    def __init__(self, label_smoothing: float = 0.0) -> None:
        self.label_smoothing = label_smoothing

    def cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy; logits (B, classes), labels (B,)."""
        return cross_entropy(at_least_fp32(logits), labels, label_smoothing=self.label_smoothing)

    def mean(self, values: Tensor, labels: Tensor) -> Tensor:
        """Mean of one value an image, (B,), such as a penalty; labels (B,) say which images are padding."""
        return values.mean()


class Trained(Protocol):
    """What a loss is computed of: a `Handle`."""

    model: nn.Module
    objective: Objective


@checked_dataclass(frozen=True, kw_only=True)
class Method:
    """Base class of methods. `@method` makes a subclass a pydantic dataclass; its fields are the options of its YAML.

    blocks: an option of all methods, the blocks of the backbone that it acts on: all, last:N, or their numbers from 0.
    With last:N and numbers nothing before the first of them is changed, also what is in no block (patch embedding,
    tokens); what stands behind is the method's as before (final norm, head). `attach` does this: within a method's own
    functions `backbones.layout` shows those blocks only.

    A subclass must define `source` and `count`, and `attach` if it inserts modules. The rest has defaults.

    source: paper (equation) and pinned code that the file was written from.
    published: the parameter counts that papers print, and what they count; a column of docs/methods.md.
    """

    source: ClassVar[str]
    published: ClassVar[str] = "not printed"

    blocks: Blocks = added("all")

    def attach(self, model: nn.Module) -> None:
        """Insert modules into a frozen timm model, in place.

        Everything inserted is trained, together with the head. What must stay fixed (a random projection, a starting
        point) is a buffer.
        """

    def prepare(self, model: nn.Module, batches: Batches) -> Prepared:
        """Choose something from training images, before anything is attached; by default nothing.

        model: the pre-trained network with its new head, in evaluation mode, nothing of it frozen. It must be left as
        it was; gradients are cleared by the caller. batches: all images of the protocol's training split, in order and
        not augmented, on the model's device. The result must be the same each time: masks, indices, whatever
        `attach_prepared` makes buffers of.
        """
        return {}

    def attach_prepared(self, model: nn.Module, prepared: Prepared) -> None:
        """`attach` for a method that prepares: register what `prepare` chose as buffers of these names.

        prepared: its result, or all that was saved of a trained model, or nothing, {}, where only the sizes matter (to
        count parameters): then any choice will do. `parts/choices.py` reads from it.
        """
        self.attach(model)

    @property
    def prepares(self) -> bool:
        """Whether the method chooses something from training images."""
        return type(self).prepare is not Method.prepare

    def loss(self, handle: Trained, images: Tensor, labels: Tensor) -> Tensor:
        """The loss of a training batch: by default the mean cross-entropy of the logits.

        images: normalized, (B, C, S, S); labels (B,). The model may be called several times. Whatever is averaged over
        images goes through `handle.objective`, so that several processes train the same.
        """
        return handle.objective.cross_entropy(handle.model(images), labels)

    def count(self, shape: Shape) -> int | None:
        """Number of trained parameters without the head, as a formula of the backbone's `Shape`; None where `Shape`
        does not determine it."""
        raise NotImplementedError(f"{type(self).__name__} must define count()")

    def chosen_shape(self, shape: Shape) -> Shape:
        """The sizes of what the method acts on in a network of `shape`, for `count` and `head_inputs`: as many blocks
        as `blocks` names."""
        if self.blocks == "all":
            return shape
        depth = len(self.blocks) if isinstance(self.blocks, list) else last_blocks(self.blocks)
        return dataclasses.replace(shape, depth=depth, from_pixels=False)

    def head_inputs(self, shape: Shape) -> int:
        """How many numbers of an image the head reads, by default the token width. A method that has more gives the
        head as many inputs in `attach` (`layout.widen_head`)."""
        return shape.width

    def tunes(self, model: nn.Module) -> list[str]:
        """Shell patterns (``blocks.*.bias``) of the backbone's own parameters that are trained."""
        return []

    def scales(self, name: str) -> tuple[float, float]:
        """(learning rate, weight decay) of the trained parameter `name`, as multiples of the recipe's."""
        return 1.0, 1.0

    def factors(self, module: nn.Module) -> Factors | None:
        """`Factors` of a module that the method inserted, None for any other."""
        return None

    @property
    def mergeable(self) -> bool:
        """Whether the trained model can be folded back into the backbone's own layers. Then everything inserted is
        inside a `Mergeable` module, see parts/mergeable.py."""
        return False

    @property
    def why_not_mergeable(self) -> str:
        """Why a method that is not `mergeable` cannot be merged, and what to do instead: the end of an error."""
        return "what it inserts is not linear, or not in a layer; docs/methods.md says which methods can be"

    @property
    def starts_at_backbone(self) -> bool:
        """Whether the adapted model computes the pre-trained function before the first step."""
        return True

    @property
    def forms_weight_gradients(self) -> bool:
        """Whether the backward pass forms gradients of the size of a frozen weight."""
        return False
