"""Shards of a batch, for any batch and any number of processes: together they are the batch, and its gradient."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from aoft_bench.data.loader import DeviceBatches
from aoft_bench.methods.base import Objective
from aoft_bench.training.shards import IGNORED, Shard, ShardedBatches, ShardObjective

world_sizes = st.integers(1, 12)


@given(count=st.integers(0, 10_000), world_size=st.integers(1, 200))
def test_shards_are_disjoint_complete_and_differ_by_at_most_one(count: int, world_size: int) -> None:
    parts = [Shard(rank, world_size).slice_of(count) for rank in range(world_size)]
    assert [index for part in parts for index in range(count)[part]] == list(range(count))
    sizes = [part.stop - part.start for part in parts]
    assert min(sizes) >= 0 and max(sizes) - min(sizes) <= 1


@given(count=st.integers(1, 40), batch_size=st.integers(1, 16), world_size=world_sizes, seed=st.integers(0, 9))
@settings(max_examples=50)
def test_shards_are_the_batches_of_one_process_cut(count: int, batch_size: int, world_size: int, seed: int) -> None:
    images = torch.arange(count * 12).view(count, 3, 2, 2).to(torch.uint8)

    def batches() -> DeviceBatches:
        return DeviceBatches(images, torch.arange(count), batch_size, shuffle=True, random_flip=True, seed=seed)

    loaders = [ShardedBatches(batches(), Shard(rank, world_size)) for rank in range(world_size)]
    whole = batches()
    for loader in [whole, *loaders]:
        loader.sampler.set_epoch(2)
        assert len(loader) == -(-count // batch_size)
    for (pictures, labels), *parts in zip(whole, *loaders, strict=True):
        assert all(len(mine) == len(numbers) > 0 for mine, numbers, _ in parts)  # every process takes every step
        assert {size for _, _, size in parts} == {len(labels)}
        counted = [(mine, numbers) for mine, numbers, _ in parts if IGNORED not in numbers]
        assert torch.equal(torch.cat([numbers for _, numbers in counted]), labels)
        assert torch.equal(torch.cat([mine for mine, _ in counted]), pictures)
        assert len(counted) == min(world_size, len(labels))


@given(
    batch_size=st.integers(1, 12), world_size=world_sizes, smoothing=st.sampled_from([0.0, 0.1]), seed=st.integers(0, 9)
)
@settings(max_examples=50)
def test_the_mean_gradient_of_the_shards_is_that_of_the_whole_batch(
    batch_size: int, world_size: int, smoothing: float, seed: int
) -> None:
    torch.manual_seed(seed)
    layer = nn.Linear(6, 4).double()
    images, labels = torch.randn(batch_size, 6).double(), torch.randint(4, (batch_size,))
    whole, logits = Objective(smoothing), layer(images)
    (whole.cross_entropy(logits, labels) + whole.mean(logits.square().sum(1), labels)).backward()
    expected = [p.grad.clone() for p in layer.parameters()]
    sums = [torch.zeros_like(p) for p in layer.parameters()]
    for rank in range(world_size):
        ((mine, numbers, total),) = ShardedBatches([(images, labels)], Shard(rank, world_size))
        layer.zero_grad()
        objective, logits = ShardObjective(total, world_size, smoothing), layer(mine)
        (objective.cross_entropy(logits, numbers) + objective.mean(logits.square().sum(1), numbers)).backward()
        for kept, parameter in zip(sums, layer.parameters(), strict=True):
            kept += parameter.grad / world_size
    for got, wanted in zip(sums, expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=0, atol=1e-14)
