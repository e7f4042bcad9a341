"""The embedded weights are worth adapting: a linear probe on them against the same probe on random weights."""

import numpy as np
import pytest
import torch

from aoft_bench.backbones.networks import build
from aoft_bench.backbones.weights import NANO_WEIGHTS
from aoft_bench.config.choices import backbone_options
from aoft_bench.data.loader import to_device
from aoft_bench.data.sources.embedded_images import LOADERS
from aoft_bench.data.transforms import normalize

IMAGES = 200  # of each split: the least difference is 18 points then
RATES = (1e-3, 1e-2)


def features(model: torch.nn.Module, images: np.ndarray) -> torch.Tensor:
    """What the head sees, (N, D)."""
    pixels = to_device(images, 32, "bicubic")
    with torch.inference_mode():
        return torch.cat([model(normalize(part, (0.5,) * 3, (0.5,) * 3)) for part in pixels.split(250)]).clone()


def probe(train: tuple[torch.Tensor, torch.Tensor], test: tuple[torch.Tensor, torch.Tensor], rate: float) -> float:
    """Top-1 in % of a zero-initialised linear head after 20 epochs of AdamW: what method=linear computes."""
    (x, y), (x_test, y_test) = train, test
    head = torch.nn.Linear(x.shape[1], int(y.max()) + 1)
    for parameter in head.parameters():
        torch.nn.init.zeros_(parameter)
    optimizer = torch.optim.AdamW(head.parameters(), lr=rate, weight_decay=1e-4)
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        for index in torch.randperm(len(x), generator=generator).split(32):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(head(x[index]), y[index]).backward()
            optimizer.step()
    with torch.inference_mode():
        return 100 * (head(x_test).argmax(1) == y_test).float().mean().item()


def best_probe(model: torch.nn.Module, task: str) -> float:
    """The better of two rates, chosen on the test images: this favours whichever network needs it more."""
    splits = LOADERS[task]()
    train, test = (
        (features(model, splits[name].images[:IMAGES]), torch.from_numpy(splits[name].labels[:IMAGES]))
        for name in ("train800", "test")
    )
    return max(probe(train, test, rate) for rate in RATES)


SHAPES = [pytest.param(f"shapes_{n}", marks=pytest.mark.slow) for n in ("count", "location", "orientation")]


@pytest.mark.parametrize("task", ["digits", *SHAPES])
def test_probe_beats_random_weights_by_ten_points(task):
    options = backbone_options("vit_nano")
    trained = build(options, num_classes=0).model.eval()
    torch.manual_seed(0)
    random = build(options, num_classes=0, weights=False).model.eval()
    assert best_probe(trained, task) >= best_probe(random, task) + 10


def test_the_file_is_small_and_has_no_head():
    from safetensors import safe_open

    assert NANO_WEIGHTS.stat().st_size <= 6e6
    with safe_open(NANO_WEIGHTS, framework="pt") as file:
        assert not [name for name in file.keys() if name.startswith("head")]  # noqa: SIM118
        assert file.metadata()
