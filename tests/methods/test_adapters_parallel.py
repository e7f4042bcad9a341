"""AdaptFormer, Adapter+ and Convpass against plain re-derivations from their formulas, in float64."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from authors import of_authors
from networks import TIGHT, batch, perturb, swin, vit
from test_weight_updates import two_values
from torch import Tensor, nn
from torch.testing import assert_close

import aoft_bench
from aoft_bench.methods import Handle
from aoft_bench.methods.mona import MonaAdapter
from aoft_bench.utils.errors import UserError

METHODS = ["adaptformer", "adapter_plus", "convpass"]


def adapted(name: str, model: nn.Module, **options: Any) -> Handle:
    """With everything that is trained moved, the head excepted."""
    torch.manual_seed(3)
    handle = aoft_bench.attach(model, name, **options)
    head = {key: value.clone() for key, value in model.head.state_dict().items()}
    perturb(handle)
    model.head.load_state_dict(head)
    return handle


def attention(block: nn.Module, x: Tensor) -> Tensor:
    """Of two heads, from the weights of an untouched block."""
    q, k, v = (x @ block.attn.qkv.weight.T + block.attn.qkv.bias).unflatten(-1, (3, 2, 16)).permute(2, 0, 3, 1, 4)
    mixed = ((q @ k.mT) / 4).softmax(-1) @ v
    return gamma(block.ls1) * (mixed.transpose(1, 2).flatten(2) @ block.attn.proj.weight.T + block.attn.proj.bias)


def feed_forward(block: nn.Module, x: Tensor) -> Tensor:
    hidden = F.gelu(x @ block.mlp.fc1.weight.T + block.mlp.fc1.bias)
    return gamma(block.ls2) * (hidden @ block.mlp.fc2.weight.T + block.mlp.fc2.bias)


def gamma(scale: nn.Module) -> Tensor | float:
    return getattr(scale, "gamma", 1.0)


def normal(norm: nn.Module, x: Tensor) -> Tensor:
    return F.layer_norm(x, (32,), norm.weight, norm.bias, norm.eps)


def linear(layer: nn.Module, x: Tensor) -> Tensor:
    return x @ layer.weight.T + layer.bias


def check_model(plain: nn.Module, model: nn.Module, x: Tensor, dense_block: Any) -> None:
    """The adapted `model` is `plain` with its blocks computed by dense_block(plain block, adapted block, tokens)."""
    with torch.no_grad():
        h = plain.norm_pre(plain._pos_embed(plain.patch_embed(x)))
        for own, other in zip(plain.blocks, model.blocks, strict=True):
            h = dense_block(own, other, h)
        assert_close(model(x), plain.forward_head(plain.norm(h)), **TIGHT)
        assert (model(x) - plain(x)).abs().max() > 1e-3


@pytest.mark.parametrize("layer_scale", [None, 0.3])
@pytest.mark.parametrize("scale, learn_scale", [(0.1, False), (1.7, False), (0.5, True)])
def test_adaptformer_is_its_formula_on_the_stream_before_the_norm(scale, learn_scale, layer_scale):
    model = vit(init_values=layer_scale)
    adapted("adaptformer", model, bottleneck=3, scale=scale, learn_scale=learn_scale)

    def dense_block(plain: nn.Module, block: nn.Module, h: Tensor) -> Tensor:
        a = block.adapter
        assert isinstance(a.scale, nn.Parameter) == learn_scale
        h = h + attention(plain, normal(plain.norm1, h))
        s = a.scale.item() if learn_scale else scale
        return h + feed_forward(plain, normal(plain.norm2, h)) + s * linear(a.up, linear(a.down, h).clamp(min=0))

    check_model(vit(init_values=layer_scale), model, batch(16)[0], dense_block)


def test_bi_adaptformer_is_adaptformer_with_two_values_in_each_matrix():
    model = vit(init_values=0.3)
    adapted("bi_adaptformer", model, bottleneck=3, scale=1.7)

    def dense_block(plain: nn.Module, block: nn.Module, h: Tensor) -> Tensor:
        m = block.adapter.matrices
        assert m.a.shape == m.b.shape == (32, 3)
        h = h + attention(plain, normal(plain.norm1, h))
        return h + feed_forward(plain, normal(plain.norm2, h)) + 1.7 * (h @ two_values(m.a)).relu() @ two_values(m.b).T

    check_model(vit(init_values=0.3), model, batch(16)[0], dense_block)


def test_adaptformer_adds_to_the_output_of_a_swin_block():
    plain, model = swin(), swin()
    adapted("adaptformer", model, scale=0.7)
    x, seen = torch.randn(2, 8, 8, 16, dtype=torch.float64), []
    own, other = plain.layers[0].blocks[0], model.layers[0].blocks[0]
    own.norm2.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].view(2, 8, 8, 16)))
    with torch.no_grad():
        expected = own(x) + 0.7 * linear(other.adapter.up, linear(other.adapter.down, seen[0]).relu())
        assert_close(other(x), expected, **TIGHT)
        assert (expected - own(x)).abs().max() > 1e-3


@pytest.mark.parametrize("make, shape", [(vit, (2, 17, 32)), (swin, (2, 8, 8, 16))])
def test_stochastic_depth_does_not_drop_adaptformers_adapter(make, shape):
    model = make()
    adapted("adaptformer", model)
    outer = model.blocks[0] if make is vit else model.layers[0].blocks[0]
    outer.block.drop_path1 = outer.block.drop_path2 = nn.Threshold(torch.inf, 0.0)  # drops everything
    x = torch.randn(shape, dtype=torch.float64)
    assert_close(outer(x), x + outer.adapter(x), **TIGHT)


@pytest.mark.parametrize("layer_scale", [None, 0.3])
def test_adapter_plus_is_its_formula_after_the_block(layer_scale):
    model = vit(init_values=layer_scale)
    adapted("adapter_plus", model, bottleneck=3)

    def dense_block(plain: nn.Module, block: nn.Module, h: Tensor) -> Tensor:
        a = block.after_ffn
        assert block.after_attention is None and a.scale.shape == (32,)
        h = h + attention(plain, normal(plain.norm1, h))
        h = h + feed_forward(plain, normal(plain.norm2, h))
        return h + linear(a.up, F.gelu(linear(a.down, h))) @ torch.diag(a.scale)

    check_model(vit(init_values=layer_scale), model, batch(16)[0], dense_block)


def test_adapter_plus_starts_as_its_authors_do():
    model = vit(embed_dim=256)
    torch.manual_seed(0)
    aoft_bench.attach(model, "adapter_plus")
    for block in model.blocks:
        a = block.after_ffn
        for weight in (a.down.weight, a.up.weight):
            assert weight.abs().max() <= 0.02 and weight.abs().max() > 0.019
            assert weight.std().item() == pytest.approx(0.01 * 0.8796, rel=0.05)  # of a normal cut off at 2 sigma
        assert torch.equal(a.scale, torch.ones_like(a.scale))
        assert not a.down.bias.any() and not a.up.bias.any()


# -- Convpass --------------------------------------------------------------------------------------------------------


def dense_convolution(conv: nn.Module, image: Tensor) -> Tensor:
    """The 3 x 3 convolution of an image (height, width, d), pixel by pixel; outside there are zeros."""
    height, width, _ = image.shape
    out = conv.bias.repeat(height, width, 1)
    for i in range(height):
        for j in range(width):
            for di in range(3):
                for dj in range(3):
                    row, column = i + di - 1, j + dj - 1
                    if 0 <= row < height and 0 <= column < width:
                        out[i, j] += conv.weight[:, :, di, dj] @ image[row, column]
    return out


def dense_bypass(bypass: nn.Module, x: Tensor, prefix: int, grid: tuple[int, int], scale: float) -> Tensor:
    """Each token in front of the patches is an image of its own."""
    z, mixed = sigmoid_gelu(linear(bypass.down, x)), []
    for tokens in z:
        images = [token[None, None] for token in tokens[:prefix]] + [tokens[prefix:].unflatten(0, grid)]
        mixed.append(torch.cat([dense_convolution(bypass.conv, image).flatten(0, 1) for image in images]))
    return scale * linear(bypass.up, sigmoid_gelu(torch.stack(mixed)))


def sigmoid_gelu(z: Tensor) -> Tensor:
    return z / (1 + torch.exp(-1.702 * z))


NETWORKS: dict[str, tuple[dict[str, Any], int, tuple[int, int]]] = {  # options, tokens in front, grid
    "class token": ({}, 1, (4, 4)),
    "wide images, registers": (dict(img_size=(16, 24), reg_tokens=2), 3, (4, 6)),
    "tall images, no class token": (dict(img_size=(20, 8), class_token=False, global_pool="avg"), 0, (5, 2)),
    "layer scale": (dict(init_values=0.3), 1, (4, 4)),
}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("positions, init, scale", [("both", "identity", 1.0), ("attn", "xavier", 0.1)])
def test_convpass_is_its_formula(network, positions, init, scale):
    options, prefix, grid = NETWORKS[network]
    model = vit(**options)
    adapted("convpass", model, bottleneck=3, positions=positions, init=init, scale=scale)

    def dense_block(plain: nn.Module, block: nn.Module, h: Tensor) -> Tensor:
        x = normal(plain.norm1, h)
        beside = dense_bypass(block.attn.adapter, x, prefix, grid, scale)
        h = h + attention(plain, x) + gamma(plain.ls1) * beside
        x = normal(plain.norm2, h)
        h = h + feed_forward(plain, x)
        if positions == "attn":
            return h
        return h + gamma(plain.ls2) * dense_bypass(block.mlp.adapter, x, prefix, grid, scale)

    images = torch.randn(2, 3, 4 * grid[0], 4 * grid[1], dtype=torch.float64)
    check_model(vit(**options), model, images, dense_block)


def test_convpass_starts_with_the_identity_or_a_random_kernel():
    torch.manual_seed(0)
    model = vit()
    aoft_bench.attach(model, "convpass", bottleneck=4)
    conv = model.blocks[0].attn.adapter.conv
    assert torch.equal(conv.weight[:, :, 1, 1], torch.eye(4).double()) and conv.weight.count_nonzero() == 4
    model = vit()
    aoft_bench.attach(model, "convpass", bottleneck=16, init="xavier")
    for part in (model.blocks[0].attn, model.blocks[1].mlp):
        assert part.adapter.conv.weight.abs().max().item() == pytest.approx((6 / (2 * 9 * 16)) ** 0.5, rel=0.02)
        assert part.adapter.down.weight.abs().max().item() == pytest.approx((6 / (32 + 16)) ** 0.5, rel=0.05)
        assert not part.adapter.conv.bias.any()


def test_convpass_refuses_images_of_another_size():
    model = vit(dynamic_img_size=True)
    aoft_bench.attach(model, "convpass")
    with pytest.raises(UserError, match=r"attached for 1 \+ 4 x 4 tokens, got 37; build the backbone"):
        model(batch(24)[0])


def test_convpass_refuses_what_has_no_grid():
    model = vit()
    model.patch_embed.grid_size = None
    with pytest.raises(UserError, match=r"cannot adapt a VisionTransformer: it has no fixed grid"):
        aoft_bench.attach(model, "convpass")
    with pytest.raises(UserError, match="convpass cannot act inside a SwinTransformerBlock: .*; use a plain ViT"):
        aoft_bench.attach(swin(), "convpass")


# -- all three -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_what_is_inserted_has_the_type_of_the_weights(method):
    model = vit().to(torch.bfloat16)
    aoft_bench.attach(model, method)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}


# -- Mona ------------------------------------------------------------------------------------------------------------

MONA = {  # our names -> the authors'
    **{
        f"{ours}.{t}": f"{theirs}.{t}"
        for ours, theirs in (("norm", "norm"), ("down", "project1"), ("up", "project2"))
        for t in ("weight", "bias")
    },
    **{f"scales.convolutions.{i}.{t}": f"adapter_conv.conv{i + 1}.{t}" for i in range(3) for t in ("weight", "bias")},
    **{f"scales.mix.{t}": f"adapter_conv.projector.{t}" for t in ("weight", "bias")},
    **{"of_norm": "gamma", "of_input": "gammax"},
}


def test_mona_is_the_authors_module():
    """Leiyi-Hu/mona at 5deeac9, swin_transformer_mona.py, with a width of 4 in the place of 64."""
    theirs = of_authors("mona")
    own = MonaAdapter(6, 4, (3, 5), 0).double()
    parameters = dict(own.named_parameters())
    assert parameters.keys() == MONA.keys()
    for name, parameter in parameters.items():
        parameter.data = theirs[MONA[name]]
    x = theirs["x"].requires_grad_()
    y = own(x)
    y.square().sum().backward()
    pairs = [(y, theirs["y"]), (x.grad, theirs["grad_x"])]
    pairs += [(parameter.grad, theirs[f"grad_{MONA[name]}"]) for name, parameter in parameters.items()]
    for got, expected in pairs:
        assert_close(got, expected, rtol=1e-11, atol=1e-11)


def dense_mona(a: nn.Module, x: Tensor) -> Tensor:
    """Of one image (height, width, D), the convolutions as sums over shifts."""
    z = linear(a.down, F.layer_norm(x, x.shape[-1:], a.norm.weight, a.norm.bias, 1e-5) * a.of_norm + x * a.of_input)
    height, width, total = *z.shape[:2], z
    for convolution in a.scales.convolutions:
        half = convolution.weight.shape[-1] // 2
        padded = F.pad(z, (0, 0, half, half, half, half))
        total = total + convolution.bias / 3
        for i in range(2 * half + 1):
            for j in range(2 * half + 1):
                total = total + padded[i : i + height, j : j + width] * convolution.weight[:, 0, i, j] / 3
    mixed = total + total @ a.scales.mix.weight[:, :, 0, 0].T + a.scales.mix.bias
    return x + linear(a.up, F.gelu(mixed))


@pytest.mark.parametrize("network", [dict(), dict(reg_tokens=2)])
def test_mona_acts_on_the_grid_and_on_each_token_in_front_of_it(network):
    model = vit(**network)
    adapted("mona", model, bottleneck=3)
    prefix = model.num_prefix_tokens

    def mona(a: nn.Module, h: Tensor) -> Tensor:
        alone = torch.stack([torch.stack([dense_mona(a, t[None, None])[0, 0] for t in one[:prefix]]) for one in h])
        return torch.cat(
            [alone, torch.stack([dense_mona(a, one[prefix:].view(4, 4, 32)).flatten(0, 1) for one in h])], 1
        )

    def dense_block(plain: nn.Module, block: nn.Module, h: Tensor) -> Tensor:
        h = mona(block.after_attention, h + attention(plain, normal(plain.norm1, h)))
        return mona(block.after_ffn, h + feed_forward(plain, normal(plain.norm2, h)))

    check_model(vit(**network), model, batch(16)[0], dense_block)


@torch.no_grad()
def test_mona_acts_on_the_image_of_a_swin_block():
    plain, model = swin(), swin()
    adapted("mona", model, bottleneck=3)
    own, other, x = plain.layers[0].blocks[0], model.layers[0].blocks[0], torch.randn(1, 8, 8, 16).double()
    after = dense_mona(other.after_attention, (x + own._attn(own.norm1(x)))[0])[None]
    expected = dense_mona(other.after_ffn, (after + own.mlp(own.norm2(after)))[0])[None]
    assert_close(other(x), expected, **TIGHT)


def test_mona_refuses_another_number_of_tokens():
    model = vit()
    aoft_bench.attach(model, "mona")
    with pytest.raises(UserError, match=r"mona was attached for 1 \+ 4 x 4 tokens, got 12"):
        model.blocks[0](torch.randn(1, 12, 32).double())
