"""The next value of one setting: by bisection between the strongest that kept the floor and the weakest that broke it. Pure.

Takes the values tried so far with what became of each; gives a value, or None where the next one would tell nothing new. A value is
stronger the more it takes from the model: a larger `ratio`, a smaller `width`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fairlead.core.pass_use import Setting

_MORE_IS_GENTLER = frozenset(
    {"bits", "clusters", "cluster_count", "keep", "keep_ratio", "rank", "rank_ratio", "width", "depth", "trees", "tree_count"}
)
_DIGITS = 3
_NEAR = 0.04  # of the way from nothing to everything: closer values make models that hardly differ
_EDGE = 0.985


@dataclass(frozen=True)
class Tried:
    """A value and whether the model that it made kept the floor."""

    value: float
    holds: bool


def is_knob(values: Sequence[Setting]) -> bool:
    """Whether the values that are worth trying are numbers with values between them."""
    return len(values) > 1 and all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def next_value(name: str, known: Sequence[Setting], tried: Sequence[Tried]) -> int | float | None:
    """Return what to try next of the setting `name`, whose values worth trying are `known`."""
    numbers = [float(value) for value in known if isinstance(value, int | float)]
    is_whole = all(isinstance(value, int) for value in known)
    sign = -1.0 if name in _MORE_IS_GENTLER else 1.0
    if not tried:
        return known[0]  # type: ignore[return-value] # a knob's values are numbers
    holding = [one.value for one in tried if one.holds]
    broken = [one.value for one in tried if not one.holds]
    strongest = max(holding, key=lambda value: sign * value, default=None)
    beyond = [value for value in broken if strongest is None or sign * value > sign * strongest]
    weakest = min(beyond, key=lambda value: sign * value, default=None)
    between = [value for value in numbers if _is_between(value, strongest, weakest, sign)]
    if between:  # the values that somebody found worth trying, from the middle
        found = sorted(between, key=lambda value: sign * value)[len(between) // 2]
    elif is_whole and (strongest is None or weakest is None):
        return None  # bits, counts: what lies beyond the values worth trying has no meaning
    else:
        found = _bisected(strongest, weakest, sign, numbers)
    found = float(round(found)) if is_whole else round(found, _DIGITS)
    if any(abs(found - one.value) < (1 if is_whole else _NEAR / 2) for one in tried) or not _is_between(found, strongest, weakest, sign):
        return None
    return int(found) if is_whole else found


def gentler(name: str, known: Sequence[Setting], holding: Sequence[float]) -> list[int | float]:
    """Return the values worth trying between the default and the strongest that held the floor, the strongest first."""
    sign = -1.0 if name in _MORE_IS_GENTLER else 1.0
    strongest = max(holding, key=lambda value: sign * value, default=None)
    if strongest is None:
        return []
    numbers = [value for value in known if isinstance(value, int | float)]
    between = [value for value in numbers if sign * float(known[0]) < sign * value < sign * strongest]
    return sorted(between, key=lambda value: -sign * value)


def _is_between(value: float, strongest: float | None, weakest: float | None, sign: float) -> bool:
    return (strongest is None or sign * value > sign * strongest) and (weakest is None or sign * value < sign * weakest)


def _bisected(strongest: float | None, weakest: float | None, sign: float, numbers: Sequence[float]) -> float:
    """Half way; where one side is open, half way to where nothing or everything is taken."""
    if strongest is not None and weakest is not None:
        return (strongest + weakest) / 2
    is_share = all(0 < value < 1 for value in numbers)
    if strongest is not None:
        if is_share:
            limit = _EDGE if sign > 0 else 1 - _EDGE
            return (strongest + limit) / 2 if abs(limit - strongest) > _NEAR else strongest
        return strongest * 2 if sign > 0 else strongest / 2
    known = numbers[0] if weakest is None else weakest
    if is_share:
        return known / 2 if sign > 0 else (known + 1) / 2
    return known / 2 if sign > 0 else known * 2
