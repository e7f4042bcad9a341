"""What a step costs cannot grow unseen: operations and memory are counted, since seconds differ between machines."""

import pytest
import torch
import torch.nn.functional as F
from contract import adapted
from networks import TIGHT, batch, perturb, vit
from step_costs import counted, weights_of
from torch.testing import assert_close

import aoft_bench
from aoft_bench.methods import registry
from aoft_bench.methods.parts.merged_linear import AdaptedLinear, sum_over_tokens, transpose

ALL = ["q", "v", "fc1", "fc2"]
# operations that a block adds to the floor's, forward and backward, without the optimiser's, where a sum over tokens is
# one operation: on a GPU, and on a CPU for a number of tokens that cannot be cut
UNCUT = 3  # images, 51 tokens
ADDED = [
    ("linear", {}, 0),
    ("full", {}, 8),
    ("adapter", {}, 12),
    ("lora", dict(targets=ALL), 54),
    ("aoft", {}, 34),
    ("aoft", dict(learn_lambda=False), 50),
    ("aoft_adapter", {}, 24),
    ("bi_lora", dict(rank=8), 16),
    ("hta", {}, 64),
    ("fact_tt", dict(rank=8), 62),
    ("fact_tk", dict(rank=8), 64),
    ("rlrr", {}, 70),
]


def per_block(method: str | None, images: int = UNCUT, **options: object) -> int:
    four, two = (counted(method, depth, images=images, **options).operations for depth in (4, 2))
    return (four - two) // 2


@pytest.mark.parametrize("method, options, added", ADDED)
def test_operations_of_a_block(method: str, options: dict[str, object], added: int) -> None:
    floor = per_block(None)
    if method == "linear":  # nothing flows back through the blocks
        assert per_block(method) < floor
    else:
        assert per_block(method, **options) - floor <= added


def test_cutting_a_sum_over_tokens_costs_one_operation() -> None:
    """Of the seven in a block, four for B and three for A, those of q and v being one."""
    assert per_block("aoft", images=4) - per_block("aoft") == 7


def test_ao_is_built_for_all_layers_at_once() -> None:
    """Twelve blocks: at most three more operations a block than LoRA's on the same matrices, which builds nothing."""
    lora, aoft = (counted(name, 12, targets=ALL).operations for name in ("lora", "aoft"))
    assert aoft <= lora + 3 * 12


@pytest.mark.parametrize("method", ["lora", "aoft"])
def test_memory_over_the_floor(method: str) -> None:
    """What is kept for the backward pass beyond the floor's: the layers' inputs, the merged weights and the factors."""
    width, depth, tokens = 32, 4, 4 * 17
    grown = counted(method, depth, targets=ALL).saved - counted(None, depth).saved
    weights = weights_of(vit(depth=depth, embed_dim=width), "qkv", "fc1", "fc2")
    inputs = 8 * depth * tokens * (width + width + 4 * width)
    factors = 2 * 8 * 8 * depth * (2 * 2 * width + 2 * 5 * width)  # A, B and what they are computed from
    assert grown <= weights + inputs + factors + 4096


def test_the_merged_weight_is_made_once_a_step() -> None:
    """Where weights are far larger than activations, adapting fc1 and fc2 makes their size twice (the new tensor, and
    the product that is written into it, which counts as made), not a gradient or a second copy."""
    wide = 256
    made = (
        counted("lora", 1, wide, targets=["fc1", "fc2"], rank=1).made
        - counted("lora", 1, wide, targets=["q"], rank=1).made
    )
    weights = weights_of(vit(depth=1, embed_dim=wide), "fc1", "fc2")
    assert made < 2.5 * weights


@pytest.mark.parametrize("method", registry.names())
def test_factors_built_once_a_step_are_those_built_layer_by_layer(method: str) -> None:
    if method == "peft":
        pytest.skip("inserts peft's own layers")
    made = registry.build(method, {})
    gradients = []
    for together in (True, False):
        handle = adapted(made)
        perturb(handle)
        model, (images, labels) = handle.model, batch(16)
        # parts of the model called directly build their own factors
        logits = model(images) if together else model.forward_head(model.forward_features(images))
        value = F.cross_entropy(logits, labels)
        value.backward()
        gradients.append([value, *(p.grad for _, p in handle.trained() if p.grad is not None)])
    for one, other in zip(*gradients, strict=True):
        assert_close(one, other, **TIGHT)


@pytest.mark.parametrize("tokens", [7, 12, 34, 40])
def test_the_sum_over_tokens_is_the_same_however_it_is_cut(tokens: int) -> None:
    z, g = torch.randn(tokens, 3, dtype=torch.float64), torch.randn(tokens, 10, dtype=torch.float64)[:, 2:7]
    assert_close(sum_over_tokens(z, g), torch.einsum("tk,td->kd", z, g), **TIGHT)


def test_what_was_built_for_a_step_is_not_used_in_the_next_also_after_an_error() -> None:
    handle = adapted(registry.build("aoft", {}))
    images = batch(16)[0]
    first = handle.model(images)
    with pytest.raises(RuntimeError):
        handle.model(images[:, :1])  # one channel instead of three
    perturb(handle)
    by_layers = handle.model.forward_head(handle.model.forward_features(images))  # without the hooks of the whole model
    moved = handle.model(images)
    assert not torch.equal(first, moved), "a weight of an earlier step was used"
    assert_close(by_layers, moved, **TIGHT)


def test_a_merged_bf16_weight_is_rounded_once() -> None:
    """A small update of every entry shows in the mean although it is far below bf16's resolution of a single entry."""
    torch.manual_seed(0)
    layer = AdaptedLinear(torch.nn.Linear(256, 256))
    layer.add("fc1", slice(0, 256), aoft_bench.methods.lora.LoRAUpdate(256, 256, 1, 1.0))
    a, b = torch.full((256, 1), 1e-2), torch.full((256, 1), 1e-3)  # 1e-5, a thousandth of a typical weight
    frozen = layer.base.weight.detach()
    merged = layer.merged_weight(transpose([(a, b)], torch.bfloat16), torch.bfloat16)
    added = (merged.double() - frozen.double()).mean()
    assert added == pytest.approx(1e-5, rel=0.15)
    lost = (frozen.bfloat16() + (b @ a.T).bfloat16()).double() - frozen.double()
    assert abs(lost.mean() - 1e-5) > abs(added - 1e-5)


@pytest.mark.parametrize("method", ["lora", "aoft", "adapter"])
def test_a_block_compiles_without_a_break(method: str) -> None:
    handle = adapted(registry.build(method, {}))
    block = handle.model.blocks[0]
    tokens = torch.randn(2, 17, 32, dtype=torch.float64)
    explained = torch._dynamo.explain(block)(tokens)
    torch._dynamo.reset()
    assert explained.graph_break_count == 0, explained.break_reasons
