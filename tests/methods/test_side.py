"""Networks beside the backbone: DTL, LST, Res-Tuning-Bypass. Their formulas, and that blocks keep nothing for a
backward pass."""

from typing import Any

import pytest
import torch
from authors import of_authors
from contract import attached
from networks import TIGHT, batch, kept_for_backward, perturb, swin, vit
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm
from torch.testing import assert_close

import aoft_bench
from aoft_bench.backbones.layout import block_paths
from aoft_bench.methods.res_tuning import Bypass
from aoft_bench.utils.errors import UserError


@pytest.mark.parametrize(("fixture", "fusion", "size"), [("dtl", 0, (8, 4)), ("dtl_plus", 3, (14, 1))])
def test_dtl_is_the_authors(fixture: str, fusion: int, size: tuple[int, int]) -> None:
    """heekhero/DTL@bf6c51e models/vision_transformer.py: four blocks, the trunk added back from the third on. The mean
    of the patches is classified there, behind the norm."""
    theirs = of_authors(fixture)
    net = {name.removeprefix("net."): value for name, value in theirs.items() if name.startswith("net.")}
    options: dict[str, Any] = dict(embed_dim=8, depth=4, mlp_ratio=1.0, num_classes=3, global_pool="avg", fc_norm=True)
    model = vit(img_size=size[0], patch_size=size[1], **options)
    backbone = {name.replace("norm.", "fc_norm.") if name.startswith("norm.") else name: net[name] for name in net}
    model.load_state_dict({name: value for name, value in backbone.items() if not name.startswith("lora_")})
    handle = aoft_bench.attach(model, "dtl", fusion=fusion)
    ours = {
        f"blocks.{i}.trunk.{k}": f"lora_dict.{i}.lora_{v}" for i in range(4) for k, v in (("down", "A"), ("up", "B"))
    }
    if fusion:
        ours["blocks.2.fusion.conv.weight"] = "lora_fusion.weight"
    trained = {name: parameter for name, parameter in handle.trained() if not name.startswith("head")}
    assert trained.keys() == ours.keys()
    for name, parameter in trained.items():
        value = net[ours[name]]
        parameter.data = value.T.clone() if value.ndim == 2 else value.clone()
    logits = model(theirs["x"])
    assert_close(logits, theirs["y"], **TIGHT)
    logits.square().sum().backward()
    for name, parameter in trained.items():
        expected = theirs[f"grad_{ours[name]}"]
        assert parameter.grad is not None
        assert_close(parameter.grad, expected.T if expected.ndim == 2 else expected, rtol=1e-10, atol=1e-10)


def test_the_bypass_is_the_authors() -> None:
    """modelscope/ms-swift@3602360 swift/tuners/restuning.py: `res_adapter` of length 10, two blocks."""
    theirs = of_authors("res_tuning")
    h = None
    for i in range(2):
        step = Bypass(10, 10).double()
        for ours, name in (("horizontal", "lateral"), ("vertical", "vertical")):
            for layer, number in (("down", 1), ("up", 2)):
                for kind in ("weight", "bias"):
                    value = theirs[f"bypass_blocks.{i}.{name}_tuner.tuner.ln{number}.{kind}"]
                    step.get_parameter(f"{ours}.{layer}.{kind}").data = value
        h = step(theirs[f"x{i}"], theirs[f"x{i + 1}"], h)
    assert_close(h, theirs["y"], rtol=1e-11, atol=1e-11)


def tokens_of(model: nn.Module, images: Tensor) -> list[Tensor]:
    """What the first block of a plain ViT reads, and the output of every block."""
    x, found = model._pos_embed(model.patch_embed(images)), []
    for block in (None, *model.blocks):
        x = x if block is None else block(x)
        found.append(x)
    return found


def classified(model: nn.Module, tokens: Tensor) -> Tensor:
    return model.forward_head(model.norm(tokens))  # type: ignore[no-any-return]


