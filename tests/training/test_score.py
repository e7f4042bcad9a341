"""What is kept of the logits of scored images."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from aoft_bench.training.score import counts_of, predict, score_shift


class Given(nn.Module):
    """Gives prepared logits, batch by batch."""

    def __init__(self, parts: list[Tensor]) -> None:
        super().__init__()
        self.parts = iter(parts)

    def forward(self, images: Tensor) -> Tensor:
        return next(self.parts)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_predictions_are_the_softmax_of_all_batches_in_order(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = (3 * torch.randn(7, 300, generator=generator)).to(dtype)
    logits[0] = 0  # a tie
    logits[1, 5] = 9e4  # beyond the numbers of 16 bits
    labels = torch.randint(300, (7,), generator=generator)
    labels[0], labels[2] = 0, int(logits[2].argmax())
    batches = [
        (torch.zeros(n, 3, 2, 2, dtype=torch.uint8), part) for n, part in zip((4, 3), labels.split(4), strict=True)
    ]
    half = (0.5, 0.5, 0.5)
    found, broken = predict(
        Given(list(logits.split(4))),
        batches,
        mean=half,
        std=half,
        device=torch.device("cpu"),
        precision="fp32",
        keep_logits=True,
    )
    exact = logits.double().softmax(1).numpy()
    rows = np.arange(7)
    assert found.label.dtype == found.predicted.dtype == np.uint16 and found.label.tolist() == labels.tolist()
    assert found.predicted.tolist() == logits.argmax(1).tolist()
    assert found.confidence == pytest.approx(exact.max(1), rel=1e-5)
    assert found.probability_of_label == pytest.approx(exact[rows, labels], rel=1e-5, abs=1e-38)
    assert found.sum_of_squares == pytest.approx((exact**2).sum(1), rel=1e-5)
    assert found.logits is not None and found.logits.dtype == np.float16 and np.isfinite(found.logits).all()
    assert [int(found.correct.sum()), len(found), broken] == counts_of(logits, labels).tolist()


def test_a_logit_that_is_not_finite_is_counted() -> None:
    logits = torch.zeros(3, 4)
    logits[0, 1], logits[2, 3] = float("nan"), float("inf")
    images = torch.zeros(3, 3, 2, 2, dtype=torch.uint8)
    half = (0.5, 0.5, 0.5)
    options = {"mean": half, "std": half, "device": torch.device("cpu"), "precision": "fp32"}
    found, broken = predict(Given([logits]), [(images, torch.zeros(3, dtype=torch.int64))], **options)
    assert broken == 2 and len(found) == 3 and found.logits is None


def test_a_set_of_few_classes_is_scored_among_these_and_among_all() -> None:
    """The likeliest of all classes is 2 everywhere, which the set has not; of its own, 1 and 3, it is 1."""
    logits = torch.tensor([[0.0, 3.0, 4.0, 2.0, 1.0]]).repeat(3, 1)
    batches = [(torch.zeros(n, 3, 2, 2, dtype=torch.uint8), part) for n, part in ((2, [1, 3]), (1, [1]))]
    batches = [(images, torch.tensor(part)) for images, part in batches]
    half = (0.5, 0.5, 0.5)
    options = {"mean": half, "std": half, "device": torch.device("cpu"), "precision": "fp32"}
    model = Given([logits[:2], logits[2:]])
    assert score_shift(model, batches, torch.tensor([1, 3]), **options) == ((2, 0, 3, 2), 0) and model.training
    model = Given([logits[:2], logits[2:]])
    assert score_shift(model, batches, torch.arange(5), **options) == ((0, 0, 3, 5), 0)
    broken = logits.clone()
    broken[2, 4] = torch.inf
    assert score_shift(Given([broken[:2], broken[2:]]), batches, torch.tensor([1, 3]), **options)[1] == 1
