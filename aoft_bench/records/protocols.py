"""What a number means: which images train, which are scored, and when.

A new protocol is an entry here, its name in `config.schema.ProtocolOptions`, and a file in conf/protocol that says what
it is for. tests/records/test_protocols.py holds the three together.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Protocol:
    """train: the split that is trained on. score: the split whose accuracy after the last epoch is the result.
    every_epoch: whether that split is also scored after each epoch."""

    name: str
    train: Literal["train800", "train800val200"]
    score: Literal["val200", "test"]
    every_epoch: bool

    @property
    def best_test_epoch(self) -> bool:
        """Whether a record also has the best test epoch. It is labelled in tables and never the result."""
        return self.every_epoch and self.score == "test"


PROTOCOLS = {
    entry.name: entry
    for entry in (
        # hyper-parameters come from `tune`; the test split is read once, after training
        Protocol("clean", train="train800val200", score="test", every_epoch=False),
        # for choosing hyper-parameters; test images are never read
        Protocol("tune", train="train800", score="val200", every_epoch=True),
        # most published tables report the best test epoch
        Protocol("literature", train="train800val200", score="test", every_epoch=True),
    )
}
