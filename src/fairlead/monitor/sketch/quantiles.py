"""Quantiles of any number of values from a sample of a few hundred, with a stated error; two of them merge into one.

Takes and gives core `Quantiles`; pure, nothing is raised. It is the sketch of Karnin, Lang and Liberty ("Optimal quantile approximation in
streams", FOCS 2016) with larger steps: where a group of 2^g sorted values of weight w, taken in turn through the order, is replaced by one
of weight 2^g w at a random place in it, the estimated rank of any value moves by less than 2^g w, by 0 on average. Such errors are
independent from step to step and, by Hoeffding's lemma, each is no wilder than a normal one with variance (2^g w)^2 / 4. `variance` adds
these up, in a merge those of both parts; so P(|error of a rank| > t) <= 2 exp(-t^2 / (2 variance)), whatever was merged in which order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fairlead.core.interface import Array
from fairlead.core.sketch import Quantiles

CAPACITY = 768
_SMALLEST = 8
_DECAY = 2 / 3  # capacities shrink towards the light levels by the paper's rate
_MASK = 2**64 - 1


@np.errstate(over="ignore", invalid="ignore")  # sums of numbers near the largest double are infinite, and told so
def insert(quantiles: Quantiles, ordered: Array) -> Quantiles:
    """Return the sketch with more values: `ordered` is sorted and holds finite numbers."""
    levels, variance, seed = list(quantiles.levels), quantiles.variance, quantiles.seed
    count = len(ordered)
    if not count:
        return quantiles
    seed = _mixed(seed ^ _bits(float(ordered.sum())) ^ count)
    shift = max((count // CAPACITY).bit_length(), 0)
    group = 1 << shift
    whole = count - count % group
    if shift == 0:
        _put(levels, 0, ordered)
    else:
        # The values that fill no group are taken from everywhere in the order, so that the groups stay groups of neighbours.
        spare = np.zeros(count, np.bool_)
        spare[(np.arange(count - whole) * count) // max(count - whole, 1)] = True
        grouped = ordered[~spare] if count != whole else ordered
        _put(levels, shift, grouped[seed % group :: group])
        variance += group * group / 4.0
        if count != whole:
            rest = insert(Quantiles(tuple(levels), 0, variance, seed), ordered[spare])
            levels, variance, seed = list(rest.levels), rest.variance, rest.seed
    return _compressed(levels, quantiles.seen + count, variance, seed)


def merge(first: Quantiles, second: Quantiles) -> Quantiles:
    """Return the sketch of the values of both."""
    levels: list[Array] = []
    for part in (first, second):
        for level, values in enumerate(part.levels):
            _put(levels, level, values)
    seed = _mixed(first.seed + second.seed)  # a sum, so that neither comes first
    return _compressed(levels, first.seen + second.seen, first.variance + second.variance, seed)


def scaled(quantiles: Quantiles, factor: float) -> Quantiles:
    """Return the sketch of as many values `factor` times (1 at least), as if each had been seen that often.

    Weights become whole numbers by rounding their sums from the smallest value up, all with one random offset: no rank is off by 1, on
    average by 0, which adds a variance of 1/4. A value of weight w stands in the levels of the digits of w in base 2.
    """
    points, weights = _points(quantiles)
    if factor == 1.0 or not len(points):
        return quantiles
    seed = _mixed(quantiles.seed)
    upto = np.floor(np.cumsum(weights) * factor + (seed >> 11) / 2.0**53).astype(np.int64)
    whole = np.diff(upto, prepend=0)
    levels: list[Array] = []
    for level in range(int(whole.max()).bit_length()):
        _put(levels, level, points[(whole >> level) & 1 == 1])
    return _compressed(levels, int(upto[-1]), quantiles.variance * factor * factor + 0.25, seed)


def ranks(quantiles: Quantiles, values: Sequence[float] | Array) -> Array:
    """Return about how many of the values seen are at most each of `values`."""
    points, weights = _points(quantiles)
    below = np.concatenate([[0.0], np.cumsum(weights)])
    found: Array = below[np.searchsorted(points, np.asarray(values, dtype=np.float64), side="right")]
    return found


def quantile(quantiles: Quantiles, shares: Sequence[float] | Array) -> Array:
    """Return the smallest value of the sample that at least each share of the values do not exceed; NaN where there are none."""
    points, weights = _points(quantiles)
    wanted = np.asarray(shares, dtype=np.float64)
    if not len(points):
        return np.full(wanted.shape, np.nan)
    found: Array = points[np.minimum(np.searchsorted(np.cumsum(weights), wanted * quantiles.seen), len(points) - 1)]
    return found


def rank_error(quantiles: Quantiles, confidence: float = 0.99) -> float:
    """Return the share of the values by which a rank is wrong at most, with that confidence for any one value."""
    return math.sqrt(2.0 * quantiles.variance * math.log(2.0 / (1.0 - confidence))) / max(quantiles.seen, 1)


def _points(quantiles: Quantiles) -> tuple[Array, Array]:
    if not quantiles.levels:
        return np.zeros(0), np.zeros(0)
    points = np.concatenate(quantiles.levels)
    weights = np.repeat([2.0**level for level in range(len(quantiles.levels))], [len(values) for values in quantiles.levels])
    order = np.argsort(points, kind="stable")
    return points[order], weights[order]


def _compressed(levels: list[Array], seen: int, variance: float, seed: int) -> Quantiles:
    """Halve levels, lightest first, until each is within its capacity."""
    level = 0
    while level < len(levels):
        if len(levels[level]) > max(CAPACITY * _DECAY ** (len(levels) - 1 - level), _SMALLEST):
            ordered = np.sort(levels[level])
            even = len(ordered) - len(ordered) % 2
            seed = _mixed(seed)
            _put(levels, level + 1, ordered[seed & 1 : even : 2])
            levels[level] = ordered[even:]
            variance += 4.0**level
            level = 0 if len(levels) == level + 2 else level  # a new top leaves less room to those below
        level += 1
    return Quantiles(tuple(levels), seen, variance, seed)


def _put(levels: list[Array], level: int, values: Array) -> None:
    while len(levels) <= level:
        levels.append(np.zeros(0))
    levels[level] = np.concatenate([levels[level], values]) if len(levels[level]) else np.array(values, dtype=np.float64)


def _bits(value: float) -> int:
    return int(np.float64(value).view(np.uint64))


def _mixed(number: int) -> int:
    """SplitMix64's finalizer: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014."""
    number = (number + 0x9E3779B97F4A7C15) & _MASK
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & _MASK
    return number ^ (number >> 31)
