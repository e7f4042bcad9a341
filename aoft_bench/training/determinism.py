"""Deterministic training on a GPU: the same bits from the same seed, also after a stop."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from aoft_bench.utils.errors import UserError

NOT_DETERMINISTIC = "does not have a deterministic implementation"  # from torch's error message


@contextmanager
def deterministic(label: str) -> Iterator[None]:
    """Raise `UserError` for an operation that torch refuses since it is not deterministic.

    The trainer's `deterministic=True` turns the refusal on. It also fills every new tensor, which costs a pass over its
    memory and is not needed here: no code reads uninitialized memory.
    """
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        yield
    except RuntimeError as error:
        if NOT_DETERMINISTIC not in str(error):
            raise
        operation = str(error).partition(NOT_DETERMINISTIC)[0].strip()
        raise UserError(
            f"{label}: {operation} is not deterministic on this GPU, so a run that is stopped could not go on bit for "
            "bit; allow it by trainer.deterministic=false"
        ) from None
