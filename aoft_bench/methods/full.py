"""Full fine-tuning: every weight of the backbone is trained.

Parameters: all of the backbone's, without the head. ViT-B/16: 85,798,656.

Source: the baseline of every table of the field; nothing is inserted.
"""

from typing import ClassVar

from torch import nn

from aoft_bench.methods.registry import Method, Shape, method


@method("full")
class Full(Method):
    """Full fine-tuning has no options."""

    source: ClassVar[str] = "baseline; nothing is inserted"
    published: ClassVar[str] = "85.8 M"
    mergeable: ClassVar[bool] = True

    def tunes(self, model: nn.Module) -> list[str]:
        return ["*"]

    def count(self, shape: Shape) -> int | None:
        return shape.parameters if shape.from_pixels else shape.of_blocks
