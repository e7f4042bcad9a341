"""Blocks with the weights of the authors' public code compute what that code computes, and get its gradients.

The numbers are in fixtures/, made at the commit that is named here: the tokens that enter the blocks of a ViT of width
8 with two heads, and those that leave them, or its last norm.
"""

from typing import Any, NamedTuple

import pytest
from authors import of_authors
from networks import vit
from torch import Tensor
from torch.testing import assert_close

import aoft_bench

WEIGHTS = ("weight", "bias")


class Case(NamedTuple):
    """options: of our method; parameters: our names in blocks -> theirs, with ``.T`` where they are transposed."""

    source: str
    options: dict[str, Any]
    parameters: dict[str, str]


def bottleneck(ours: str, theirs: str, down: int) -> dict[str, str]:
    """The four tensors of a bottleneck; down: index of the first layer in AdapterHub's sequence."""
    names = {"down": f"adapter_down.{down}", "up": "adapter_up"}
    return {f"{ours}.{a}.{t}": f"{theirs}.adapters.a.{b}.{t}" for a, b in names.items() for t in WEIGHTS}


CASES = {
    "adapter_houlsby": Case(
        "adapter-hub/adapters@88f18eb, DoubleSeqBnConfig(non_linearity='gelu') on Hugging Face's ViT",
        dict(bottleneck=2, tune_norms=False),
        bottleneck("0.attn.adapter", "attention_adapters", 0)
        | bottleneck("0.mlp.adapter", "output.output_adapters", 0),
    ),
    "adapter_pfeiffer": Case(
        "adapter-hub/adapters@88f18eb, SeqBnConfig(non_linearity='gelu', ln_before=True) on the same, eps 1e-6",
        dict(bottleneck=2),
        bottleneck("0.after_ffn", "output.output_adapters", 1)
        | {f"0.after_ffn.norm.{t}": f"output.output_adapters.adapters.a.adapter_norm_before.{t}" for t in WEIGHTS},
    ),
    "bi_adaptformer": Case(
        "JieShibo/PETL-ViT@026e4f1 binary_adapter/adaptformer.py",
        dict(bottleneck=3, scale=1.7),
        {
            "0.adapter.matrices.a": "adapter_mlp.adapter_down.weight.T",
            "0.adapter.matrices.b": "adapter_mlp.adapter_up.weight",
        },
    ),
    "bi_lora": Case(
        "JieShibo/PETL-ViT@026e4f1 binary_adapter/lora.py",
        dict(rank=3, scale=1.7),
        {
            f"0.attn.qkv.updates.{target}.{ours}": f"attn.lora_{target}.adapter_{theirs}"
            for target in "qv"
            for ours, theirs in (("a", "down.weight.T"), ("b", "up.weight"))
        },
    ),
    "cara": Case(
        "BonnBytes/CaRA@f0ac9a9 src/cara/cara.py, with the sizes of a small network",
        dict(rank=3, scale=0.7),
        {
            f"0.attn.qkv.updates.q.shared.{ours}": theirs
            for ours, theirs in {
                **{"inputs": "A2", "heads": "A3", "channels": "A4", "weights": "R1", "outputs": "P2", "others": "P3"},
                **{"other_weights": "R2", "shifts.proj": "bias1", "shifts.fc1": "bias2", "shifts.fc2": "bias3"},
            }.items()
        }
        | {
            f"{block}.{layer}.updates.{target}.rows": f"rows.{block}.{target}"
            for block in (0, 1)
            for layer, targets in (
                ("attn.qkv", "qkv"),
                ("attn.proj", ["proj"]),
                ("mlp.fc1", ["fc1"]),
                ("mlp.fc2", ["fc2"]),
            )
            for target in targets
        },
    ),
    "consolidator": Case(
        "THU-MIG/Consolidator@545d006 model/vision_transformer_timm.py",
        dict(groups=4),
        {
            f"0.{layer}.{ours}": theirs.format(layer)
            for layer in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
            for ours, theirs in (("blocks", "G.{}"), ("shift", "c.{}"), ("base.bias", "model.blocks.0.{}.bias"))
        }
        | {f"0.norm{n}": f"model.blocks.0.norm{n}" for n in ("1.weight", "1.bias", "2.weight", "2.bias")},
    ),
    "diff_fit": Case(
        "OSU-MLB/ViT_PEFT_Vision@cea7e21 model/block.py",
        {},
        {
            "0.attn.proj.gain": "difffit_gamma1",
            "0.mlp.fc2.gain": "difffit_gamma2",
            "0.attn.proj.base.bias": "model.blocks.0.attn.proj.bias",
            "0.mlp.fc2.base.bias": "model.blocks.0.mlp.fc2.bias",
            **{f"0.{name}": f"model.blocks.0.{name}" for name in ("attn.qkv.bias", "mlp.fc1.bias")},
            **{f"0.norm{n}": f"model.blocks.0.norm{n}" for n in ("1.weight", "1.bias", "2.weight", "2.bias")},
        },
    ),
    "e2vpt": Case(
        "ChengHan111/E2VPT@7a66e75 src/models/vit_prompt/vit_prompt_VK.py",
        dict(prompts=3, key_prompts=2),
        {f"{i}.prompts.tokens": f"prompts.{i}" for i in (0, 1)}
        | {f"{i}.block.attn.tokens": f"tokens.{i}" for i in (0, 1)},
    ),
    "sct": Case(
        "showlab/SCT@384cecb models/vision_transformer_sct.py, sct_attn; the channels are set",
        dict(channels=3),
        {f"{i}.after_attention.linear.{t}": f"{i}.sct_attn.adapt_linear.{t}" for i in (0, 1) for t in WEIGHTS},
    ),
    "vfpt": Case(
        "runtsang/VFPT@1b3d984 src/models/vit_prompt/vit_fourier.py",
        dict(prompts=3, fraction=0.7),
        {f"{i}.prompts.prompts.tokens": f"prompts.{i}" for i in (0, 1)},
    ),
}


