r"""SCT: the channels that are largest on the training images, averaged over classes, are adapted after attention.

    x = x + attn(n(x));   x[c] = x[c] + s (x[c] W + b);   x = x + mlp(n'(x))      x (..., D), c (k) the salient channels

s is a constant; with ``scale_input`` it multiplies x[c] instead: x[c] = s x[c] + x[c] W + b. W (k, k) is drawn from a
normal distribution of 0.02, truncated, and b (k) starts at zero, so training does not start at the pre-trained
function. c are the k channels of a block with the largest score: for each class the root of the sum of squares of x
(behind attention) over its images and patches, then the mean over the classes that have images.

Parameters: L (k^2 + k). ViT-B/16, k = D / 8 = 96: 111,744 (0.11 M).

Source: Zhao et al., arXiv 2309.08513 (IJCV); showlab/SCT at 384cecb, models/vision_transformer_sct.py and
train_model_sct.py (``sct_attn``, the authors' default, and `getSalientChannels`).

Differs from the code: exactly k channels are taken where scores are equal. s, which its configurations give for each
task, is in lines that are commented out there, beside those without it, which are "for test time"; here it acts in
training and scoring alike.
"""

import functools
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from aoft_bench.backbones.layout import (
    attention_branch,
    block_paths,
    checked_width,
    prefix_tokens,
    replace,
    require,
)
from aoft_bench.config.fields import Positive, added
from aoft_bench.methods.base import Batches, Prepared
from aoft_bench.methods.parts.choices import indices
from aoft_bench.methods.parts.wrappers import WithAdapters
from aoft_bench.methods.registry import Method, Shape, method


class Channels(nn.Module):
    """x (..., D) with its channels c, `chosen` (k), adapted: x[c] + update (x[c] W + b) + more x[c]."""

    chosen: Tensor

    def __init__(self, chosen: Tensor, update: float, more: float) -> None:
        super().__init__()
        self.update, self.more = update, more
        self.linear = nn.Linear(len(chosen), len(chosen))
        nn.init.trunc_normal_(self.linear.weight, std=0.02)
        nn.init.zeros_(self.linear.bias)
        self.register_buffer("chosen", chosen)

    def forward(self, x: Tensor) -> Tensor:
        inner = x.index_select(-1, self.chosen)
        added = self.update * self.linear(inner) + self.more * inner
        return x.index_add(-1, self.chosen, added.to(x.dtype))


@method("sct")
class SCT(Method):
    """Options of SCT. channels: k, null for an eighth of the width; scale: s; scale_input: whether s multiplies the
    channels instead of what is added to them."""

    channels: Annotated[int, Field(ge=1)] | None = None
    scale: Positive = added(1.0)
    scale_input: bool = added(False)

    source: ClassVar[str] = "arXiv 2309.08513; showlab/SCT@384cecb models/vision_transformer_sct.py, train_model_sct.py"
    published: ClassVar[str] = "0.11 M"
    starts_at_backbone: ClassVar[bool] = False

    @torch.no_grad()
    def prepare(self, model: nn.Module, batches: Batches) -> Prepared:
        blocks, first = block_paths(model), prefix_tokens(model, "sct")
        squares: dict[str, dict[int, Tensor]] = {path: {} for path, _ in blocks}
        of_batch: list[Tensor] = []  # the labels of the batch that is looked at

        def look(path: str, block: Any, inputs: tuple[Tensor], attention: dict[str, Any]) -> None:
            (labels,) = of_batch
            after = inputs[0] + attention_branch(block, inputs[0], **attention)
            of_images = after[:, first:].double().square().sum(1)
            for label in sorted(set(labels.tolist())):
                seen, found = of_images[labels == label].sum(0), squares[path]
                found[label] = found[label] + seen if label in found else seen

        hooks = []
        for path, block in blocks:
            require(block, "sct", "sequence")
            seen = functools.partial(look, path)
            hooks.append(block.register_forward_pre_hook(seen, with_kwargs=True))
        try:
            for images, labels in batches:
                of_batch[:] = [labels]
                model(images)
        finally:
            for hook in hooks:
                hook.remove()
        return {
            f"{path}.after_attention.chosen": torch.stack(list(squares[path].values())).sqrt().mean(0)
            .topk(self._channels(block)).indices.sort().values
            for path, block in blocks
        }  # fmt: skip

    def attach_prepared(self, model: nn.Module, prepared: Prepared) -> None:
        for path, block in block_paths(model):
            require(block, "sct", "sequence")
            count = self._channels(block)
            chosen = indices(prepared, f"{path}.after_attention.chosen", (count,), checked_width(block, 1))
            update, more = (1.0, self.scale - 1.0) if self.scale_input else (self.scale, 0.0)
            made = Channels(chosen, update, more).to(next(block.parameters()))
            replace(model, path, WithAdapters(block, nn.Identity(), made))

    def _channels(self, block: nn.Module) -> int:
        width = checked_width(block, self.channels or 1, "method.channels")
        return self.channels or max(1, width // 8)

    def count(self, shape: Shape) -> int:
        channels = self.channels or max(1, shape.width // 8)
        return shape.depth * (channels**2 + channels)
