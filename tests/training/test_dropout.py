"""Dropout drops as many values as it says, scales the others, and goes on from the state of torch's generator."""

import pytest
import torch
from torch import nn

from aoft_bench.training.dropout import Dropout


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_the_share_that_is_dropped_and_the_scale(p: float) -> None:
    torch.manual_seed(0)
    y = Dropout(p)(torch.ones(401, 2503, dtype=torch.float64))
    dropped = round(65536 * p) / 65536
    assert set(y.unique().tolist()) == {0.0, 1 / (1 - dropped)}
    deviation = (dropped * (1 - dropped) / y.numel()) ** 0.5
    assert abs((y == 0).double().mean().item() - dropped) < 5 * deviation
    of_columns = (y == 0).double().mean(dim=0)  # no value is dropped more often for its place
    assert abs(of_columns - dropped).max() < 6 * (dropped * (1 - dropped) / len(y)) ** 0.5
    neighbours = (y[:, 1:] == 0) & (y[:, :-1] == 0)
    assert abs(neighbours.double().mean().item() - dropped**2) < 10 * deviation


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("shape", [(1,), (3, 5), (2, 3, 7)])
def test_values_and_gradients_are_those_of_the_mask(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, dtype=dtype, requires_grad=True)
    y = Dropout(0.3)(x)
    factor = (y != 0).to(dtype) * (65536 / (65536 - round(65536 * 0.3)))
    assert y.dtype == dtype and torch.equal(y, x * factor)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(gradient, factor)


def test_masks_come_from_torchs_generator() -> None:
    layer, x = Dropout(0.5), torch.ones(1000)
    torch.manual_seed(1)
    first = layer(x)
    state = torch.get_rng_state()
    second = layer(x)
    assert not torch.equal(first, second)
    torch.set_rng_state(state)
    assert torch.equal(layer(x), second)
    torch.manual_seed(1)
    assert torch.equal(layer(x), first)


def test_nothing_is_dropped_outside_training_and_at_zero() -> None:
    x, state = torch.randn(100), torch.get_rng_state()
    assert torch.equal(Dropout(0.5).eval()(x), x) and torch.equal(Dropout(0.0)(x), x)
    assert torch.equal(torch.get_rng_state(), state)
    assert not Dropout(1.0)(x).any()


def test_it_is_a_dropout_of_torch() -> None:
    """What looks for dropouts finds it: blocks before the first trained parameter are spared, the cache refuses it."""
    assert isinstance(Dropout(0.1), nn.Dropout)
