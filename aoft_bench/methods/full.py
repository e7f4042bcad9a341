"""Full fine-tuning: every weight of the backbone is trained.

Parameters: all of the backbone's, without the head. ViT-B/16: 85,798,656.

Source: the baseline of every table of the field; nothing is inserted.
"""

from typing import ClassVar

from pydantic.dataclasses import dataclass
from torch import nn

from aoft_bench.methods.registry import Shape, method


@method("full")
@dataclass(frozen=True)
class Full:
    """Full fine-tuning has no options."""

    source: ClassVar[str] = "baseline; nothing is inserted"
    mergeable: ClassVar[bool] = True
    starts_at_backbone: ClassVar[bool] = True

    def tunes(self, model: nn.Module) -> list[str]:
        return ["*"]

    def attach(self, model: nn.Module) -> None:
        """Nothing to insert."""

    def count(self, shape: Shape) -> None:
        """The backbone's own size: it depends on patch and image size too, so there is no formula in `Shape`."""
        return None
