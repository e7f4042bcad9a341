"""Methods on every family of networks: what one claims, it passes; the rest is refused in a line at attach."""

import re

import contract
import pytest
import torch
from networks import batch, of_family, perturb
from torch import nn

import aoft_bench
from aoft_bench import methods
from aoft_bench.backbones.layout import FAMILIES, block_paths, family_of
from aoft_bench.backbones.tiny import TINY
from aoft_bench.cli.list import OTHERWISE, on_network
from aoft_bench.config.folders import conf_dir
from aoft_bench.utils.errors import UserError

# one method for each part of a block that a method acts on, on families that keep these parts in other places
FAST = ("EVA-02 tiny, small", "Swin v2", "Hiera", "ConvNeXt v2")
OF_EACH_PART = ("adapter", "adapter_plus", "adaptformer", "bitfit", "hta", "lora", "rlrr", "vpt_deep")
# the others differ from one of these in what is around the blocks
SLOW = (
    *FAST,
    *(
        "EVA-02",
        "BEiT v2",
        "SigLIP, SigLIP 2",
        "DINOv2, registers",
        "DINOv2 giant (SwiGLU)",
        "DINOv3",
        "Swin",
        "MViT v2",
    ),
    *("ViT, relative positions", "DeiT, distilled", "CaiT"),
)
UNKNOWN = [family for family, entry in TINY.items() if not entry.known]
PAGE = conf_dir().parent / "docs" / "networks.md"


def table(header: str) -> dict[tuple[str, str], str]:
    """The cells of a table of the page, by the first entry of their row and the header of their column."""
    lines = [*PAGE.read_text(encoding="utf-8").splitlines(), ""]
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {header} |"))
    end = next(i for i, line in enumerate(lines) if i > start and not line.startswith("|"))
    rows = [[cell.strip(" `") for cell in line.strip("| ").split(" | ")] for line in lines[start:end]]
    return {(row[0], column): cell for row in rows[2:] for column, cell in zip(rows[0][1:], row[1:], strict=True)}


def methods_of(said: dict[tuple[str, str], str]) -> list[str]:
    """The methods of a table. One that is not on the page yet is no mistake; one that is gone is."""
    found = sorted({method for method, _ in said})
    assert set(found) <= set(methods.names()), "run `aoft-bench list networks --markdown` for docs/networks.md"
    return found


def check(method: str, family: str, said: str) -> None:
    """Hold a method against what the page says of it on a family: yes, no, or the options with which it acts."""
    options = next((options for text, options in OTHERWISE.items() if text == said), {})
    built = methods.build(method, options)

    def network() -> nn.Module:
        return of_family(family)

    if said != "yes":
        with pytest.raises(UserError) as refusal:
            contract.attached(network(), method)
        assert "\n" not in str(refusal.value)
    if said != "no":
        contract.check_on_family(built, network)


@pytest.mark.parametrize("family", FAST)
def test_methods_on_a_family(family):
    said = table("`method=`")
    for method in OF_EACH_PART:
        check(method, family, said[method, family])


@pytest.mark.slow
@pytest.mark.parametrize("family", SLOW)
def test_all_methods_on_a_family(family):
    said = table("`method=`")
    for method in methods_of(said):
        if family not in FAST or method not in OF_EACH_PART:
            check(method, family, said[method, family])


@pytest.mark.slow
@pytest.mark.parametrize("family", sorted(TINY.keys() - set(SLOW)))
def test_the_page_says_what_acts_on_a_network(family):
    said = table("`method=`") if TINY[family].known else table("method")
    for method in methods_of(said):
        assert on_network(method, family) == said[method, family]


def test_the_page_has_all_families_and_no_method_that_is_gone():
    known = {family for family, entry in TINY.items() if entry.known}
    assert {family for _, family in table("`method=`")} == known
    assert len(methods_of(table("`method=`"))) > 30
    assert {family for _, family in table("method")} == set(UNKNOWN)


def test_every_entry_of_the_layout_is_of_a_class_of_timm():
    import timm.models

    for family in FAMILIES:
        module, name = family.block.split(".")
        assert isinstance(getattr(getattr(timm.models, module), name), type)
    tested = {family_of(block) for family in TINY if TINY[family].known for _, block in block_paths(of_family(family))}
    untested = {family.title for family in FAMILIES if family not in tested}
    assert untested == {"ViT, post-norm", "EVA, post-norm", "ViT, relative positions"}


