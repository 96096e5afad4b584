"""How likely the best of many models keeps its bounds on other rows, too: each beside its like, and the choice among all made again.

Takes the points of a search and a Judge; gives priors for the chance of each point, and the chance of the one that was chosen, less what
the choice adds to it. Pure and seeded. Knows requirements that are about counts of rows; for others it has nothing to say.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fairlead.app.trial_quality import Judge
from fairlead.core.pass_use import PassUse
from fairlead.core.requirement import Requirement
from fairlead.core.search import Objective, PointStatus, SearchPoint
from fairlead.optimize.catalog import is_lossy
from fairlead.optimize.search.front import TIE, Finding, cost, ranked
from fairlead.optimize.search.space import Room, place_of
from fairlead.verify.keeping import JEFFREYS, Prior, Shown, drawn_again, priors_of

_TIMES = 40  # that the choice is made again
_LEVEL = 2 * math.log(TIE)  # of cost: what is further behind is no rival


def prior_for(point: SearchPoint, points: Iterable[SearchPoint], judge: Judge, objective: Objective) -> Callable[[Requirement], Prior]:
    """Return, for each requirement about a count, what other points show of models about as strong as `point`."""
    others = [one for one in _each_once(points) if one.candidate.passes != point.candidate.passes]

    def prior(item: Requirement) -> Prior:
        mine = _shown(point, item, judge, objective)
        if mine is None:
            return JEFFREYS
        return priors_of([*(found for one in others if (found := _shown(one, item, judge, objective)) is not None), mine])[-1]

    return prior


def _each_once(points: Iterable[SearchPoint]) -> list[SearchPoint]:
    """The first point of each recipe that loses something: another form or more threads make no other model."""
    found: dict[tuple[str, ...], SearchPoint] = {}
    for one in points:
        if one.status is not PointStatus.DUPLICATE and is_lossy(one.candidate.uses):
            found.setdefault(one.candidate.passes, one)
    return list(found.values())


def _shown(point: SearchPoint, item: Requirement, judge: Judge, objective: Objective) -> Shown | None:
    """What a point says about luck with a requirement; None where nothing is known. Strong is what the search looks for: small where size
    or memory counts, else fast, by a quick look where nothing else was measured.
    """
    counts = judge.counts(item, point.values, point.moved)
    time_ms = point.latency_ms if point.latency_ms is not None else point.about_ms
    strength = time_ms if objective is Objective.LATENCY else float(point.size_bytes)
    if counts is None or strength is None:
        return None
    return Shown(_kin(point.candidate.uses), strength, *counts)


def _kin(uses: Sequence[PassUse]) -> str:
    """The network or trees that it comes from: what only stores or computes them otherwise errs in the same rows."""
    return " + ".join(str(use) for use in uses if place_of(use.name).room is Room.STRUCTURE)


@dataclass(frozen=True)
class Choice:
    """What a search chose among: `models` with what they showed of one requirement, and their `findings`, in the same order. `chance` and
    `holds` tell of (lost, won) rows; `chance` also takes the prior.
    """

    models: Sequence[Shown]
    findings: Sequence[Finding]
    chance: Callable[[int, int, Prior], float]
    holds: Callable[[int, int], bool]
    rows: int
    objective: Objective


def excess(choice: Choice, seed: int) -> float:
    """Return by how much the chance of the one that is chosen is too high, in the mean, for being chosen: the same choice is made among
    models like these on drawn rows, and what is said of the best compared with what it shows on other rows.
    """
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(_TIMES):
        seen, new = drawn_again(choice.models, choice.rows, generator)
        again = _found_on(choice, seen)
        best = next(iter(ranked(again, choice.objective)), None)
        if best is not None:
            place = next(place for place, one in enumerate(again) if one is best)
            found.append(best.chance - choice.holds(*new[place]))
    return max(math.fsum(found) / len(found), 0.0) if found else 0.0


def _found_on(choice: Choice, seen: Sequence[tuple[int, int]]) -> list[Finding]:
    """The findings, had the models shown these counts; without the chance of those that it could not make the best."""
    shown = [replace(one, lost=lost, won=won) for one, (lost, won) in zip(choice.models, seen, strict=True)]
    learned = priors_of(shown)
    found = [replace(finding, holds_floor=choice.holds(*counts), chance=1.0) for finding, counts in zip(choice.findings, seen, strict=True)]
    least = [cost(one, choice.objective) for one in found]
    limit = math.inf
    for place in sorted(range(len(found)), key=least.__getitem__):
        is_hopeless = not found[place].holds_floor or least[place] > limit
        chance = 0.0 if is_hopeless else choice.chance(*seen[place], learned[place])
        found[place] = replace(found[place], chance=chance)
        if found[place].holds_floor:
            limit = min(limit, cost(found[place], choice.objective) + _LEVEL)
    return found


def chance_of_best(
    best: SearchPoint, points: Sequence[SearchPoint], findings: Sequence[Finding], judge: Judge, objective: Objective
) -> float | None:
    """Return how likely `best`, which was chosen among `points`, keeps its bounds on other rows; None where that cannot be told."""
    if best.chance is None:
        return None
    made = {tuple(map(str, one.recipe)): one for one in findings}
    choices = (_choice(item, points, made, judge, objective) for item in judge.requirements if item.is_loss_bound)
    most = max((excess(choice, judge.seed) for choice in choices if len(choice.models) > 1), default=0.0)
    return max(best.chance - most, 0.0)


def _choice(
    item: Requirement, points: Sequence[SearchPoint], made: Mapping[tuple[str, ...], Finding], judge: Judge, objective: Objective
) -> Choice:
    """What was chosen among, as far as it is about `item`."""
    found = ((made.get(one.candidate.passes), _shown(one, item, judge, objective)) for one in _each_once(points))
    known = [(finding, shown) for finding, shown in found if finding is not None and shown is not None]
    return Choice(
        [shown for _, shown in known],
        [finding for finding, _ in known],
        lambda lost, won, prior: judge.chance_of_counts(item, (lost, won), prior),
        lambda lost, won: judge.holds_counts(item, (lost, won)),
        judge.decision_count,
        objective,
    )
