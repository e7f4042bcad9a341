"""Where an inserted module acts in a block: after a sublayer, beside it, or on the residual stream."""

from typing import Any

from torch import Tensor, nn

from aoft_bench.backbones.layout import Sublayer, attention_branch, feed_forward_branch, replace, sublayer_path


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


class WithAdapters(nn.Module):
    """A frozen block with adapters h -> adapter(h) on its residual stream: after the feed-forward part, that is after
    the block, and, if given, after attention."""

    def __init__(self, block: nn.Module, after_ffn: nn.Module, after_attention: nn.Module | None = None) -> None:
        super().__init__()
        self.block, self.after_ffn, self.after_attention = block, after_ffn, after_attention

    def forward(self, x: Tensor, **attention: Any) -> Tensor:
        if self.after_attention is None:
            return self.after_ffn(self.block(x, **attention))  # type: ignore[no-any-return]
        x = self.after_attention(x + attention_branch(self.block, x, **attention))
        return self.after_ffn(x + feed_forward_branch(self.block, x))  # type: ignore[no-any-return]


def insert_after(block: nn.Module, sublayer: Sublayer, adapter: nn.Module) -> None:
    """Put `adapter` after a sublayer of `block`, in the type and on the device of the block's weights."""
    path = sublayer_path(block, sublayer)
    replace(block, path, After(getattr(block, path), adapter.to(next(block.parameters()))))


def insert_beside(block: nn.Module, sublayer: Sublayer, adapter: nn.Module) -> None:
    """Put `adapter` beside a sublayer of `block`, in the type and on the device of the block's weights."""
    path = sublayer_path(block, sublayer)
    replace(block, path, Beside(getattr(block, path), adapter.to(next(block.parameters()))))
