"""Prompt methods against a ViT that is written out here from its weights, in float64.

The derivation replaces prompts from block to block, as the paper has it, where the methods insert and remove them.
"""

import copy
import math
from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F
from networks import TIGHT, batch, perturb, swin, vit
from torch import Tensor, nn
from torch.testing import assert_close

import aoft_bench
from aoft_bench.methods import Handle
from aoft_bench.methods.vfpt import FourierPrompts
from aoft_bench.utils.errors import UserError

METHODS = {
    "vpt_deep": [dict(prompts=3), dict(prompts=1), {}],
    "vpt_shallow": [dict(prompts=3), dict(prompts=1), {}],
    "aoft_vpt": [dict(prompts=3), dict(prompts=1), dict(prompts=32), dict(prompts=3, constant="released"), {}],
    "vfpt": [dict(prompts=3, fraction=0.7), dict(prompts=1), dict(prompts=4, fraction=1.0), {}],
}
CASES = [(name, options) for name, several in METHODS.items() for options in several]
each = pytest.mark.parametrize(
    "method, options", CASES, ids=[f"{n}-{'-'.join(map(str, o.values()))}" for n, o in CASES]
)
each_method = pytest.mark.parametrize("method", METHODS)
NETWORKS = {
    "class token": {},
    "class token, patch average": dict(global_pool="avg"),
    "no class token": dict(class_token=False, global_pool="avg"),
    "registers": dict(reg_tokens=2, no_embed_class=True),
    "registers only": dict(class_token=False, reg_tokens=2, global_pool="avg", init_values=0.5),
}


def prompted(name: str, network: nn.Module, **options) -> Handle:
    """A copy of `network` with prompts that are off their starting point."""
    torch.manual_seed(7)
    handle = aoft_bench.attach(copy.deepcopy(network), name, **options)
    perturb(handle)
    return handle


def own_tokens(block: nn.Module, prompts: int, constant: str) -> Tensor:
    """The prompts that a block inserts, (n, D), from its trained tensor."""
    (trained,) = block.prompts.parameters()
    if isinstance(block.prompts, FourierPrompts):
        m = block.prompts.transformed
        rows, columns = (torch.arange(n).double() for n in (m, 32))
        angles = (
            2 * math.pi * (torch.outer(rows, rows)[:, None, :, None] / m + torch.outer(columns, columns)[:, None] / 32)
        )
        return torch.cat([(angles.cos() * trained[:m]).sum((2, 3)), trained[m:]])
    if trained.ndim == 2:
        return trained
    c = 1 / (1 + trained[0]) if constant == "paper" else 1 / ((1 + trained[0]) ** 2 + 1)
    p = trained[1:]
    # entry by entry: rows are prompts
    rows = [torch.cat([-p[j, None], torch.eye(31).double()[j] - c * p[j] * p]) for j in range(prompts - 1)]
    return torch.stack([trained, *rows])


def dense_block(block: nn.Module, h: Tensor, mask: Tensor | None = None, front: Tensor | None = None) -> Tensor:
    """A pre-norm block of two heads from its weights alone; mask (tokens, tokens), true where attention may look;
    front (heads, m, d): more keys and values."""
    x = F.layer_norm(h, (32,), block.norm1.weight, block.norm1.bias, block.norm1.eps)
    q, k, v = (x @ block.attn.qkv.weight.T + block.attn.qkv.bias).unflatten(-1, (3, 2, 16)).permute(2, 0, 3, 1, 4)
    if front is not None:
        k, v = (torch.cat([front.expand(len(h), -1, -1, -1), t], 2) for t in (k, v))
    scores = (q @ k.mT) / 4
    mixed = (scores if mask is None else scores.masked_fill(~mask, -math.inf)).softmax(-1) @ v
    mixed = mixed.transpose(1, 2).flatten(2) @ block.attn.proj.weight.T + block.attn.proj.bias
    h = h + mixed * getattr(block.ls1, "gamma", 1)
    x = F.layer_norm(h, (32,), block.norm2.weight, block.norm2.bias, block.norm2.eps)
    x = F.gelu(x @ block.mlp.fc1.weight.T + block.mlp.fc1.bias)
    return h + (x @ block.mlp.fc2.weight.T + block.mlp.fc2.bias) * getattr(block.ls2, "gamma", 1)


def embedded(m: nn.Module, images: Tensor) -> Tensor:
    """[prefix, patches] with their positions."""
    patches = F.conv2d(images, m.patch_embed.proj.weight, m.patch_embed.proj.bias, stride=4).flatten(2).mT
    prefix = [t.expand(len(images), -1, -1) for t in (m.cls_token, m.reg_token) if t is not None]
    if m.no_embed_class:
        return torch.cat([*prefix, patches + m.pos_embed], 1)
    return torch.cat([*prefix, patches], 1) + m.pos_embed


