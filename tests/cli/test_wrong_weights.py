"""Mistakes in the network and its weights."""

import os
from collections.abc import Callable
from typing import Any

from conftest import Command, words
from wrong_inputs import Case, Cases, World

from aoft_bench.data.prepared_task import PreparedTask, prepare

CASES = Cases()
case, wrong, asked = CASES.case, CASES.wrong, CASES.asked


wrong("no such weights", "backbone.checkpoint=no.npz", "no file no.npz", "give a .npz, .safetensors or .pth file")
wrong("name is no folder", "backbone.name=a/b", "got the name 'a/b'", "use letters")
TAGLESS = "backbone=vit_ti16_file backbone.checkpoint=null"
wrong("tagless timm name", TAGLESS, "'vit_tiny_patch16_224', a name without a tag", "give one of", "augreg_in21k")
TAG = "backbone=vit_b16_in21k backbone.checkpoint=null backbone.timm="
wrong("unknown tag", f"{TAG}vit_base_patch16_224.orig_in22k", "'orig_in22k' (did you mean 'orig_in21k'?)", "allowed:")
wrong("unknown network", f"{TAG}vit_bse_patch16_224.orig_in21k", "unknown timm model", "vit_bse_patch16_224")
BY_NAME = "backbone=timm backbone.checkpoint=null backbone.img_size=64 backbone.timm="
wrong("no network", "backbone=timm backbone.checkpoint=null", "backbone.timm is missing", "backbone.timm=vit_small_")
wrong("typo in a network", f"{BY_NAME}hiera_tny_224.mae", "unknown timm model", "did you mean 'hiera_tiny_224'?")
wrong("weights and none", "backbone.weights=none backbone.checkpoint=mine.pth", "give one of the two")
wrong("kind of pooling", "backbone.pool=cls", "backbone.pool: got 'cls'", "token")
TRY = "backbone.weights=none dry_run=true"
wrong("a size that cannot be", f"{BY_NAME}mvitv2_tiny.fb_in1k {TRY} backbone.img_size=17", "cannot ", "17 px")
wrong(
    "no attention", f"{BY_NAME}convnextv2_atto.fcmae {TRY} method=lora", "ConvNeXtBlock has no attention", "[fc1,fc2]"
)
wrong("image size", "backbone.img_size=30", "backbone.img_size: got 30, must be a multiple of 4")


@case("no CUDA", "trainer.accelerator=cuda: torch sees no CUDA device", "trainer.accelerator=cpu")
def _(world: World) -> list[str]:
    world.patch.setattr("torch.cuda.is_available", lambda: False)
    return words(world.options, trainer__accelerator="cuda")


wrong(
    "prompts without tokens",
    "dry_run=true dataset=digits method=vpt_deep backbone=vit_ti16_file backbone.timm=gmlp_ti16_224 "
    "backbone.img_size=32 backbone.checkpoint=mine.safetensors",
    "cannot adapt a MlpMixer: it has no transformer blocks",
)


@case("truncated weights", "cannot read the weights in mine.safetensors", "fetch the file again")
def _(world: World) -> list[str]:
    path = world.weights()
    path.write_bytes(path.read_bytes()[:5000])
    return words(world.options, backbone__checkpoint=path.name)


class RunsCode:
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("ran",)


@case("weights that run code", "cannot read the weights in mine.pth: ", "fetch the file again")
def _(world: World) -> list[str]:
    import torch

    torch.save({"state_dict": RunsCode()}, world.root / "mine.pth")
    return words(world.options, backbone__checkpoint="mine.pth")


@case(
    "folder without weights", "the folder mine has no model.safetensors", "as pytorch_model.bin only", "save it again"
)
def _(world: World) -> list[str]:
    (world.root / "mine").mkdir()
    (world.root / "mine/pytorch_model.bin").touch()
    return words(world.options, backbone__checkpoint="mine")


@case("folder of another model", "mine/config.json: model_type is 'beit', and only vit, dinov2,", "give one of those")
def _(world: World) -> list[str]:
    import torch
    from safetensors.torch import save_file

    (world.root / "mine").mkdir()
    (world.root / "mine/config.json").write_text('{"model_type": "beit"}')
    tensors = {"beit.embeddings.patch_embeddings.projection.weight": torch.zeros(1)}
    save_file(tensors, world.root / "mine/model.safetensors")
    return words(world.options, backbone__checkpoint="mine")


@case("weights of another network", "holds weights of another network", "'blocks.", "choose the backbone")
def _(world: World) -> list[str]:
    options = {"backbone": "vit_ti16_file", "backbone.img_size": "32", "backbone.checkpoint": world.weights().name}
    return words(world.options | options)


def _with_tensor(world: World, change: Callable[[Any], Any]) -> list[str]:
    """The valid cell with weights in which one tensor is changed."""
    from safetensors.torch import load_file, save_file

    path = world.weights()
    tensors = load_file(path)
    save_file(tensors | {"norm.weight": change(tensors["norm.weight"])}, path)
    return words(world.options, backbone__checkpoint=path.name)


@case("weights with NaN", "mine.safetensors hold NaN or infinite values, the first is 'norm.weight'", "fetch the file")
def _(world: World) -> list[str]:
    return _with_tensor(world, lambda tensor: tensor.log().sqrt())


@case("integer weights", "cannot read the weights in mine.safetensors: the tensor 'norm.weight' holds int8")
def _(world: World) -> list[str]:
    return _with_tensor(world, lambda tensor: tensor.char())


@case("weights that are too large", "loss is nan before the first step: the backbone's weights")
def _(world: World) -> list[str]:
    return _with_tensor(world, lambda tensor: 3e38 * tensor.sign())


@case("weights that are written meanwhile", "mine.safetensors is not the weight file that is meant", "run again")
def _(world: World) -> list[str]:
    path = world.weights()

    def slow_prepare(*arguments: Any, **options: Any) -> PreparedTask:
        path.write_bytes(path.read_bytes() + b" ")
        return prepare(*arguments, **options)

    world.patch.setattr("aoft_bench.experiments.experiment.prepare", slow_prepare)
    return words(world.options, backbone__checkpoint=path.name)


@CASES.each
def test_wrong_input(command: str, make: Case, expected: tuple[str, ...], world: World, cli: Command) -> None:
    CASES.check(command, make, expected, world, cli)
