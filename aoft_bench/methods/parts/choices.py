"""What `Method.prepare` chose from training images, read again when the method is attached."""

import torch
from torch import Tensor

from aoft_bench.methods.base import Prepared
from aoft_bench.utils.errors import UserError


def indices(prepared: Prepared, name: str, shape: tuple[int, ...], size: int) -> Tensor:
    """The indices (shape) int64 that were chosen under `name`, each below `size`.

    Where nothing was chosen, since only sizes matter, these are the first along the last axis. Raises `UserError` where
    they do not fit, as when they were chosen for another network.
    """
    if not prepared:
        return torch.arange(shape[-1]).expand(shape).clone()
    return _below(_read(prepared, name, torch.int64, shape), name, size)


def places(prepared: Prepared, name: str, size: int) -> Tensor:
    """The indices (n) int64 that were chosen under `name`, any number of them, rising and below `size`; `UserError`
    as in `indices`."""
    found = _below(_read(prepared, name, torch.int64, None), name, size)
    if found.ndim != 1 or not (found.diff() > 0).all():
        raise _of_another(f"{name} is not a list of rising indices")
    return found


def flags(prepared: Prepared, name: str, count: int) -> Tensor:
    """What was chosen under `name`, (count) bool; `UserError` as in `indices`."""
    return _read(prepared, name, torch.bool, (count,))


def _read(prepared: Prepared, name: str, dtype: torch.dtype, shape: tuple[int, ...] | None) -> Tensor:
    """A copy of the tensor under `name`. shape: None for any."""
    found = prepared.get(name)
    if found is None:
        raise _of_another(f"it has no {name}")
    if found.dtype != dtype:
        raise _of_another(f"{name} is {found.dtype}, not {dtype}")
    if shape is not None and tuple(found.shape) != shape:
        raise _of_another(f"{name} is of shape {tuple(found.shape)}, this network needs {shape}")
    return found.clone()


def _below(found: Tensor, name: str, size: int) -> Tensor:
    if found.numel() and not 0 <= int(found.min()) <= int(found.max()) < size:
        wrong = int(found.max()) if int(found.max()) >= size else int(found.min())
        raise _of_another(f"{name} is {wrong}, this network has 0 to {size - 1}")
    return found


def _of_another(problem: str) -> UserError:
    return UserError(f"what was prepared is of another network: {problem}; prepare it again with this one (batches=)")