def test_lst_is_its_formula() -> None:
    images = batch(16)[0]
    states = tokens_of(vit(), images)
    handle = attached(vit(), "lst", reduction=4)
    perturb(handle)
    p = dict(handle.trained())

    def linear(path: str, x: Tensor) -> Tensor:
        return x @ p[f"{path}.weight"].T + p[f"{path}.bias"]

    def normed(path: str, x: Tensor) -> Tensor:
        return layer_norm(x, (8,), p[f"{path}.weight"], p[f"{path}.bias"], 1e-6)

    h = linear("blocks.0.step.enter", states[0])
    for i, x in enumerate(states[1:]):
        step, side = f"blocks.{i}.step", f"blocks.{i}.step.side"
        gate = 1 / (1 + torch.exp(-10 * p[f"{step}.gate"]))
        h = gate * h + (1 - gate) * linear(f"{step}.down", x)
        q, k, v = linear(f"{side}.qkv", normed(f"{side}.norm1", h)).split(8, -1)
        heads = [(q[..., a] @ k[..., a].mT / 2).softmax(-1) @ v[..., a] for a in (slice(4), slice(4, 8))]
        h = h + linear(f"{side}.proj", torch.cat(heads, -1))
        h = h + linear(f"{side}.fc2", gelu(linear(f"{side}.fc1", normed(f"{side}.norm2", h))))
    expected = classified(handle.model, linear("blocks.1.finish.up", h))
    assert_close(handle.model(images), expected, **TIGHT)


def test_res_tuning_is_its_formula() -> None:
    images = batch(16)[0]
    states = tokens_of(vit(), images)
    handle = attached(vit(), "res_tuning", bottleneck=3)
    perturb(handle)
    p = dict(handle.trained())

    def tuned(path: str, x: Tensor) -> Tensor:
        inner = gelu(x @ p[f"{path}.down.weight"].T + p[f"{path}.down.bias"])
        return x + inner @ p[f"{path}.up.weight"].T + p[f"{path}.up.bias"]

    h = states[0]
    for i, x in enumerate(states[1:]):
        h = tuned(f"blocks.{i}.step.horizontal", x) + tuned(f"blocks.{i}.step.vertical", h)
    assert_close(handle.model(images), classified(handle.model, h), **TIGHT)


def in_the_graph(method: str, **options: Any) -> tuple[list[int], set[int]]:
    """Which of four blocks of the backbone are in the backward pass, and the last sides of what is kept for it."""
    handle = attached(vit(depth=4), method, **options)
    perturb(handle)
    seen: list[int] = []
    for index, (_, block) in enumerate(block_paths(handle.model)):
        for layer in (block.attn, block.mlp):
            layer.register_forward_hook(lambda _m, _i, y, index=index: seen.append(index) if y.requires_grad else None)
    kept = {shape[-1] if shape else 0 for shape in kept_for_backward(handle)}
    return sorted(set(seen)), kept


@pytest.mark.parametrize("method", ["lst", "res_tuning"])
def test_no_block_runs_backward(method: str) -> None:
    blocks, kept = in_the_graph(method)
    assert not blocks and not kept & {96, 128}, "what q, k, v and the hidden layer give is kept"
    assert in_the_graph("lora")[0] == [0, 1, 2, 3] and {96, 128} & in_the_graph("lora")[1]


@pytest.mark.parametrize(("first", "blocks"), [(None, [3]), (1, [1, 2, 3]), (4, [])])
def test_dtl_runs_backward_from_where_it_is_written_back(first: int | None, blocks: list[int]) -> None:
    assert in_the_graph("dtl", write_from=first)[0] == blocks


def test_wrong_sizes_are_refused() -> None:
    with pytest.raises(
        UserError, match=r"method\.write_from is too large: got 3, but the network has 2 blocks; give 1"
    ):
        attached(vit(), "dtl", write_from=3)
    with pytest.raises(UserError, match=r"method\.reduction is too large: got 17, but a head .* 16 wide; give 1 to 16"):
        attached(vit(), "lst", reduction=17)
    for method in ("dtl", "lst", "res_tuning"):
        with pytest.raises(UserError, match=f"{method} cannot act inside a SwinTransformerBlock: .*; use a plain ViT"):
            attached(swin(), method)
