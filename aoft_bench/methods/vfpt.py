r"""VFPT: VPT-Deep, some of whose prompts go through a Fourier transform before they are inserted.

    [x_i, _, E_i] = block_i([x_{i-1}, F_i, S_i, E_{i-1}])       P_i (n, D) trained, of which the first m rows give
    F_i = Re(FFT2(P_i[:m])),   S_i = P_i[m:]                    F_i (m, D), S_i (n - m, D); m = n fraction, rounded down

x (prefix, D), E (patches, D) and _ are as in vpt_deep.py. FFT2 is the discrete Fourier transform over tokens and over
channels, without a factor: the entries of F are about sqrt(m D) times as large as those of S. P is drawn from U(-v, v),
v = sqrt(6 / (3 p^2 + D)) for patches of p x p pixels. Training does not start at the pre-trained function.

Parameters: L n D. ViT-B/16, n = 10: 92,160. The paper prints 0.57 % of the backbone on VTAB-1k (0.49 M), the average
over lengths and fractions that were tuned for each task; they are in a spreadsheet outside of the code.

Source: Zeng et al., NeurIPS 2024, arXiv 2411.01327, section 3.2; runtsang/VFPT at 1b3d984,
src/models/vit_prompt/vit_fourier.py, with the defaults of src/configs/config.py (both dimensions, half of the prompts,
the transformed ones first).

Differs from the paper: one length n (that of the README's command) and one fraction for all tasks; no dropout on the
prompts (theirs 0.1); AdamW with the common recipe instead of SGD with tuned rates. The outputs of the prompts are
removed after each block, as in vpt_deep.py.
"""

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from aoft_bench.methods.parts.prompts import insert_prompts, prompts_of_vpt
from aoft_bench.methods.registry import Method, Shape, method


class FourierPrompts(nn.Module):
    """n trained tokens of width D. Called without arguments: (n, D), the first `transformed` of them as F."""

    def __init__(self, prompts: nn.Module, transformed: int) -> None:
        super().__init__()
        self.prompts, self.transformed = prompts, transformed

    def forward(self) -> Tensor:
        tokens = self.prompts()
        return torch.cat([torch.fft.fft2(tokens[: self.transformed]).real, tokens[self.transformed :]])


@method("vfpt")
class VFPT(Method):
    """Options of VFPT. prompts: tokens a block, n; fraction: of them, how many are transformed, at least one."""

    prompts: Annotated[int, Field(ge=1)] = 10
    fraction: Annotated[float, Field(gt=0, le=1)] = 0.5

    source: ClassVar[str] = "arXiv 2411.01327, NeurIPS 2024; runtsang/VFPT@1b3d984 src/models/vit_prompt/vit_fourier.py"
    published: ClassVar[str] = "0.57 % on VTAB (0.49 M): lengths and fractions tuned per task (ours: 10, a half)"
    starts_at_backbone: ClassVar[bool] = False

    def attach(self, model: nn.Module) -> None:
        make, transformed = prompts_of_vpt(model, self.prompts), max(1, int(self.prompts * self.fraction))
        insert_prompts(model, "vfpt", self.prompts, lambda width: FourierPrompts(make(width), transformed))

    def count(self, shape: Shape) -> int:
        return shape.depth * self.prompts * shape.width
