"""Critical-difference diagram: average ranks over the tasks, and which of them do not differ (Demšar, JMLR 2006)."""

from collections.abc import Callable
from functools import partial

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from aoft_bench.figures.drawing import Drawing, Plan
from aoft_bench.figures.series import Styles
from aoft_bench.figures.style import FONT_SIZE, WIDTH, new_figure
from aoft_bench.figures.text import text_width, wrapped
from aoft_bench.figures.values import NothingToDrawError, without_records
from aoft_bench.results.settings import Comparison
from aoft_bench.results.statistics import ALPHA, compare_ranks, not_comparable, pool_of

LINE = 1.5 * FONT_SIZE / 72  # inches from one name to the next
_EDGE = 0.05  # inches of margin at the sides
_NAMES = 1.15  # inches that a name may take before it is broken


def plans(comparison: Comparison, styles: Styles) -> list[Plan]:
    """One figure; raises `NothingToDrawError` where there is no critical difference."""
    if len(comparison.rows) < 2:
        raise NothingToDrawError("one method only")
    comparison = without_records(comparison)
    if reason := not_comparable(pool_of(comparison)):
        raise NothingToDrawError(reason)
    return [partial(_figure, comparison, styles)]


def _figure(comparison: Comparison, styles: Styles) -> Drawing:
    ranked = compare_ranks(pool_of(comparison))  # here, not in `plans`: it imports scipy, which takes a while
    assert ranked.cd is not None
    figure = diagram(ranked.methods, ranked.ranks, ranked.cd, ranked.groups, styles)
    caption = (
        f"average rank of top-1 over {len(ranked.tasks)} tasks, 1 is the best; a bar joins methods whose ranks "
        f"differ by no more than the critical difference (CD) of {ranked.cd:.2f} (Nemenyi, alpha = "
        f"{ALPHA:g}); Friedman's test that all are equal: p = {ranked.p_value:.2g}"
    )
    return Drawing("ranks", figure, caption)


def diagram(methods: list[str], ranks: list[float], cd: float, groups: list[list[str]], styles: Styles) -> Figure:
    """methods: labels from the best average rank to the worst; groups: those that do not differ."""
    ordered = list(zip(methods, ranks, strict=True))
    names = {label: wrapped(label, _NAMES) for label, _ in ordered}
    half = -(-len(ordered) // 2)
    left, right = ordered[:half], ordered[half:][::-1]  # the worst is the topmost at the right
    spans = _spans(dict(ordered), groups)
    levels = 1 + max((level for level, _, _ in spans), default=-1)
    bars = 0.08 + 0.06 * levels  # inches between the scale and the first name
    tall = max(sum(1 + names[label].count("\n") for label, _ in side) for side in (left, right)) * LINE
    top = 0.42
    height = top + bars + tall + _EDGE
    figure = new_figure(height)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, WIDTH), ylim=(height, 0))  # inches, from the top
    axes.axis("off")
    widest = [
        max((text_width(line) for label, _ in side for line in names[label].split("\n")), default=0.0)
        for side in (left, right)
    ]
    best, worst = 1, len(ordered)
    first, last = _EDGE + widest[0] + 0.12, WIDTH - _EDGE - widest[1] - 0.12

    def at(rank: float) -> float:
        return first + (rank - best) / (worst - best) * (last - first)

    _scale(axes, at, worst, top)
    _critical_difference(axes, at(1), at(1 + cd), cd)
    for level, low, high in spans:
        y = top + 0.07 + 0.06 * level
        axes.plot([at(low) - 0.03, at(high) + 0.03], [y, y], color="0.25", lw=2.2, solid_capstyle="butt", gid="group")
    for side, edge, align in ((left, _EDGE + widest[0], "right"), (right, WIDTH - _EDGE - widest[1], "left")):
        y = top + bars + LINE / 2
        for label, rank in side:
            extra = names[label].count("\n") * LINE / 2
            y += extra
            end = edge + (0.07 if align == "right" else -0.07)
            style = styles[label]
            axes.plot([at(rank), at(rank), end], [top, y, y], color=style.color, lw=0.7, gid=label)
            # beside the name and not at the rank, where the marks of others may stand
            axes.plot([end], [y], ls="", clip_on=False, zorder=3, **{**style.marks(), "markersize": 3.5})
            axes.text(edge, y, names[label], ha=align, va="center")
            y += LINE + extra
    return figure


def _spans(ranks: dict[str, float], groups: list[list[str]]) -> list[tuple[int, float, float]]:
    """(level, lowest, highest rank) of each group that is inside no other; those of one level do not touch."""
    ends = sorted({(min(ranks[label] for label in group), max(ranks[label] for label in group)) for group in groups})
    ends = [(low, high) for low, high in ends if low < high]
    ends = [pair for pair in ends if not any(o != pair and o[0] <= pair[0] and pair[1] <= o[1] for o in ends)]
    levels: list[float] = []  # where the last bar of each ends
    spans = []
    for low, high in ends:
        level = next((i for i, end in enumerate(levels) if end < low), len(levels))
        levels[level:] = [high, *levels[level + 1 :]]
        spans.append((level, low, high))
    return spans


def _scale(axes: Axes, at: Callable[[float], float], worst: int, top: float) -> None:
    axes.plot([at(1), at(worst)], [top, top], color="black", lw=0.8)
    step = next(s for s in (1, 2, 5, 10, 20) if worst / s <= 8)
    for rank in sorted({1, *range(step, worst + 1, step)} - ({step} if step == 2 else set())):
        axes.plot([at(rank)] * 2, [top - 0.04, top], color="black", lw=0.8)
        axes.text(at(rank), top - 0.05, str(rank), ha="center", va="bottom")


def _critical_difference(axes: Axes, low: float, high: float, cd: float) -> None:
    """The length of the critical difference, above the scale, from the best rank on."""
    y = 0.15
    axes.plot([low, high], [y, y], color="black", lw=0.8, gid="cd")
    for x in (low, high):
        axes.plot([x, x], [y - 0.03, y + 0.03], color="black", lw=0.8)
    axes.text((low + high) / 2, y - 0.03, f"CD = {cd:.2f}", ha="center", va="bottom")
