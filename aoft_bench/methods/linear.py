"""Linear probe: the backbone stays as it is and only the head is trained.

Parameters: 0 without the head.

Source: the baseline of every table of the field; nothing is inserted.

Differs from the paper: tables differ in what they call linear probing; here it is the same recipe (AdamW, cosine,
zero-initialised head) as for all other methods, on the features that the backbone's own head would see.
"""

from typing import ClassVar

from pydantic.dataclasses import dataclass
from torch import nn

from aoft_bench.methods.registry import Shape, method


@method("linear")
@dataclass(frozen=True)
class Linear:
    """The linear probe has no options."""

    source: ClassVar[str] = "baseline; nothing is inserted"
    mergeable: ClassVar[bool] = True
    starts_at_backbone: ClassVar[bool] = True

    def attach(self, model: nn.Module) -> None:
        """Nothing to insert: `aoft_bench.attach` freezes the backbone and keeps the head."""

    def count(self, shape: Shape) -> int:
        return 0
