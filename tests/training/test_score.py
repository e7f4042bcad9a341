"""What is kept of the logits of scored images."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from aoft_bench.training.score import counts_of, predict


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