def turned(theirs: dict[str, Tensor], name: str) -> Tensor:
    return theirs[name.removesuffix(".T")].T if name.endswith(".T") else theirs[name]


@pytest.mark.parametrize("method", CASES)
def test_blocks_are_those_of_the_authors(method):
    case, theirs = CASES[method], of_authors(method)
    weights = {key.removeprefix("model."): value for key, value in theirs.items() if key.startswith("model.")}
    depth = 1 + max(int(key.split(".")[1]) for key in weights if key.startswith("blocks."))
    ratio = len(weights["blocks.0.mlp.fc1.bias"]) / 8
    model = vit(embed_dim=8, num_heads=2, mlp_ratio=ratio, depth=depth)
    assert not model.load_state_dict(weights, strict=False).unexpected_keys
    prepared = {f"blocks.{i}.after_attention.chosen": some for i, some in enumerate(theirs.get("chosen", []))}
    aoft_bench.attach(model, method, prepared=prepared or None, **case.options)
    trained = {name: parameter for name, parameter in model.blocks.named_parameters() if parameter.requires_grad}
    assert trained.keys() == case.parameters.keys()
    for name, parameter in trained.items():
        parameter.data = turned(theirs, case.parameters[name]).clone()
    x = theirs["x"].requires_grad_()
    y = model.blocks(x)
    if "norm.weight" in weights:
        y = model.norm(y)
    y.square().sum().backward()
    pairs = [("y", y, theirs["y"]), ("x", x.grad, theirs["grad_x"])]
    pairs += [(n, p.grad, turned(theirs, f"grad_{case.parameters[n]}")) for n, p in trained.items()]
    for name, got, expected in pairs:
        assert_close(got, expected, rtol=1e-11, atol=1e-11, msg=lambda text, name=name: f"{name}: {text}")
