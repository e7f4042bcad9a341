"""What a step costs where frozen activations are kept, counted as in methods/test_step_cost.py, and its numbers."""

from pathlib import Path
from typing import Any

import pytest
import torch
from frozen_jobs import job
from networks import perturb
from step_costs import Counts, counts_of

from aoft_bench.data.transforms import normalize
from aoft_bench.training.frozen_fill import frozen_cache
from aoft_bench.training.job import TrainingJob

TOKENS = 4 * 17 * 32 * 4  # bytes of the tokens of a batch


def step(folder: Path, kept: bool, method: str, depth: int = 3, **options: Any) -> Counts:
    made = job(folder, method, of_network={"depth": depth}, **options)
    handle = made.adapted.handle
    images, labels, *_ = next(iter(made.batches))
    if not kept:
        return counts_of(handle.model, lambda: handle.loss(normalized(made, images), labels))
    with frozen_cache(made) as cache:
        assert cache is not None
        cache.select(next(iter(cache.batches))[2])
        with cache.replaying():
            return counts_of(handle.model, lambda: handle.loss(normalized(made, images), labels))


def normalized(made: TrainingJob, images: torch.Tensor) -> torch.Tensor:
    return normalize(images, made.adapted.mean, made.adapted.std)


CASES = [("linear", {}), ("partial", {}), ("lora", {"blocks": "last:1"})]
BESIDE = [("lst", {"reduction": 2}), ("res_tuning", {}), ("vqt", {}), ("synqt", {})]


@pytest.mark.parametrize(("method", "options"), CASES)
def test_a_step_does_not_grow_with_the_blocks_before_what_is_trained(
    method: str, options: dict[str, Any], tmp_path: Path
) -> None:
    three, six = (step(tmp_path / str(depth), True, method, depth, **options) for depth in (3, 6))
    assert (three.operations, three.made, three.saved) == (six.operations, six.made, six.saved)
    without = step(tmp_path, False, method, **options)
    assert three.operations < without.operations and three.made < without.made
    assert three.saved <= without.saved + TOKENS  # what was looked up


@pytest.mark.parametrize(("method", "options"), CASES)
def test_without_the_cache_nothing_is_kept_for_the_blocks_before(
    method: str, options: dict[str, Any], tmp_path: Path
) -> None:
    three, six = (step(tmp_path, False, method, depth, **options) for depth in (3, 6))
    assert three.saved == six.saved
    floor = step(tmp_path, False, "bitfit", 6).operations - step(tmp_path, False, "bitfit", 3).operations
    assert six.operations - three.operations < floor / 2  # forward alone


@pytest.mark.parametrize(
    ("method", "options"), [BESIDE[0], *(pytest.param(*case, marks=pytest.mark.slow) for case in BESIDE[1:])]
)
def test_a_network_beside_the_backbone_looks_every_block_up(
    method: str, options: dict[str, Any], tmp_path: Path
) -> None:
    kept, without = (
        step(tmp_path / "6", how, method, 6, **options).operations
        - step(tmp_path, how, method, 3, **options).operations
        for how in (True, False)
    )
    block = step(tmp_path, False, "linear", 6).operations - step(tmp_path, False, "linear", 3).operations
    assert without - kept == block - 3  # of three blocks; one look-up each


@pytest.mark.parametrize(("method", "options"), CASES + BESIDE + [("dtl", {})])
def test_logits_are_those_of_the_images(method: str, options: dict[str, Any], tmp_path: Path) -> None:
    """After some training, since the head of a new model is zero."""
    made = job(tmp_path, method, **options)
    model = made.adapted.model.eval()
    perturb(made.adapted.handle)
    with frozen_cache(made) as cache, torch.no_grad():
        assert cache is not None
        for images, _, rows in cache.batches:  # in another order than they were kept, some of them mirrored
            expected = model(normalized(made, images))
            cache.select(rows)
            with cache.replaying():
                torch.testing.assert_close(model(normalized(made, images)), expected, rtol=1e-5, atol=1e-5)
            assert expected.std() > 1e-3


class Peeking(torch.nn.Module):
    """Adds what it makes of the tokens before the first block to what the head reads, in vain as long as w is zero."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.zeros(1))
        model.get_submodule("blocks.0").register_forward_pre_hook(lambda _, inputs: setattr(self, "seen", inputs[0]))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return tokens + self.scale * self.seen.mean()


def test_patch_embeddings_that_nothing_reads_are_not_computed(tmp_path: Path) -> None:
    read = {"partial": False, "lst": True, "res_tuning": False, "vqt": True}
    for method, reads in read.items():
        made = job(tmp_path / method, method, **({"reduction": 2} if method == "lst" else {}))
        with frozen_cache(made) as cache:
            assert cache is not None
            calls: list[int] = []
            embed = made.adapted.model.patch_embed.proj
            with cache.replaying(), embed.register_forward_hook(lambda *_, calls=calls: calls.append(1)):
                cache.select(torch.arange(4))
                made.adapted.model(torch.zeros(4, 3, 16, 16))
            assert len(calls) == reads, method
    made = job(tmp_path / "peeking", "partial")
    made.adapted.model.norm = torch.nn.Sequential(made.adapted.model.norm, Peeking(made.adapted.model))
    with frozen_cache(made) as cache:
        assert cache is not None and cache._no_patches is None


@pytest.mark.parametrize("method", ["linear", "partial", "lst"])
def test_images_that_are_scored_are_looked_up_too(method: str, tmp_path: Path) -> None:
    """In evaluation mode, bit for bit as they are computed, since the batches are the same. Test images are not."""
    made = job(tmp_path, method, scored="val200", **({"reduction": 2} if method == "lst" else {}))
    model = made.adapted.model.eval()
    perturb(made.adapted.handle)
    with frozen_cache(made) as cache, torch.no_grad():
        assert cache is not None and cache.scored is not None and made.score_batches is not None
        assert {len(values) for values in cache._values.values()} == {2 * 12 + 7}
        plain = list(made.score_batches)
        looked_up = list(cache.scored)
        assert [rows.tolist() for *_, rows in looked_up] == [[24, 25, 26, 27, 28], [29, 30]]
        for (images, labels), (same, same_labels, rows) in zip(plain, looked_up, strict=True):
            assert torch.equal(images, same) and torch.equal(labels, same_labels)
            cache.select(rows)
            with cache.replaying():
                logits = model(normalized(made, same))
            assert torch.equal(model(normalized(made, images)), logits) and logits.std() > 1e-3
    for scored in ("test", None):
        with frozen_cache(job(tmp_path, method, scored=scored)) as cache:
            assert cache is not None and cache.scored is None
