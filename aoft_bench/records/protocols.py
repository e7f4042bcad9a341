"""What a number means: which images train, which are scored, and when."""

from dataclasses import dataclass
from typing import Literal

from aoft_bench.utils.errors import unknown


@dataclass(frozen=True)
class Protocol:
    """name; train: the split that is trained on; score: the split whose accuracy is the result; every_epoch: whether
    it is scored after each epoch too. The result is always that of the last epoch."""

    name: str
    train: Literal["train800", "train800val200"]
    score: Literal["val200", "test"]
    every_epoch: bool


PROTOCOLS = {
    # hyper-parameters come from `tune`, the last epoch counts, the test split is opened once, after training
    "clean": Protocol("clean", train="train800val200", score="test", every_epoch=False),
    # choosing hyper-parameters: test images are never read
    "tune": Protocol("tune", train="train800", score="val200", every_epoch=True),
    # most published tables keep the best test epoch; recorded beside the last one and labelled, never as the result
    "literature": Protocol("literature", train="train800val200", score="test", every_epoch=True),
}


def protocol(name: str) -> Protocol:
    """The protocol of that name; `UserError` with the closest if there is none."""
    if name not in PROTOCOLS:
        raise unknown("protocol", name, PROTOCOLS)
    return PROTOCOLS[name]
