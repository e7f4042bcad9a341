"""Successive halving: how far each setting of a grid is trained, and which of them go on.

All settings are trained up to the first rung, the best of them up to the next, and so on to the last epoch. Each is
trained on the schedule of all epochs, so a rung is a stop on the way of the long run.

A decision waits until nothing can change it any more. It then does not depend on how many processes work on the search,
nor on which of them is the fastest. (Optuna's SuccessiveHalvingPruner compares a trial with those that came before it.)

Jamieson and Talwalkar, Non-stochastic Best Arm Identification and Hyperparameter Optimization, AISTATS 2016.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

FACTOR = 3
DIVERGED = float("-inf")  # the score of a setting that came to NaN: behind all others, and never goes on


@dataclass(frozen=True)
class Plan:
    """rungs: after how many epochs settings are compared, the last one all epochs; settings: how many get to each."""

    rungs: tuple[int, ...]
    settings: tuple[int, ...]

    @property
    def spent(self) -> int:
        """Epochs of training for one seed, if none diverges."""
        steps = [self.rungs[0], *(end - start for start, end in pairwise(self.rungs))]
        return sum(count * step for count, step in zip(self.settings, steps, strict=True))

    @property
    def of_grid(self) -> int:
        """Epochs for one seed of all settings trained to the end."""
        return self.settings[0] * self.rungs[-1]


def plan(settings: int, epochs: int, factor: int = FACTOR, rungs: Sequence[int] | None = None) -> Plan:
    """A plan for so many settings of `epochs` epochs.

    rungs: those before the last epoch, from each of which one setting in `factor`, rounded up, goes on. By default one
    rung, at epochs / factor² or the first epoch, from which as many go on as 1 / factor of the grid's epochs allow. A
    score so early says which settings are among the best, not which is the best: where only one could go on, there is a
    second rung, at epochs / factor (docs/tuning.md).
    """
    first = max(1, epochs // factor**2) if epochs >= factor else epochs
    places = (settings * epochs // factor - settings * first) // max(1, epochs - first)
    if rungs is None and places > 1:
        return Plan((first, epochs), (settings, places))
    given = [first, epochs // factor] if rungs is None else rungs
    chosen = (*sorted({rung for rung in given if 0 < rung < epochs}), epochs)
    counts = [settings]
    while len(counts) < len(chosen):
        counts.append(-(-counts[-1] // factor))
    return Plan(chosen, tuple(counts))


def going_on(members: Sequence[str], scores: Mapping[str, float], places: int, to_come: int = 0) -> list[str]:
    """Which members of a rung certainly go on to the next, which has so many places, the best first.

    members: names, of words option=value. scores: those that are known, `DIVERGED` included. to_come: how many members
    the rung may still get. Of equal scores the earlier member goes first, and after it the one that differs in the most
    options from those that go on: two that differ in an option without effect would take two places for one.
    """
    unknown = to_come + sum(member not in scores for member in members)
    left = [member for member in members if scores.get(member, DIVERGED) != DIVERGED]
    if unknown:  # they may be better than any, and decide between equal ones
        safe = [m for m in left if sum(scores[other] >= scores[m] for other in left) + unknown <= places]
        return sorted(safe, key=lambda member: -scores[member])
    chosen: list[str] = []
    while left and len(chosen) < places:
        best = max(scores[member] for member in left)
        # the first of those that differ most
        chosen.append(max((m for m in left if scores[m] == best), key=lambda m: _differing(m, chosen)))
        left.remove(chosen[-1])
    return chosen


def _differing(member: str, chosen: Sequence[str]) -> int:
    """In how many options a member differs from the one among `chosen` that is most like it."""
    return min((len({*member.split()} - {*other.split()}) for other in chosen), default=0)
