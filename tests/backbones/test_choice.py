"""The backbone of a run is named for its network, and takes size and interpolation from its weights where asked to."""

import pytest

from aoft_bench.backbones.choice import completed
from aoft_bench.config.choices import backbone_options
from aoft_bench.config.fields import plain_values
from aoft_bench.config.schema import BackboneOptions
from aoft_bench.records.identity import identity
from aoft_bench.utils.errors import UserError

TINY = "vit_tiny_patch16_224.augreg_in21k"
DEFAULT = {"name": "vit_b16_in21k", "timm": "vit_base_patch16_224.orig_in21k", "checkpoint": None, "img_size": 224}


def after(interpolation="bicubic", **changes):
    """(backbone, interpolation) of the default backbone with changes, completed."""
    tree = completed({"seed": 3, "backbone": DEFAULT | changes, "data": {"interpolation": interpolation}})
    assert tree["seed"] == 3
    return tree["backbone"], tree["data"]["interpolation"]


@pytest.mark.parametrize(
    "changes, name",
    [
        ({}, "vit_b16_in21k"),
        ({"checkpoint": "copy.npz"}, "vit_b16_in21k"),
        ({"timm": TINY}, TINY),
        ({"timm": "vit_tiny_patch16_224", "checkpoint": "F"}, "vit_tiny_patch16_224"),
        ({"timm": TINY, "name": "mine"}, "mine"),
        ({"timm": TINY, "name": None}, TINY),
        ({"weights": "none"}, "vit_b16_in21k_random"),
        ({"weights": "none", "name": "mine_random"}, "mine_random"),
        ({"weights": "none", "timm": TINY}, f"{TINY}_random"),
    ],
)
def test_the_name_follows_the_network(changes, name):
    assert after(**changes) == ({**DEFAULT, **changes, "name": name}, "bicubic")


def test_size_and_interpolation_are_those_of_the_weights_where_asked_for():
    swin = "swinv2_base_window12_192.ms_in22k"
    assert after("backbone", timm=swin, name=None, img_size=None) == (
        {"name": swin, "timm": swin, "checkpoint": None, "img_size": 192},
        "bicubic",
    )
    assert after("backbone", timm=swin, img_size=96)[0]["img_size"] == 96
    assert after("backbone", timm="vgg11.tv_in1k", img_size=None)[1] == "bilinear"


def test_what_timm_does_not_know_is_refused():
    with pytest.raises(UserError, match=r"backbone\.timm is missing: give the network and the tag"):
        after(timm=None)
    with pytest.raises(UserError, match="did you mean 'vit_tiny_patch16_224'"):
        after(timm="vit_tny_patch16_224.augreg_in21k", img_size=None)
    with pytest.raises(UserError, match="did you mean 'augreg_in21k'"):
        after(timm="vit_tiny_patch16_224.augreg_in22k", img_size=None)
    with pytest.raises(UserError, match=r"timm has no weights of coatnet_0_224; give a file"):
        after(timm="coatnet_0_224", img_size=None)


def test_pool_is_part_of_a_cells_identity():
    def of(**changes):
        backbone = plain_values(BackboneOptions(**DEFAULT, **changes))
        config = {
            "recipe": {"epochs": 2, "warmup_epochs": 0},
            **{"dataset": {"name": "d"}, "data": {"interpolation": "bicubic", "normalization": "half"}},
            **{"backbone": backbone, "method": {"name": "lora"}, "protocol": {"name": "clean"}, "seed": 0},
        }
        return identity(config, fingerprint="f", weights="w", precision="fp32")

    usual = of()
    assert "pool" not in usual and usual == of(pool=None, weights="pretrained")
    assert of(pool="token") == {**usual, "pool": "token"}


def test_dinov3_reads_the_class_token():
    assert backbone_options("dinov3_s16").pool == "token" and backbone_options("mae_b16").pool is None
