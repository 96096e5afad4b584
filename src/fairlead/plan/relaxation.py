"""The smallest relaxation of a promise that nothing keeps: which bound has to give, how far, and which candidate fits then. Pure.

Takes what was measured and the requirements in the user's order; gives core Relaxations. Never measures, and never calls a candidate fit
whose values are not all known.

The law (tests hold it): with the relaxation a candidate keeps every requirement; with each bound moved only 95 % of the way none does. It
follows from the order below. A candidate fits as soon as every requirement that it breaks reaches its measured value, so there is one
relaxation per candidate to look at. The smallest has the fewest requirements, then the fewest bounds of 0 (whose change is no ratio), then
the smallest sum of relative changes. No other candidate can need less of each of the same bounds: it would come first itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from fairlead.core.ledger import Measured, Relaxation
from fairlead.core.requirement import METRICS, MetricKind, Requirement

_OVERSHOOT_RATIO = 0.04  # a rounded bound goes at most this much further than needed: below 1/0.95 - 1, so that 95 % of it is too little
_EXACT_COUNT = 10**6  # whole numbers up to this many are said as they are
_DIGITS = 17  # tell any two floating-point numbers apart
_SAME_DIGITS = 9  # sizes that agree in so many digits are ties; far finer than the 5 % of the law
_TIMED = (MetricKind.LATENCY, MetricKind.THROUGHPUT, MetricKind.MEMORY)


@dataclass(frozen=True)
class Need:
    """What `candidate` needs to fit: the `broken` requirements (by their place in the user's order) and its values of them."""

    candidate: str
    broken: tuple[int, ...]
    values: tuple[float, ...]
    size: tuple[float, ...]  # smaller is better; see the module's order

    @property
    def order(self) -> tuple[float, ...]:
        """How to choose among needs of one size: what stands last in the user's list gives way first."""
        return tuple(-place for place in reversed(self.broken))


def needs(measured: Sequence[Measured], requirements: Sequence[Requirement]) -> tuple[Need, ...]:
    """Return what each candidate needs that is fully measured, breaks something, and could be taken; the smallest first."""
    found = []
    for item in measured:
        need = need_of(item, requirements) if is_complete(item, requirements) else None
        if need is not None and need.broken:
            found.append(need)
    return tuple(sorted(found, key=lambda need: (need.size, need.order)))


def is_complete(item: Measured, requirements: Sequence[Requirement]) -> bool:
    """Whether every requirement was measured."""
    return all(one.name in item.values for one in requirements)


def need_of(item: Measured, requirements: Sequence[Requirement]) -> Need | None:
    """Return what is known that `item` needs, or None where nothing helps: it failed, or a value is no number that a bound can reach and
    still bound something.
    """
    if item.failure:
        return None
    known = [(place, item.values[one.name]) for place, one in enumerate(requirements) if one.name in item.values]
    broken = [(place, value) for place, value in known if not requirements[place].is_met(value)]
    if not all(math.isfinite(value) and not replace(requirements[place], bound=value).is_idle for place, value in broken):
        return None
    gaps = [(abs(value - requirements[place].bound), abs(requirements[place].bound)) for place, value in broken]
    from_zero = [gap for gap, bound in gaps if not bound]
    ratios = math.fsum(gap / bound for gap, bound in gaps if bound)
    size = (float(len(gaps)), float(len(from_zero)), _rough(ratios), _rough(math.fsum(from_zero)))
    return Need(item.candidate, tuple(place for place, _ in broken), tuple(value for _, value in broken), size)


def undecided(measured: Sequence[Measured], requirements: Sequence[Requirement]) -> tuple[str, ...]:
    """Return the candidates whose missing values may show a smaller relaxation than the best that is known, the most promising first.

    Empty once the answer is certain: a candidate keeps everything, or none of those that are not fully measured can need less.
    """
    complete = [item for item in measured if is_complete(item, requirements)]
    if any((need := need_of(item, requirements)) is not None and not need.broken for item in complete):
        return ()
    known = needs(complete, requirements)
    partial = [need_of(item, requirements) for item in measured if not is_complete(item, requirements)]
    open_ones = [need for need in partial if need is not None and (not known or need.size <= known[0].size)]
    return tuple(need.candidate for need in sorted(open_ones, key=lambda need: need.size))


def relaxations(need: Need, requirements: Sequence[Requirement]) -> tuple[Relaxation, ...]:
    """Return the bounds that let `need.candidate` fit, in the user's order."""
    return tuple(_relaxation(need.candidate, requirements[place], value) for place, value in zip(need.broken, need.values, strict=True))


def relaxed(requirements: Sequence[Requirement], chosen: Sequence[Relaxation], share: float = 1.0) -> tuple[Requirement, ...]:
    """Return the requirements with the `chosen` bounds moved by `share` of the way (1: all of it)."""
    moved = {(one.requirement, one.is_minimum): one.to_bound for one in chosen}
    found = []
    for one in requirements:
        to = moved.get((one.name, one.is_minimum), one.bound)
        found.append(replace(one, bound=to if share == 1.0 else one.bound + share * (to - one.bound)))
    return tuple(found)


def safe_bound(requirement: Requirement, value: float) -> float:
    """Return the shortest decimal number that `value` keeps as a bound in place of `requirement.bound`, hardly further away than needed.

    Rounded up for a ceiling and down for a floor: what is printed works when it is typed.
    """
    value = float(value)
    if value.is_integer() and abs(value) < _EXACT_COUNT:
        return value
    rounding = ROUND_FLOOR if requirement.is_minimum else ROUND_CEILING
    exact = Decimal(repr(value))  # the shortest decimal that is this number
    gap = abs(value - requirement.bound)
    for digits in range(1, _DIGITS):
        rounded = float(exact.quantize(Decimal(1).scaleb(exact.adjusted() - digits + 1), rounding=rounding))
        bounded = replace(requirement, bound=rounded)
        if abs(rounded - value) <= _OVERSHOOT_RATIO * gap and bounded.is_met(value) and not bounded.is_idle:
            return rounded
    return value


def _rough(size: float) -> float:
    return float(f"{size:.{_SAME_DIGITS}g}")


def _relaxation(candidate: str, requirement: Requirement, value: float) -> Relaxation:
    to = safe_bound(requirement, value)
    text = str(replace(requirement, bound=to))
    ratio = abs(value - requirement.bound) / abs(requirement.bound) if requirement.bound else math.inf
    percent = f" ({change_text(to, requirement.bound)})" if requirement.bound else ""
    sentence = f"{text} instead of {requirement}{percent} lets {candidate} fit"
    if not requirement.is_custom and METRICS[requirement.metric].kind in _TIMED:
        sentence += "; this is measured anew by every run, and varies"
    return Relaxation(requirement.name, requirement.bound, to, candidate, sentence, text, requirement.is_minimum, ratio)


def change_text(to: float, bound: float) -> str:
    """Return the change of a bound for a person: +20 %, -4.1 %, 12 times."""
    ratio = to / bound
    if ratio >= 10:
        return f"{ratio:.3g} times"
    return f"{100 * (to - bound) / abs(bound):+.3g} %"
