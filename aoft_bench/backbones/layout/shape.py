"""The sizes of a plain ViT, in which formulas of parameter counts are written."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """The sizes that formulas of parameter counts are written in, for a plain ViT.

    depth: number of blocks L; width: token width D; hidden: width H of the feed-forward part, usually 4 D; parameters:
    of the whole network without its head; heads: of the attention. These two where they are known. from_pixels: whether
    a method acts on what stands before the blocks too, the patch embedding and the tokens.
    """

    depth: int
    width: int
    hidden: int
    parameters: int | None = None
    heads: int | None = None
    from_pixels: bool = True

    @property
    def of_blocks(self) -> int:
        """Parameters of the blocks, and of the norm behind them: L (4 D^2 + 2 D H + 9 D + H) + 2 D."""
        d, h = self.width, self.hidden
        return self.depth * (4 * d * d + 2 * d * h + 9 * d + h) + 2 * d

    def sides(self, target: str) -> tuple[int, int]:
        """(inputs, outputs) of one of the matrices q, k, v, proj, fc1, fc2."""
        of_ffn = {"fc1": (self.width, self.hidden), "fc2": (self.hidden, self.width)}
        return of_ffn.get(target, (self.width, self.width))


VIT_B16 = Shape(depth=12, width=768, hidden=3072, parameters=85_798_656, heads=12)  # at 224 px
