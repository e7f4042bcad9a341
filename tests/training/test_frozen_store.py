"""Runs share frozen activations on disk: the same bits, made again where they are damaged or of something else."""

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from frozen_jobs import images, job
from safetensors.torch import load_file, save_file

from aoft_bench.training import frozen_cache as frozen_cache_module
from aoft_bench.training import frozen_fill, frozen_store
from aoft_bench.training.frozen_cache import FrozenCache
from aoft_bench.training.frozen_fill import frozen_cache
from aoft_bench.training.frozen_store import FrozenStore
from aoft_bench.training.job import TrainingJob
from aoft_bench.training.model import spare_frozen_blocks
from aoft_bench.training.shards import Shard

Seen = tuple[dict[str, torch.Tensor], int, str]  # what is kept, how often it was computed, and what was said


@pytest.fixture
def filled(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[[TrainingJob], Seen]:
    """A function that fills the cache of a job."""
    computed: list[FrozenCache] = []
    fill = FrozenCache.fill
    monkeypatch.setattr(FrozenCache, "fill", lambda self: (computed.append(self), fill(self)))

    def run(job: TrainingJob) -> Seen:
        computed.clear()
        with frozen_cache(job) as cache:
            values = {path: tensor.clone() for path, tensor in cache._values.items()} if cache else {}
        return values, len(computed), capsys.readouterr().err.removeprefix("the run: ").strip()

    return run


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[path], other[path]) for path in one)


def test_the_second_run_reads_what_the_first_one_computed(tmp_path: Path, filled: Callable[..., Seen]) -> None:
    first, count, said = filled(job(tmp_path, blocks="last:1"))
    assert (count, said, list(first)) == (1, "", ["blocks.1"])
    assert first["blocks.1"].shape == (24, 17, 32)  # images and their mirror images
    again, count, said = filled(job(tmp_path, blocks="last:1"))
    assert (count, said) == (0, "") and same(again, first)
    small, count, said = filled(job(tmp_path, blocks="last:1", of_trainer={"frozen_cache_gib": 0.0}))
    assert (count, said) == (0, "") and same(small, first)  # read from the file in every step
    # of another method, with another rate, the same blocks are before what is trained
    made = job(tmp_path, "adapter", blocks="last:1", of_recipe={"lr": 1e-4}, of_network={"drop_path_rate": 0.1})
    spare_frozen_blocks(made.adapted.model)
    other, count, said = filled(made)
    assert (count, said) == (0, "") and same(other, first)
    # the final norm, which partial fine-tuning trains, stands behind
    assert filled(job(tmp_path, "partial"))[1] == 0


OTHERS: dict[str, dict[str, Any]] = {
    "weights": {"of_network": {"init_values": 0.5}},
    "images": {"pixels": images(1)},
    "number of images": {"pixels": images(count=11)},
    "images that are scored": {"scored": "val200"},
    "blocks": {"blocks": "last:2"},
    "batch of the pass": {"of_trainer": {"eval_batch_size": 4}},
    "activation": {"of_network": {"act_layer": torch.nn.ReLU}},
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_nothing_is_shared_between_runs_that_compute_something_else(
    other: dict[str, Any], tmp_path: Path, filled: Callable[..., Seen]
) -> None:
    filled(job(tmp_path, blocks="last:1"))
    _, count, said = filled(job(tmp_path, **{"blocks": "last:1", **other}))
    assert (count, said, len(list((tmp_path / "shared").glob("*.safetensors")))) == (1, "", 2)


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def falsify(path: Path) -> None:
    """Other values, with the checksum that belongs to them."""
    values = {name: torch.ones_like(tensor) for name, tensor in load_file(path).items()}
    save_file(values, path, {"key": path.stem, "sha256": frozen_store._digest(values)})


def rename(path: Path) -> None:
    """The file of another key."""
    save_file(load_file(path), path, {"key": "another", "sha256": "0"})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (damage, "is damaged (its checksum does not match); it was made again"),
        (lambda path: path.write_bytes(path.read_bytes()[:100]), "is damaged (SafetensorError); it was made again"),
        (rename, "is of other weights or images; it was made again"),
        (falsify, "holds other activations than this network computes; it was made again"),
    ],
)
def test_a_file_that_is_damaged_or_foreign_is_made_again(
    change: Callable[[Path], None], said: str, tmp_path: Path, filled: Callable[..., Seen]
) -> None:
    first, _, _ = filled(job(tmp_path, blocks="last:1"))
    (path,) = (tmp_path / "shared").glob("*.safetensors")
    change(path)
    again, count, err = filled(job(tmp_path, blocks="last:1"))
    assert (count, err) == (1, f"{path} {said}") and same(again, first)
    assert filled(job(tmp_path, blocks="last:1"))[1:] == (0, "")