@pytest.mark.parametrize(
    "method, family, message",
    [
        ("vpt_deep", "ViT, relative positions", "RelPosBlock: its attention has a bias for each pair of positions"),
        ("lora", "ConvNeXt v2", r"'q': a ConvNeXtBlock has no attention; give method\.targets=\[fc1,fc2\]"),
        ("lora", "parallel ViT", "VisionTransformer: it has no transformer blocks with `attn` and `mlp`"),
        ("ssf", "ResNet", "ResNet: it has no transformer blocks with `attn` and `mlp`"),
        ("lora", "PVT v2", "'q': Attention has no linear layer `qkv`"),
        ("adapter", "PVT v2", r"PyramidVisionTransformerV2: with what it inserts the network does not run \(TypeError"),
        ("fact_tt", "EVA-02", r"EvaBlock: its fc1 is two layers \(SwiGLU\)"),
        ("e2vpt", "DINOv3", r"EvaBlock: this kind of attention \(EvaAttention\)"),
        ("e2vpt", "ConvNeXt v2", "ConvNeXtBlock: it has no attention; use a plain ViT$"),
        ("adapter_plus", "MViT v2", "MultiScaleBlock: it does not give tokens"),
        ("convpass", "Swin v2", "SwinTransformerV2Block: its tokens are not one sequence"),
    ],
)
def test_a_part_that_is_missing_is_named(method, family, message):
    with pytest.raises(UserError, match=f"cannot a.*{message}") as refusal:
        aoft_bench.attach(of_family(family), method)
    assert "\n" not in str(refusal.value)


# -- what other families have that a plain ViT has not ---------------------------------------------------------------


@pytest.mark.parametrize("family", ["EVA-02 tiny, small", "BEiT v2", "Swin v2"])
def test_biases_of_q_and_v_stay_where_timm_keeps_them_apart(family):
    """An update of zero on the layer leaves the function as it is, and `bitfit` trains the biases."""
    plain = of_family(family)
    for name, parameter in plain.named_parameters():
        if name.endswith("_bias"):
            nn.init.normal_(parameter)
    expected = contract.output(plain)
    adapted = aoft_bench.attach(plain, "lora", targets=["q", "k"])
    torch.testing.assert_close(contract.output(adapted.model), expected, rtol=0, atol=1e-10)
    names = {name for name, _ in aoft_bench.attach(of_family(family), "bitfit").trained()}
    assert {"q_bias", "v_bias"} <= {name.rpartition(".")[2] for name in names}


def test_both_layers_of_a_swiglu_are_adapted():
    handle = aoft_bench.attach(of_family("EVA-02"), "lora", targets=["fc1", "fc2"])
    paths = {name.partition(".updates")[0] for name, _ in handle.trained() if ".updates" in name}
    found = {re.sub(r"blocks\.\d", "blocks.0", path) for path in paths}
    assert found == {f"blocks.0.mlp.{layer}" for layer in ("fc1_g", "fc1_x", "fc2")}


def test_prompts_of_a_network_with_rotary_embeddings_have_none():
    """They stand behind the prefix: moving the prompts of all images alike is the same as a longer prefix."""
    model = of_family("DINOv3")
    prefix = model.blocks[0].attn.num_prefix_tokens
    handle = aoft_bench.attach(model, "vpt_deep", prompts=3)
    assert [block.block.attn.num_prefix_tokens for block in handle.model.blocks] == [prefix + 3] * 2


@pytest.mark.parametrize("family, method", [("MobileViT", "ssf"), ("ResNet", "full")])
def test_running_statistics_stay_those_of_pre_training(family, method):
    """What is trained, saved and loaded gives the same outputs, also after training images went through the norms."""
    handle = aoft_bench.attach(of_family(family), method)
    before = {name: value.clone() for name, value in handle.model.named_buffers()}
    handle.model.train()
    handle.loss(*batch(TINY[family].px)).backward()
    handle.model.eval()
    assert before and all(torch.equal(value, before[name]) for name, value in handle.model.named_buffers())
    perturb(handle)
    fresh = aoft_bench.attach(of_family(family), handle.method)
    fresh.load_state_dict(handle.state_dict())
    assert torch.equal(contract.output(fresh.model), contract.output(handle.model))
