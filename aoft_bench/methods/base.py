"""The base class of all methods, and what a method must and may define."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from aoft_bench.backbones.layout import Shape as Shape


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


class Method:
    """Base class of methods. `@method` makes a subclass a pydantic dataclass; its fields are the options of its YAML.

    A subclass must define `source` and `count`, and `attach` if it inserts modules. The rest has defaults.

    title: the name that papers print (LoRA+AOFT†); by default the class's name.
    source: paper (equation) and pinned code that the file was written from.
    published: the parameter counts that papers print, and what they count; a column of docs/methods.md.
    mergeable: whether the trained model can be folded back into the backbone's own layers. Then everything inserted is
        inside a `Mergeable` module, see parts/mergeable.py.
    """

    title: ClassVar[str]
    source: ClassVar[str]
    published: ClassVar[str] = "not printed"
    mergeable: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        if "title" not in vars(cls):
            cls.title = cls.__name__

    def attach(self, model: nn.Module) -> None:
        """Insert modules into a frozen timm model, in place.

        Everything inserted is trained, together with the head. What must stay fixed (a random projection, a starting
        point) is a buffer.
        """

    def count(self, shape: Shape) -> int | None:
        """Number of trained parameters without the head, as a formula of the backbone's `Shape`; None where `Shape`
        does not determine it."""
        raise NotImplementedError(f"{type(self).__name__} must define count()")

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
    def starts_at_backbone(self) -> bool:
        """Whether the adapted model computes the pre-trained function before the first step."""
        return True

    @property
    def forms_weight_gradients(self) -> bool:
        """Whether the backward pass forms gradients of the size of a frozen weight."""
        return False
