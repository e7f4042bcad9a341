"""Linear probe: the backbone stays as it is and only the head is trained.

Parameters: 0 without the head.

Source: the baseline of every table of the field; nothing is inserted.

Differs from the paper: tables differ in what they call linear probing; here it is the same recipe (AdamW, cosine,
zero-initialised head) as for all other methods, on the features that the backbone's own head would see.
"""

from typing import Annotated, Any, ClassVar

from pydantic import PlainValidator
from pydantic_core import PydanticCustomError

from aoft_bench.config.fields import added
from aoft_bench.methods.registry import Method, Shape, method


def _all(value: Any) -> str:
    if value == "all":
        return "all"
    raise PydanticCustomError("no_blocks", "but a linear probe trains nothing in the blocks: leave the option out")


@method("linear")
class Linear(Method):
    """The linear probe has no options: it trains nothing in the blocks that could be chosen."""

    blocks: Annotated[str, PlainValidator(_all)] = added("all")

    source: ClassVar[str] = "baseline; nothing is inserted"
    published: ClassVar[str] = "0, or 0.04 M with the head"
    mergeable: ClassVar[bool] = True

    def count(self, shape: Shape) -> int:
        return 0
