"""What is frozen is computed once, and a run ends where it would have ended without that."""

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import call, words
from networks import batch, swin, timm, vit
from safetensors.torch import load_file
from test_recipe import recipe
from test_resume import Killed, killed_in_step

import aoft_bench
from aoft_bench.data.loader import DeviceBatches
from aoft_bench.data.transforms import mirror
from aoft_bench.records.files import read_record
from aoft_bench.training import fit as fit_module
from aoft_bench.training.frozen_cache import FrozenCache
from aoft_bench.training.frozen_part import FrozenPart, frozen_part
from aoft_bench.training.model import regularize, spare_frozen_blocks

IMAGES = batch(16)[0]
RECIPE = {"recipe.epochs": "3", "recipe.batch_size": "12", "recipe.flip": "true"}


def part_of(model: torch.nn.Module, method: str, **options: Any) -> FrozenPart:
    aoft_bench.attach(model, method, **options)
    return frozen_part(model.train(), batch(32)[0] if hasattr(model, "layers") else IMAGES)


def test_what_is_constant() -> None:
    three = vit(depth=3)
    assert part_of(three, "linear").features and three.training
    assert part_of(vit(depth=3), "partial") == FrozenPart(blocks=("blocks.0", "blocks.1"), kept=("blocks.1",))
    beside = tuple(f"blocks.{i}.block" for i in range(3))
    assert part_of(vit(depth=3), "lst", reduction=2) == FrozenPart(blocks=beside, kept=beside)
    assert part_of(vit(depth=3), "dtl").blocks == beside[:2]  # it writes back into the last block
    still = swin()
    spare = [module for module in still.modules() if type(module).__name__ == "DropPath"]
    assert not part_of(still, "linear").features and spare
    for module in spare:
        module.drop_prob = 0.0
    assert frozen_part(still, batch(32)[0]).features
    assert part_of(timm.create_model("resnet10t", num_classes=5).double(), "linear").features
    distilled = timm.models.deit.VisionTransformerDistilled(
        img_size=16, patch_size=4, embed_dim=32, depth=2, num_heads=2, num_classes=5
    )
    assert part_of(distilled.double(), "linear").kept == ("blocks.1",)  # it has two heads
    for method in ("aoft", "full", "bitfit", "vpt_deep", "ssf"):
        assert part_of(vit(depth=3), method) == FrozenPart(), method


def test_nothing_is_kept_behind_what_is_random() -> None:
    model = vit(depth=3, drop_path_rate=0.2)
    regularize(model, recipe(drop_path_kind="element"))
    part = part_of(model, "partial")
    assert part == FrozenPart(blocks=("blocks.0",), kept=("blocks.0",))  # its rate is 0
    assert not frozen_part(vit(pos_drop_rate=0.1).requires_grad_(False), IMAGES)
    spare_frozen_blocks(model)
    assert frozen_part(model, IMAGES).blocks == ("blocks.0", "blocks.1")
    assert model.blocks[2].drop_path1.p == pytest.approx(0.2)


def test_rows_are_those_of_the_images() -> None:
    images = torch.randint(256, (7, 3, 4, 4), dtype=torch.uint8)
    batches = DeviceBatches(images, torch.arange(7), 3, shuffle=True, random_flip=True, seed=1)
    drawn = list(batches.with_rows())
    assert [(a[0].tolist(), a[1].tolist()) for a in drawn] == [(a.tolist(), b.tolist()) for a, b in batches]
    for pictures, labels, rows in drawn:
        assert torch.equal(mirror(images[rows % 7], rows >= 7), pictures) and torch.equal(rows % 7, labels)
    assert any((rows >= 7).any() and (rows < 7).any() for _, _, rows in drawn)


def run(folder: Path, options: dict[str, str], **more: str) -> tuple[dict[str, Any], dict[str, torch.Tensor], str]:
    result = call(*words(options, **more), cwd=folder)
    assert result.code == 0, result.err
    (path,) = (folder / "results/records").rglob("*.json")
    return read_record(path), load_file(path.with_suffix(".safetensors")), result.err


SLOW = [
    pytest.param(name, marks=pytest.mark.slow)
    for name in ("lst", "linear", "linear protocol=tune", "lora method.blocks=last:2")
]


@pytest.mark.parametrize("method", ["partial", *SLOW])
def test_a_run_ends_where_it_ends_without_the_cache(
    method: str, nano_pack: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also from a file instead of memory, and after a stop."""
    method, *more = method.split()
    options = (
        nano_pack
        | RECIPE
        | dict(word.split("=") for word in more)
        | {"method": method, "recipe.mlp_dropout": "0.1" if method == "partial" else "0"}
    )
    options["recipe.drop_path_from"] = "trained"
    for name in ("off", "memory", "file"):
        (tmp_path / name).mkdir()
    filled = []
    fill = FrozenCache.fill
    monkeypatch.setattr(FrozenCache, "fill", lambda self: (filled.append(self), fill(self)))
    record, expected, _ = run(tmp_path / "off", options, trainer__frozen_cache="off")
    assert not filled
    options["trainer.frozen_cache_gib"] = "1"
    kept_record, kept, err = run(tmp_path / "memory", options)
    assert len(filled) == 1 and err == "" and kept_record["hash"] == record["hash"]
    assert kept_record["curves"]["train_loss"] == pytest.approx(record["curves"]["train_loss"], rel=1e-5)
    assert kept_record["curves"].get("val200_top1") == record["curves"].get("val200_top1")
    for name, tensor in expected.items():
        torch.testing.assert_close(kept[name], tensor, rtol=1e-3, atol=1e-4, msg=name)
    with killed_in_step(4), pytest.raises(Killed):
        call(*words(options, trainer__frozen_cache_gib="0"), cwd=tmp_path / "file")
    _, resumed, err = run(tmp_path / "file", options, trainer__frozen_cache_gib="0")
    assert "going on after epoch" in err
    assert all(torch.equal(tensor, kept[name]) for name, tensor in resumed.items())
    assert not list(tmp_path.rglob(".frozen-*"))


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"trainer.compile": "true"}, "trainer.compile=true"),
        ({"recipe.mlp_dropout": "0.1"}, "blocks.0.mlp.drop1 is random"),
    ],
)
def test_it_says_why_not(
    given: dict[str, str], reason: str, nano_pack: dict[str, str], tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(fit_module, "compiled_blocks", lambda model, enabled: fit_module._quiet_lightning())
    _, _, err = run(tmp_path, nano_pack | RECIPE | {"method": "partial"} | given)
    (line,) = err.splitlines()
    assert line.endswith(f"frozen activations are computed in every step: {reason}")
