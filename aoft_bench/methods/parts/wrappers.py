"""Where an inserted module acts in a block: after a sublayer, beside it, or on the residual stream.

A sublayer is ``block.attn`` or ``block.mlp``; a plain pre-norm block computes

    x = x + attn(norm1(x));   x = x + mlp(norm2(x))
"""

from typing import Any

from torch import Tensor, nn

from aoft_bench.utils.errors import UserError


class After(nn.Module):
    """adapter(base(x)): on the output of a frozen sublayer, before it is added to the residual stream."""

    def __init__(self, base: nn.Module, adapter: nn.Module) -> None:
        super().__init__()
        self.base, self.adapter = base, adapter

    def forward(self, x: Tensor, **extra: Any) -> Tensor:
        return self.adapter(self.base(x, **extra))  # type: ignore[no-any-return]


class Beside(nn.Module):
    """base(x) + adapter(x): parallel to a frozen sublayer, on the same (normalised) input."""

    def __init__(self, base: nn.Module, adapter: nn.Module) -> None:
        super().__init__()
        self.base, self.adapter = base, adapter

    def forward(self, x: Tensor, **extra: Any) -> Tensor:
        return self.base(x, **extra) + self.adapter(x)  # type: ignore[no-any-return]


class OnStream(nn.Module):
    """A frozen block with adapters h -> adapter(h) on its residual stream: after the feed-forward part, that is after
    the block, and, if given, after attention."""

    def __init__(self, block: nn.Module, after_ffn: nn.Module, after_attention: nn.Module | None = None) -> None:
        super().__init__()
        self.block, self.after_ffn, self.after_attention = block, after_ffn, after_attention

    def forward(self, x: Tensor, **attention: Any) -> Tensor:
        if self.after_attention is None:
            return self.after_ffn(self.block(x, **attention))  # type: ignore[no-any-return]
        b: Any = self.block
        x = self.after_attention(x + b.drop_path1(b.ls1(b.attn(b.norm1(x), **attention))))
        return self.after_ffn(x + b.drop_path2(b.ls2(b.mlp(b.norm2(x)))))  # type: ignore[no-any-return]


def require_plain_block(block: nn.Module, method: str, advice: str = "use a plain ViT") -> None:
    """Raise `UserError` unless `block` is built as the formula above says (a Swin block is not)."""
    if not all(hasattr(block, part) for part in ("norm1", "ls1", "drop_path1", "norm2", "ls2", "drop_path2")):
        raise UserError(f"{method} cannot act inside a {type(block).__name__}; {advice}")
