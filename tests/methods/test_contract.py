"""A method that breaks the contract is caught, and the message says what is wrong."""

from typing import Any, ClassVar

import contract
import pytest
import torch
from networks import swin, vit
from torch import Tensor, nn

import aoft_bench
from aoft_bench import methods
from aoft_bench.backbones.layout import block_paths
from aoft_bench.methods import Method, Shape
from aoft_bench.methods.parts.wrappers import After
from aoft_bench.utils.errors import UserError


class Shift(nn.Module):
    """h -> h + b, b (D)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.b = nn.Parameter(torch.zeros(width))

    def forward(self, h: Tensor) -> Tensor:
        return h + self.b


class Honest(Method):
    """A method that keeps its promises: a trained shift of every feed-forward part's output."""

    source: ClassVar[str] = "this test"
    mergeable: bool = False
    starts_at_backbone: bool = True

    def attach(self, model: nn.Module) -> None:
        for _, block in block_paths(model):
            width = block.mlp.fc2.out_features
            block.mlp = After(block.mlp, self.adapter(width).to(block.mlp.fc2.weight))

    def adapter(self, width: int) -> nn.Module:
        return Shift(width)

    def count(self, shape: Shape) -> int | None:
        return shape.depth * shape.width


class Undeclared(Honest):
    def attach(self, model: nn.Module) -> None:
        super().attach(model)
        model.blocks[1].norm1.weight.requires_grad_(True)


class DeclaredButFrozen(Honest):
    def tunes(self, model: nn.Module) -> list[str]:
        return ["blocks.*.norm1.bias"]

    def attach(self, model: nn.Module) -> None:
        super().attach(model)
        model.blocks[0].norm1.bias.requires_grad_(False)


class NoGradient(Honest):
    def adapter(self, width: int) -> nn.Module:
        class Unused(Shift):
            def forward(self, h: Tensor) -> Tensor:
                return h + self.b.detach()

        return Unused(width)


class WrongCount(Honest):
    def count(self, shape: Shape) -> int:
        return shape.depth * shape.width + 1


class NotAtTheStart(Honest):
    def adapter(self, width: int) -> nn.Module:
        made = Shift(width)
        nn.init.normal_(made.b)  # ones would be taken out again by the last norm
        return made


class NotMerged(Honest):
    mergeable = True


class Forgotten(Honest):
    """A random projection that is neither a buffer nor a parameter."""

    def adapter(self, width: int) -> nn.Module:
        class Projected(Shift):
            def __init__(self, width: int) -> None:
                super().__init__(width)
                self.random = torch.randn(width).double()

            def forward(self, h: Tensor) -> Tensor:
                return h + self.b * self.random.to(h)

        return Projected(width)


class ItsOwnDice(Honest):
    def adapter(self, width: int) -> nn.Module:
        made = Shift(width)
        with torch.no_grad():
            made.b.copy_(torch.randn(width, generator=torch.Generator().manual_seed(int(torch.seed() % 2**31))))
        return made


class LargeBackward(Honest):
    """A full matrix beside each feed-forward part, whose gradient is D x D."""

    def adapter(self, width: int) -> nn.Module:
        class Full(Shift):
            def __init__(self, width: int) -> None:
                super().__init__(width)
                self.w = nn.Parameter(torch.zeros(width, width))

            def forward(self, h: Tensor) -> Tensor:
                return h + h @ self.w + self.b

        return Full(width)


class Overflow(Honest):
    def adapter(self, width: int) -> nn.Module:
        class Exploding(Shift):
            def forward(self, h: Tensor) -> Tensor:
                large = (h.to(torch.bfloat16) if torch.is_autocast_enabled("cpu") else h) * 0 + 3e38
                return h + self.b + (large * 10 if torch.is_autocast_enabled("cpu") else 0)

        return Exploding(width)


BROKEN = [
    (Undeclared, contract.check_what_is_trained, r"blocks\.1\.norm1\.weight of the backbone is trained, but tunes\(\)"),
    (DeclaredButFrozen, contract.check_what_is_trained, r"blocks\.0\.norm1\.bias .* declared by tunes\(\), but not"),
    (NoGradient, contract.check_gradients, r"blocks\.0\.mlp\.adapter\.b is trained, but no gradient reaches it"),
    (WrongCount, contract.check_count, r"count\(\) says 97 parameters on Shape\(.*\), but 96 are trained"),
    (NotAtTheStart, contract.check_start, r"starts_at_backbone is true, but attaching moved the logits by"),
    (NotMerged, contract.check_merging, r"mergeable is true, but blocks\.0\.mlp is a After after merging"),
    (Forgotten, contract.check_state, r"something random is not a buffer or parameter"),
    (ItsOwnDice, contract.check_seed, r"the same seed gives two starts"),
    (LargeBackward, contract.check_backward_size, r"forms a matrix of the size of a frozen weight: .*\(56, 56\)"),
    (Overflow, contract.check_bf16, r"logits are not finite under bf16"),
]


@pytest.mark.parametrize("broken, check, message", BROKEN, ids=lambda value: getattr(value, "__name__", ""))
def test_a_broken_method_is_caught_with_a_message(broken: Any, check: Any, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check(broken())


@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__)
def test_an_honest_method_passes(check: Any) -> None:
    check(Honest())


def test_the_registry_does_not_know_the_methods_of_this_file() -> None:
    assert "Honest" not in methods.names()


def test_a_copy_that_shares_is_caught() -> None:
    class Sharing(Honest):
        def adapter(self, width: int) -> nn.Module:
            class Shared(Shift):
                def __deepcopy__(self, memo: Any) -> nn.Module:
                    return self

            return Shared(width)

    with pytest.raises(AssertionError, match="deep copy"):
        contract.check_copy(Sharing())


def test_checkpointing_that_loses_gradients_is_caught() -> None:
    class Leaking(Honest):
        def adapter(self, width: int) -> nn.Module:
            class Counting(Shift):
                calls = 0

                def forward(self, h: Tensor) -> Tensor:
                    self.calls += 1
                    return h + self.b * torch.full_like(h, self.calls)

            return Counting(width)

    with pytest.raises(AssertionError, match="gradient checkpointing"):
        contract.check_gradient_checkpointing(Leaking())


@pytest.mark.parametrize("network", [vit, swin])
def test_a_frozen_weight_that_moves_is_caught(network: Any) -> None:
    class Meddling(Honest):
        def adapter(self, width: int) -> nn.Module:
            class Moving(Shift):
                def forward(self, h: Tensor) -> Tensor:
                    self.victim[0].data.add_(1e-3)  # type: ignore[operator]
                    return h + self.b

            return Moving(width)

        def attach(self, model: nn.Module) -> None:
            super().attach(model)
            for _, block in block_paths(model):
                block.mlp.adapter.victim = [block.norm2.weight]

    with pytest.raises(AssertionError, match="is frozen, but its value changed"):
        contract.check_what_is_trained(Meddling(), network)


def test_a_tuned_pattern_without_a_match_is_refused() -> None:
    class Misspelt(Honest):
        def tunes(self, model: nn.Module) -> list[str]:
            return ["block.*"]

    with pytest.raises(UserError, match=r"no parameter called 'block\.\*', which Misspelt trains"):
        aoft_bench.attach(vit(), Misspelt())