def dense_features(
    backbone: nn.Module,
    images: Tensor,
    prompts: list[Tensor],
    mask: Tensor | None = None,
    fronts: Sequence[Tensor] = (),
) -> Tensor:
    """Outputs of the last block with those of the prompts in them. prompts: of the first block, or of every block."""
    n, prefix = len(prompts[0]), backbone.num_prefix_tokens
    h = embedded(backbone, images)
    h = torch.cat([h[:, :prefix], torch.zeros(len(h), n, 32).double(), h[:, prefix:]], 1)
    for index, block in enumerate(backbone.blocks):
        if index < len(prompts):
            h = h.clone()
            h[:, prefix : prefix + n] = prompts[index]
        h = dense_block(block, h, mask, fronts[index] if fronts else None)
    return h


def dense_logits(backbone: nn.Module, images: Tensor, prompts: list[Tensor]) -> Tensor:
    n, prefix = len(prompts[0]), backbone.num_prefix_tokens
    h = dense_features(backbone, images, prompts)
    of_class = backbone.global_pool == "token"
    pooled = backbone.norm(h)[:, 0] if of_class else backbone.fc_norm(h[:, prefix + n :].mean(1))
    return pooled @ backbone.head.weight.T + backbone.head.bias


def inserted(handle: Handle, options: dict) -> list[Tensor]:
    """Prompts of every block that inserts some."""
    n = options.get("prompts", handle.method.prompts)
    wrapped = [b for b in handle.model.blocks if getattr(b, "prompts", None) is not None]
    return [own_tokens(block, n, options.get("constant", "paper")) for block in wrapped]


@each
@pytest.mark.parametrize("network", NETWORKS)
@torch.no_grad()
def test_the_model_computes_the_papers_formula(method, options, network):
    backbone, (images, _) = vit(depth=3, **NETWORKS[network]), batch(16)
    handle = prompted(method, backbone, **options)
    prompts = inserted(handle, options)
    assert len(prompts) == (1 if method == "vpt_shallow" else 3)
    assert all(p.shape == (handle.method.prompts, 32) for p in prompts)
    backbone.head.load_state_dict(handle.model.head.state_dict())
    expected = dense_logits(backbone, images, prompts)
    assert (expected - backbone(images)).abs().max() > 1e-2
    assert_close(handle.model(images), expected, **TIGHT)


@each_method
@torch.no_grad()
def test_one_block_alone_inserts_and_removes(method):
    backbone, (images, _) = vit(depth=1), batch(16)
    handle = prompted(method, backbone, prompts=3)
    backbone.head.load_state_dict(handle.model.head.state_dict())
    assert_close(handle.model(images), dense_logits(backbone, images, inserted(handle, dict(prompts=3))), **TIGHT)


@each_method
@torch.no_grad()
def test_blocks_work_one_by_one_and_as_a_sequence(method):
    model, (images, _) = prompted(method, vit(depth=3), prompts=3).model, batch(16)
    h = embedded(model, images)
    expected, lengths = model.forward_features(images), []
    for block in model.blocks:
        h = block(h)
        lengths.append(h.shape[1])
    assert_close(model.norm(h), expected, **TIGHT)
    assert_close(model.norm(model.blocks(embedded(model, images))), expected, **TIGHT)
    assert lengths == ([20, 20, 17] if method == "vpt_shallow" else [17, 17, 17])


@each_method
@torch.no_grad()
def test_a_mask_covers_the_prompts_which_stand_after_the_prefix(method):
    backbone, (images, _) = vit(depth=3, **NETWORKS["registers"]), batch(16)
    handle = prompted(method, backbone, prompts=2)
    mask = torch.rand(21, 21, generator=torch.Generator().manual_seed(3)) > 0.3
    mask[:, 0] = True  # so that no row is empty
    got = handle.model.forward_features(images, attn_mask=mask)
    h = dense_features(backbone, images, inserted(handle, dict(prompts=2)), mask)
    assert_close(got, backbone.norm(torch.cat([h[:, :3], h[:, 5:]], 1)), **TIGHT)


@each_method
@torch.no_grad()
def test_prompts_that_nobody_may_look_at_change_nothing(method):
    backbone, (images, _) = vit(depth=3), batch(16)
    model = prompted(method, backbone, prompts=3).model
    hidden = torch.ones(20, 20, dtype=torch.bool)
    hidden[:, 1:4] = False
    assert_close(model.forward_features(images, attn_mask=hidden), backbone.forward_features(images), **TIGHT)


