"""Thresholds that no row tells apart become one number, and a short one.

Takes an ensemble and the table that its trees see; gives one with fewer distinct thresholds. Between two neighbouring values of a feature
all thresholds decide these rows alike: so they become the number of the fewest digits (in base 2) that lies between the values and no
further from the thresholds than half of the way. With `levels` there are at most as many per feature: each moves to the nearest of them.
Rows that lie between may be decided otherwise. Pure.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fairlead.core.interface import Array
from fairlead.core.tree_ensemble import Split, TreeEnsemble
from fairlead.optimize.trees.walk import questions_of

_BY_ORDER = (Split.LESS, Split.LESS_OR_EQUAL, Split.GREATER)


def shared_thresholds(trees: TreeEnsemble, table: Array, levels: int) -> TreeEnsemble:
    """Return `trees` with shared thresholds, every split by order as `x <= threshold` or `x > threshold`."""
    bounds = questions_of(trees).thresholds.astype(np.float64)
    is_open = np.isin(trees.splits, _BY_ORDER) & np.isfinite(bounds)
    for feature in np.unique(trees.features[is_open]).tolist():
        chosen = is_open & (trees.features == feature)
        column = table[:, feature].astype(np.float64)
        bounds[chosen] = _shared(bounds[chosen], np.unique(column[np.isfinite(column)]), levels, trees.compare_dtype.numpy)
    splits = np.where(is_open & (trees.splits == Split.LESS), Split.LESS_OR_EQUAL, trees.splits).astype(np.uint8)
    return replace(trees, splits=splits, thresholds=np.where(is_open, bounds, trees.thresholds))


def distinct_count(trees: TreeEnsemble) -> int:
    """How many different pairs of feature and threshold there are."""
    is_open = np.isin(trees.splits, _BY_ORDER)
    return len(np.unique(np.stack([trees.features[is_open].astype(np.float64), questions_of(trees).thresholds[is_open]]), axis=1).T)


def _shared(bounds: Array, values: Array, levels: int, dtype: np.dtype[np.generic]) -> Array:
    """Return the thresholds of one feature by their place between the sorted `values` of the rows."""
    places = np.searchsorted(values, bounds, side="right")
    found = bounds.copy()
    for place in np.unique(places).tolist():
        own = np.sort(bounds[places == place])
        middle = float(own[len(own) // 2])
        low = values[place - 1] if place > 0 else -np.inf
        high = values[place] if place < len(values) else np.inf
        found[places == place] = _short_number(middle, float(low), float(high), dtype)
    distinct, counts = np.unique(found, return_counts=True)
    if not levels or len(distinct) <= levels:
        return found
    ends = (np.arange(levels) + 0.5) / levels * counts.sum()
    centres = np.unique(distinct[np.searchsorted(np.cumsum(counts), ends)])
    return np.asarray(centres[np.abs(found[:, np.newaxis] - centres).argmin(axis=1)])


def _short_number(middle: float, low: float, high: float, dtype: np.dtype[np.generic]) -> float:
    """Return the number of fewest binary digits from `low` (or half of the way to it) up to below `high`; `low` <= `middle` < `high`."""
    left = middle - (middle - low) / 2 if np.isfinite(low) else middle
    right = middle + (high - middle) / 2 if np.isfinite(high) else middle
    if not (np.isfinite(left) and np.isfinite(right)) or left >= right or right >= high:
        return middle
    step = 2.0 ** np.floor(np.log2(right - left))
    while step > 0:
        candidate = np.ceil(left / step) * step
        if left <= candidate <= right and candidate < high and float(dtype.type(candidate)) == candidate:
            return float(candidate)
        if step < abs(middle) * 2.0**-52:
            break
        step /= 2
    return middle
