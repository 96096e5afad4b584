"""Sketches of one feature: empty, updated with a piece of a column, merged.

Takes a FeatureProfile, whose bins and categories values are counted against, and columns (rows,): numbers, booleans, texts, None; gives
core `FeatureSketch`. Pure. One sort of the piece does most of the work. Raises ValueError for sketches of different features.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fairlead.core.interface import Array
from fairlead.core.profile import FeatureProfile
from fairlead.core.sketch import FeatureSketch, Moments, Quantiles, Tally
from fairlead.monitor.sketch import distinct, frequent, quantiles
from fairlead.monitor.sketch.columns import as_numbers, count_categories, is_missing

_PIECE = 2**16  # values that a core's cache holds while they are sorted


def empty(profile: FeatureProfile) -> FeatureSketch:
    """Return the sketch of no values."""
    nothing = Tally(cells=np.zeros(len(profile.cells)))
    return FeatureSketch(profile.name, profile.kind, nothing, nothing)


@np.errstate(over="ignore", invalid="ignore")  # sums of numbers near the largest double are infinite, and told so
def update(
    sketch: FeatureSketch, profile: FeatureProfile, values: Array, weights: Array | None = None, stands_for: Array | None = None
) -> FeatureSketch:
    """Return the sketch with a piece of a column. `weights` (rows,) are what each row counts for in `by_request`, `stands_for` (rows,) how
    many rows it is one of, at least 1, of which the others were not kept; None for 1 each.
    """
    if stands_for is not None:
        for times in np.unique(stands_for).tolist():
            is_one = stands_for == times
            sketch = _updated(sketch, profile, values[is_one], None if weights is None else weights[is_one], times)
        return sketch
    return _updated(sketch, profile, values, weights, 1.0)


def _updated(sketch: FeatureSketch, profile: FeatureProfile, values: Array, weights: Array | None, times: float) -> FeatureSketch:
    if not profile.kind.is_number:
        return _categories(sketch, profile, values, weights, times) if len(values) else sketch
    for start in range(0, len(values), _PIECE):
        weight = None if weights is None else weights[start : start + _PIECE]
        sketch = _numbers(sketch, profile, values[start : start + _PIECE], weight, times)
    return sketch


def merge(first: FeatureSketch, second: FeatureSketch) -> FeatureSketch:
    """Return the sketch of the values of both; raises ValueError unless they were counted against the same profile."""
    if (first.feature, first.kind, len(first.by_row.cells)) != (second.feature, second.kind, len(second.by_row.cells)):
        raise ValueError("the sketches are of different features, or were counted against different profiles")
    return FeatureSketch(
        first.feature,
        first.kind,
        first.by_row + second.by_row,
        first.by_request + second.by_request,
        merge_moments(first.moments, second.moments),
        quantiles.merge(first.quantiles, second.quantiles),
        distinct.kept(first.hashes, second.hashes),
        frequent.merge(first.frequent, second.frequent),
    )


def merge_moments(first: Moments, second: Moments) -> Moments:
    """Return the moments of the values of both.

    Source: Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", COMPSTAT 1982.
    """
    count = first.count + second.count
    if not count:
        return first
    shift = second.mean - first.mean
    return Moments(
        count,
        first.mean + shift * (second.count / count),
        first.squares + second.squares + shift * shift * (first.count * (second.count / count)),
        min(first.low, second.low),
        max(first.high, second.high),
    )


def _numbers(sketch: FeatureSketch, profile: FeatureProfile, values: Array, weights: Array | None, times: float) -> FeatureSketch:
    numbers = as_numbers(values)
    ordered = np.sort(numbers)
    ordered = ordered[: np.searchsorted(ordered, np.nan)]  # NaN stands last
    below, upto_high = np.searchsorted(ordered, profile.low, side="left"), np.searchsorted(ordered, profile.high, side="right")
    finite = ordered[np.searchsorted(ordered, -np.inf, side="right") : np.searchsorted(ordered, np.inf, side="left")]
    upto = np.concatenate([[0], np.searchsorted(ordered, profile.edges, side="right"), [len(ordered)]])
    fractions = float((finite != np.rint(finite)).sum()) if profile.is_whole else 0.0
    tally = Tally(
        float(len(numbers)),
        float(len(numbers) - len(ordered)),
        float(below + len(ordered) - upto_high),
        fractions,
        np.diff(upto).astype(np.float64),
    )
    starts = np.flatnonzero(np.concatenate([[True], finite[1:] != finite[:-1]])) if len(finite) else np.zeros(0, np.intp)
    different, counts = finite[starts], np.diff(np.append(starts, len(finite)))
    return replace(
        sketch,
        by_row=sketch.by_row + (tally if times == 1.0 else tally.scaled(times)),
        by_request=sketch.by_request + (tally if weights is None else _weighed_numbers(profile, numbers, weights)),
        moments=merge_moments(sketch.moments, _moments(finite, times)),
        quantiles=_with_quantiles(sketch, finite, times),
        hashes=distinct.kept(sketch.hashes, distinct.hashes_of_numbers(different)),
        frequent=frequent.insert_numbers(sketch.frequent, different, counts, times),
    )


def _with_quantiles(sketch: FeatureSketch, ordered: Array, times: float) -> Quantiles:
    if times == 1.0:
        return quantiles.insert(sketch.quantiles, ordered)
    fresh = quantiles.insert(Quantiles(seed=sketch.quantiles.seed), ordered)
    return quantiles.merge(sketch.quantiles, quantiles.scaled(fresh, times))


def _moments(ordered: Array, times: float) -> Moments:
    if not len(ordered):
        return Moments()
    mean = float(ordered.mean())
    centred = ordered - mean
    return Moments(len(ordered) * times, mean, float((centred * centred).sum()) * times, float(ordered[0]), float(ordered[-1]))


def _weighed_numbers(profile: FeatureProfile, numbers: Array, weights: Array) -> Tally:
    missing = np.isnan(numbers)
    here, weight = numbers[~missing], weights[~missing]
    places = np.searchsorted(np.asarray(profile.edges, dtype=np.float64), here, side="left")
    outside = (here < profile.low) | (here > profile.high)
    is_fraction = np.isfinite(here) & (here != np.rint(here)) if profile.is_whole else np.zeros(len(here), np.bool_)
    return Tally(
        float(weights.sum()),
        float(weights[missing].sum()),
        float(weight[outside].sum()),
        float(weight[is_fraction].sum()),
        np.bincount(places, weight, minlength=len(profile.cells)),
    )


def _categories(sketch: FeatureSketch, profile: FeatureProfile, values: Array, weights: Array | None, times: float) -> FeatureSketch:
    counted, missing = count_categories(values)
    cells = np.zeros(len(profile.cells))
    place_of = {text: place for place, text in enumerate(profile.categories)}
    stranger = _stranger(profile)
    for text, count in counted.items():
        cells[place_of.get(text, stranger)] += count
    tally = Tally(float(len(values)), float(missing), cells=cells)
    hashes = distinct.hashes_of_texts(counted)
    keys: dict[str, float] = {}
    for (text, count), digest in zip(counted.items(), hashes.tolist(), strict=True):
        key = frequent.key_of(text, digest)
        keys[key] = keys.get(key, 0.0) + count * times
    return replace(
        sketch,
        by_row=sketch.by_row + (tally if times == 1.0 else tally.scaled(times)),
        by_request=sketch.by_request + (tally if weights is None else _weighed_categories(profile, values, weights)),
        hashes=distinct.kept(sketch.hashes, hashes),
        frequent=frequent.insert_texts(sketch.frequent, keys),
    )


def _weighed_categories(profile: FeatureProfile, values: Array, weights: Array) -> Tally:
    missing = is_missing(values)
    cells = np.zeros(len(profile.cells))
    place_of = {text: place for place, text in enumerate(profile.categories)}
    stranger = _stranger(profile)
    here, weight = values[~missing], weights[~missing]
    for size in np.unique(weight):  # the rows of requests of one size weigh alike
        for text, count in count_categories(here[weight == size])[0].items():
            cells[place_of.get(text, stranger)] += count * size
    return Tally(float(weights.sum()), float(weights[missing].sum()), cells=cells)


def _stranger(profile: FeatureProfile) -> int:
    """Return the cell of what the profile does not list: where it left categories out, nobody can tell new ones from these."""
    return len(profile.categories) + (0 if profile.rest else 1)