@pytest.mark.parametrize("network", NETWORKS)
@torch.no_grad()
def test_e2vpt_is_vpt_with_tokens_in_front_of_keys_and_values(network):
    backbone, (images, _) = vit(depth=3, qkv_bias=True, **NETWORKS[network]), batch(16)
    handle = prompted("e2vpt", backbone, prompts=2, key_prompts=3)
    tokens = [block.block.attn.tokens for block in handle.model.blocks]
    assert tokens[0].shape == (2, 3, 16)
    prefix, length = backbone.num_prefix_tokens, 18 + backbone.num_prefix_tokens
    mask = torch.rand(length, length + 3, generator=torch.Generator().manual_seed(3)) > 0.3
    mask[:, 0] = True  # so that no row is empty
    for seen in (None, mask):
        h = dense_features(backbone, images, inserted(handle, dict(prompts=2)), seen, tokens)
        expected = backbone.norm(torch.cat([h[:, :prefix], h[:, prefix + 2 :]], 1))
        assert_close(handle.model.forward_features(images, attn_mask=seen), expected, **TIGHT)


@torch.no_grad()
def test_tokens_of_e2vpt_start_uniform_within_the_authors_bound():
    tokens = aoft_bench.attach(vit(), "e2vpt", key_prompts=200).model.blocks[0].block.attn.tokens
    bound = math.sqrt(6 / (200 * 16))
    assert 0.99 * bound < tokens.abs().max() <= bound and abs(tokens.std() / bound - 3**-0.5) < 0.02


def test_e2vpt_refuses_attention_that_it_does_not_know():
    model = vit()
    model.blocks[1].attn.gate = nn.Linear(32, 32)
    with pytest.raises(
        UserError,
        match=r"^e2vpt cannot act inside a Block: this kind of attention \(Attention\) is not .*; use a plain ViT$",
    ):
        aoft_bench.attach(model, "e2vpt")


@pytest.mark.parametrize("method", ["vpt_deep", "vpt_shallow"])
@pytest.mark.parametrize("patch, bound", [(4, math.sqrt(6 / (48 + 32))), (8, math.sqrt(6 / (192 + 32)))])
def test_prompts_of_vpt_start_uniform_within_the_papers_bound(method, patch, bound):
    torch.manual_seed(7)
    model = aoft_bench.attach(vit(patch_size=patch), method, prompts=400).model
    tokens = model.blocks[0].prompts.tokens
    assert 0.99 * bound < tokens.abs().max() <= bound
    assert tokens.mean().abs() < 0.03 * bound and abs(tokens.std() / bound - 3**-0.5) < 0.02
    if method == "vpt_deep":
        assert not torch.equal(tokens, model.blocks[1].prompts.tokens)


@torch.no_grad()
def test_prompts_of_aoft_start_orthonormal_and_are_not_held_so():
    torch.manual_seed(7)
    handle = aoft_bench.attach(vit(), "aoft_vpt", prompts=5)
    starts = [block.prompts() for block in handle.model.blocks]
    assert not torch.equal(starts[0], starts[1])
    for start in starts:
        assert_close(start @ start.T, torch.eye(5).double(), rtol=0, atol=1e-6)  # drawn in float32
    perturb(handle)
    moved = handle.model.blocks[0].prompts()
    assert (moved @ moved.T - torch.eye(5)).abs().max() > 1e-2


@each_method
def test_a_swin_is_refused_and_left_alone(method):
    model = swin()
    before = list(model.state_dict())
    with pytest.raises(UserError, match=rf"^{method} cannot act inside a SwinTransformerBlock: .*; use a plain ViT$"):
        aoft_bench.attach(model, method)
    assert list(model.state_dict()) == before


@each_method
def test_a_network_of_unknown_prefix_is_refused(method):
    model = vit()
    del model.num_prefix_tokens
    with pytest.raises(UserError, match=rf"^{method} does not know where the patches begin in a VisionTransformer"):
        aoft_bench.attach(model, method)


def test_the_width_bounds_how_many_prompts_aoft_makes():
    with pytest.raises(UserError, match=r"method\.prompts is too large: got 33, .* give 1 to 32"):
        aoft_bench.attach(vit(), "aoft_vpt", prompts=33)
    with pytest.raises(UserError, match="prompts: got 0, must be at least 1"):
        aoft_bench.attach(vit(), "aoft_vpt", prompts=0)
