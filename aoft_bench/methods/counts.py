"""Parameter counts of an adapted model: exact, with and without the head."""

import re
from collections import Counter

from aoft_bench.methods import Handle


def parameter_counts(handle: Handle) -> dict[str, int]:
    """trained: without the head; head; trained_with_head; backbone: of the frozen network without its head."""
    trained = handle.trainable_parameters(head=False)
    head = handle.trainable_parameters() - trained
    backbone = handle.backbone_parameters()
    return {"trained": trained, "head": head, "trained_with_head": trained + head, "backbone": backbone}


def parameter_table(handle: Handle, title: str) -> str:
    """A text table of what is trained, blocks summed, and what is frozen."""
    counts = parameter_counts(handle)
    rows: Counter[str] = Counter()
    for name, parameter in handle.trained():
        rows[re.sub(r"\.\d+(?=\.|$)", ".*", name)] += parameter.numel()
    width = max(map(len, [*rows, "trained without the head"]))
    lines = [title] + [f"  {name:<{width}}  {count:>12,}" for name, count in rows.items()]
    share = 100 * counts["trained"] / counts["backbone"]
    lines += [
        "  " + "-" * (width + 14),
        f"  {'trained without the head':<{width}}  {counts['trained']:>12,}   {share:.3f} % of the backbone",
        f"  {'trained with the head':<{width}}  {counts['trained_with_head']:>12,}",
        f"  {'backbone':<{width}}  {counts['backbone']:>12,}",
    ]
    return "\n".join(lines)
