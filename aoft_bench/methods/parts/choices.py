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
    found = prepared.get(name)
    if found is None:
        problem = f"it has no {name}"
    elif found.dtype != torch.int64:
        problem = f"{name} is {found.dtype}, not torch.int64"
    elif tuple(found.shape) != shape:
        problem = f"{name} is of shape {tuple(found.shape)}, this network needs {shape}"
    elif found.numel() and not 0 <= int(found.min()) <= int(found.max()) < size:
        wrong = int(found.max()) if int(found.max()) >= size else int(found.min())
        problem = f"{name} is {wrong}, this network has 0 to {size - 1}"
    else:
        return found.clone()
    raise UserError(f"what was prepared is of another network: {problem}; prepare it again with this one (batches=)")
