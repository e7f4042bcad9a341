"""Successive halving: how far each setting of a grid is trained, and which of them go on.

All settings are trained up to the first rung, the best third of them up to the next, and so on to the last epoch. Each
is trained on the schedule of all epochs, so a rung is a stop on the way of the long run.

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
    """A plan for so many settings of `epochs` epochs, of which one in `factor`, rounded up, goes on from a rung.

    rungs: those before the last epoch; by default epochs / factor² and epochs / factor, rounded down.
    """
    given = [epochs // factor**2, epochs // factor] if rungs is None else rungs
    chosen = (*sorted({rung for rung in given if 0 < rung < epochs}), epochs)
    counts = [settings]
    while len(counts) < len(chosen):
        counts.append(-(-counts[-1] // factor))
    return Plan(chosen, tuple(counts))


def going_on(members: Sequence[str], scores: Mapping[str, float], places: int) -> list[str]:
    """Which members of a rung certainly go on to the next, which has so many places.

    scores: those that are known, `DIVERGED` included. Of equal scores the earlier member goes first.
    """
    place = {member: number for number, member in enumerate(members)}
    unknown = sum(member not in scores for member in members)
    ranked = sorted((m for m in members if m in scores), key=lambda member: (-scores[member], place[member]))
    return [member for member in ranked[: max(0, places - unknown)] if scores[member] != DIVERGED]
