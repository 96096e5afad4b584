"""Which findings are worth keeping: the cost that orders them, and the front that nothing beats. Pure.

A Finding is what one trial showed. Lower is better in everything. Within TIE of the fastest, the smaller model is the better one: so small
a difference in time is not worth bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fairlead.core.search import Objective
from fairlead.optimize.search.space import Recipe

TIE = 1.03
_SLOWER, _SHORT = 100.0, 10.0  # what a model slower than the baseline, or one beyond a bound, is worse by: more than any ratio in use
_SECOND = 0.05  # weight of the other measure, in logarithms: it decides between equals
_BREACH = math.log(4)  # a promise broken on other rows weighs as much as being four times slower
_SURE = 0.9  # a chance of so much is as good as certain: other rows judge before anything is taken


@dataclass(frozen=True)
class Finding:
    """What a trial of `recipe` showed.

    `holds_floor`: built, run, and within every requirement on what may be lost. `shortfall` is by how much the other bounds are missed, as
    the sum of logarithms of measured over bound (0: all are kept). `time_ratio` is its time over the baseline's, `is_slower` what paired
    runs say; `loss` is what it lost in the floor's metric; `chance` how likely it holds the floor on other rows, too: a lucky model
    is not a good one.
    """

    recipe: Recipe
    holds_floor: bool
    size_bytes: int = 0
    time_ratio: float = math.inf
    memory_bytes: int = 0
    shortfall: float = 0.0
    is_slower: bool = False
    is_failed: bool = False
    loss: float = 0.0
    chance: float = 1.0

    @property
    def weighed_time(self) -> float:
        """Its time over the baseline's, and what is to be expected where it does not hold on other rows."""
        return self.time_ratio * math.exp(self.risk)

    @property
    def risk(self) -> float:
        """What it costs that it may break a bound on other rows, in logarithms of time."""
        return _BREACH * max(_SURE - self.chance, 0.0) / _SURE


def cost(finding: Finding, objective: Objective) -> float:
    """Return what orders findings that hold the floor: bounds first, then not slower than the baseline, then the objective, and how likely
    the floor holds on other rows.
    """
    time, size = math.log(max(finding.time_ratio, 1e-9)), math.log(max(finding.size_bytes, 1))
    first = {Objective.LATENCY: time, Objective.SIZE: size, Objective.MEMORY: math.log(max(finding.memory_bytes, 1))}[objective]
    second = time if objective is Objective.SIZE else size
    return _SHORT * finding.shortfall + _SLOWER * finding.is_slower + first + _SECOND * second + finding.risk


def ranked(findings: Sequence[Finding], objective: Objective) -> tuple[Finding, ...]:
    """Return the findings that hold the floor, best first; what cannot be told apart by time is ordered by size."""
    holding = sorted((one for one in findings if one.holds_floor), key=lambda one: (cost(one, objective), -one.chance, *_plainness(one)))
    if objective is not Objective.LATENCY or len(holding) < 2:
        return tuple(holding)
    first = holding[0]
    level = (first.shortfall, first.is_slower)
    near = [one for one in holding if (one.shortfall, one.is_slower) == level and one.weighed_time <= _fastest(holding, level) * TIE]
    near.sort(key=lambda one: (one.size_bytes, one.weighed_time, -one.chance, *_plainness(one)))
    return (*near, *(one for one in holding if one not in near))


def _plainness(finding: Finding) -> tuple[int, int, str]:
    """Of equals the one with the fewest passes, and with the fewest settings."""
    return len(finding.recipe), sum(len(use.settings) for use in finding.recipe), str(finding.recipe)


def _fastest(holding: Sequence[Finding], level: tuple[float, bool]) -> float:
    return min(one.weighed_time for one in holding if (one.shortfall, one.is_slower) == level)


def pareto(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Return those that hold the floor and that no other beats in time, size and loss at once; fastest first.

    Of several that are equal in all three, the one with the fewest passes stays.
    """
    holding = sorted((one for one in findings if one.holds_floor), key=_plainness)
    front = [
        one
        for place, one in enumerate(holding)
        if not any(_beats(other, one, before=number < place) for number, other in enumerate(holding))
    ]
    return tuple(sorted(front, key=lambda one: (one.time_ratio, one.size_bytes, one.loss)))


def _beats(other: Finding, one: Finding, *, before: bool) -> bool:
    if other is one:
        return False
    mine, theirs = (one.time_ratio, one.size_bytes, one.loss), (other.time_ratio, other.size_bytes, other.loss)
    if mine == theirs:
        return before
    return all(left <= right for left, right in zip(theirs, mine, strict=True))
