"""Position embeddings brought to another grid of patches than the one they were trained for."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate


def resized(embed: Tensor, grid: Sequence[int], prefix: int, kind: str) -> Tensor:
    """Embeddings (1, prefix + h w, D) of a square grid h = w, for `grid`; those of the prefix tokens stay.

    kind: ``bicubic``, timm's, with antialiasing; ``zoom``, `zoomed`. Raises `ValueError` where h w is no square.
    """
    if kind == "zoom":
        return torch.cat([embed[:, :prefix], zoomed(embed[:, prefix:], grid)], dim=1)
    from timm.layers import resample_abs_pos_embed

    return resample_abs_pos_embed(embed, new_size=list(grid), num_prefix_tokens=prefix)


def zoomed(embed: Tensor, grid: Sequence[int]) -> Tensor:
    """What ``scipy.ndimage.zoom`` of order 1 makes of embeddings (1, h h, D): bilinear, the corners aligned."""
    side = round(embed.shape[1] ** 0.5)
    if side * side != embed.shape[1]:
        raise ValueError(f"{embed.shape[1]} patches are no square")
    channels_first = embed.double().view(1, side, side, -1).permute(0, 3, 1, 2)
    made = interpolate(channels_first, size=list(grid), mode="bilinear", align_corners=True)
    return made.flatten(2).mT.to(embed.dtype)
