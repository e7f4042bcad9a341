"""A method that breaks the contract is caught, and the message says what is wrong."""

from typing import Any, ClassVar

import contract
import networks
import pytest
import torch
from networks import swin, vit
from torch import Tensor, nn

import aoft_bench
from aoft_bench import methods
from aoft_bench.backbones.layout import block_paths, width_of
from aoft_bench.methods import Method, Shape
from aoft_bench.methods.base import Batches, Prepared, Trained
from aoft_bench.methods.parts.choices import indices
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


class Chooses(Honest):
    """A method that keeps its promises: it shifts the two channels that are largest on training images."""

    def prepare(self, model: nn.Module, batches: Batches) -> Prepared:
        with torch.no_grad():
            seen = torch.cat([model.forward_features(images).abs().mean((0, 1))[None] for images, _ in batches])
        return {f"{path}.mlp.adapter.chosen": self.choose(seen.mean(0)) for path, _ in block_paths(model)}

    def choose(self, sizes: Tensor) -> Tensor:
        return sizes.topk(2).indices

    def attach_prepared(self, model: nn.Module, prepared: Prepared) -> None:
        for path, block in block_paths(model):
            found = indices(prepared, f"{path}.mlp.adapter.chosen", (2,), width_of(block))
            block.mlp = After(block.mlp, ShiftOfSome(found).to(block.mlp.fc2.weight.dtype))

    def count(self, shape: Shape) -> int | None:
        return 2 * shape.depth


class ShiftOfSome(Shift):
    def __init__(self, chosen: Tensor) -> None:
        super().__init__(len(chosen))
        self.register_buffer("chosen", chosen)

    def forward(self, h: Tensor) -> Tensor:
        return h + torch.zeros_like(h[0, 0]).index_add(0, self.chosen, self.b.to(h.dtype))  # type: ignore[arg-type]


class ChoosesByChance(Chooses):
    def choose(self, sizes: Tensor) -> Tensor:
        return torch.randperm(len(sizes))[:2]


class ChangesWhatItSees(Chooses):
    def prepare(self, model: nn.Module, batches: Batches) -> Prepared:
        model.get_classifier().weight.data += 1
        return super().prepare(model, batches)


class Forgets(Chooses):
    """Keeps what it chose under another name, so that it is chosen anew wherever the parameters are loaded."""

    def prepare(self, model: nn.Module, batches: Batches) -> Prepared:
        return {f"other.{name}": value for name, value in super().prepare(model, batches).items()}

    def attach_prepared(self, model: nn.Module, prepared: Prepared) -> None:
        super().attach_prepared(model, {name.removeprefix("other."): value for name, value in prepared.items()})


class SumOfLosses(Honest):
    def loss(self, handle: Trained, images: Tensor, labels: Tensor) -> Tensor:
        return super().loss(handle, images, labels) + handle.model(images).square().mean()


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
    (ChoosesByChance, contract.check_prepare, r"prepare\(\) chooses something else the second time"),
    (ChangesWhatItSees, contract.check_prepare, r"prepare\(\) changed the network that it looked at"),
    (Forgets, contract.check_prepare, r"prepare\(\) chose other\.blocks\.0\.mlp\.adapter\.chosen, which is no buffer"),
    (SumOfLosses, contract.check_loss, r"loss of two shards is off by .*: average over images by handle\.objective"),
]


@pytest.mark.parametrize("broken, check, message", BROKEN, ids=lambda value: getattr(value, "__name__", ""))
def test_a_broken_method_is_caught_with_a_message(broken: Any, check: Any, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check(broken())


@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__)
def test_an_honest_method_passes(check: Any) -> None:
    check(Honest())
    check(Chooses())


def test_what_was_chosen_for_another_network_is_refused() -> None:
    images = [networks.batch(16)]
    of_another = methods.prepare(vit(embed_dim=64), Chooses(), images)
    wrong = {
        r"is 40, this network has 0 to 31": {name: torch.tensor([3, 40]) for name in of_another},
        r"is of shape \(3,\), this network needs \(2,\)": {name: torch.zeros(3).long() for name in of_another},
        r"is torch.float32, not torch.int64": {name: torch.zeros(2) for name in of_another},
        r"has no blocks\.1\.mlp\.adapter\.chosen": dict(list(of_another.items())[:1]),
    }
    for message, prepared in wrong.items():
        with pytest.raises(UserError, match=rf"of another network: .*{message}; prepare it again") as refusal:
            aoft_bench.attach(vit(), Chooses(), prepared=prepared)
        assert "\n" not in str(refusal.value)
    for nothing in (None, []):
        with pytest.raises(UserError, match=r"Chooses chooses .* from training images, and got none: give batches="):
            aoft_bench.attach(vit(), Chooses(), batches=nothing)


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