def test_the_folder_keeps_to_its_limit(tmp_path: Path) -> None:
    values = {"": torch.ones(1000)}
    stores = [FrozenStore(tmp_path, key, limit=10_000) for key in "abc"]
    for age, store in enumerate(stores[:2]):
        assert store.write(values) == ""
        os.utime(store.path, (age, age))
    assert same(stores[0].read()[0], values)  # which makes it the newer one
    with stores[2].locked():
        assert stores[2].write(values) == ""
    assert [store.path.exists() for store in stores] == [True, False, True]
    with stores[0].locked():  # it is in use
        os.utime(stores[0].path, (0, 0))
        assert FrozenStore(tmp_path, "d", limit=5_000).write(values) == ""
    assert stores[0].path.exists() and not stores[2].path.exists()
    assert FrozenStore(tmp_path, "e", limit=100).write(values) == (
        "they take 0.00 GiB, 0.00 GiB are allowed (trainer.frozen_shared_gib)"
    )


def test_it_is_used_without_a_folder_that_can_be_written(tmp_path: Path, filled: Callable[..., Seen]) -> None:
    (tmp_path / "shared").write_text("a file")
    values, count, said = filled(job(tmp_path, blocks="last:1"))
    assert values and count == 1 and said.startswith("frozen activations are not shared: ") and "\n" not in said


def replaced(made: TrainingJob, **changes: Any) -> TrainingJob:
    return TrainingJob(**{**vars(made), **changes})


def test_it_says_why_nothing_is_kept(
    tmp_path: Path, filled: Callable[..., Seen], monkeypatch: pytest.MonkeyPatch
) -> None:
    unused = frozen_fill.UNUSED
    several = replaced(job(tmp_path, blocks="last:1"), shard=Shard(0, 2))
    assert filled(several) == ({}, 0, unused + "several processes train one model")
    of_pixels = job(tmp_path, "bitfit", of_trainer={"frozen_cache": "shared"})  # it trains the patch embedding
    assert filled(of_pixels) == ({}, 0, unused + "nothing stands before the first trained parameter")
    assert filled(job(tmp_path, "bitfit")) == ({}, 0, "")
    twice = job(tmp_path, "pace", blocks="last:1")  # two passes over the same images in each step
    assert filled(twice) == ({}, 0, unused + "PACE computes its loss in a way of its own")
    small = job(tmp_path, blocks="last:1", of_trainer={"frozen_cache_gib": 0.0})
    values, count, said = filled(small)
    assert values and count == 1
    assert said == "frozen activations are not shared: they do not fit into the memory"
    monkeypatch.setattr(frozen_cache_module.shutil, "disk_usage", lambda folder: SimpleNamespace(free=0))
    none, count, no_disk = filled(small)
    assert none == {} and no_disk.startswith(f"{unused}it would take 0.0 GiB, 0.0 GiB of memory are allowed (trainer")
    assert no_disk.endswith(f"and the disk of {tmp_path} has too little room")
    monkeypatch.undo()
    said = filled(replaced(small, shared=None))[2]
    assert said == "frozen activations are in a file: they are larger than trainer.frozen_cache_gib allows"


def test_they_are_not_shared_beyond_the_limit(tmp_path: Path, filled: Callable[..., Seen]) -> None:
    values, count, said = filled(job(tmp_path, blocks="last:1", of_trainer={"frozen_shared_gib": 0.0}))
    assert values and count == 1
    assert said.startswith(
        "frozen activations are not shared: they take 0.00 GiB, 0.00 GiB are allowed (trainer.frozen"
    )
    assert not list((tmp_path / "shared").glob("*.safetensors"))


@pytest.mark.parametrize("method", ["linear", "lst", "res_tuning", "dtl", "vqt", "synqt"])
def test_what_is_kept_of_a_network_beside_the_backbone(
    method: str, tmp_path: Path, filled: Callable[..., Seen]
) -> None:
    """The tokens of all blocks, or of those before the trunk is written back; of a linear probe the features."""
    values, _, said = filled(job(tmp_path, method, **({"reduction": 2} if method == "lst" else {})))
    number = {"linear": 0, "dtl": 2}.get(method, 3)
    blocks = [f"blocks.{index}.block" for index in range(number)] or [""]
    assert (list(values), said) == (blocks, "")
