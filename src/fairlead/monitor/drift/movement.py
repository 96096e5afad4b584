"""How far one feature has moved from the reference, in every measure that people know, and what that may cost. Pure.

Takes a feature's profile, its sketch over the time that is asked for, and a profile's `shuffled_change`; gives a Movement.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fairlead.core.interface import Array
from fairlead.core.profile import FeatureProfile
from fairlead.core.sketch import FeatureSketch, Tally
from fairlead.monitor.drift import measures
from fairlead.monitor.drift.events import expected_cells, partition
from fairlead.monitor.drift.reference import points_of, reference_tally
from fairlead.monitor.sketch.distinct import estimate
from fairlead.monitor.sketch.quantiles import quantile

_POINTS = 256
_REST, _UNSEEN = "(all others)", "(unseen)"
_DOUBT = 0.05  # the interval of `moved` has a confidence of 95 %


@dataclass(frozen=True)
class Movement:
    """A feature against its reference, over `rows` rows (where some were kept of many, as many as say as much as these do). Shares are
    from 0 to 1, NaN where nothing can be said.

    `moved` is the share of rows that have another value than they would have had: the total variation distance on coarse cells, less what
    chance alone would show, with its `interval`. `wasserstein` is in standard deviations of the reference. `distinct` is about how many
    different values there were; `gained` says in words which values became more. `cost` is the share of answers that may be other ones
    (see `docs/reference/drift.md`).
    """

    feature: str
    use: float | None
    rows: int
    moved: float
    interval: tuple[float, float]
    kolmogorov_smirnov: float
    kolmogorov_smirnov_p: float
    chi_square: float
    chi_square_p: float
    population_stability: float
    wasserstein: float
    jensen_shannon: float
    missing: float
    missing_before: float
    outside: float
    unseen: float
    fractions: float
    distinct: float
    gained: str
    cost: float | None


@np.errstate(over="ignore", invalid="ignore")  # sums of numbers near the largest double are infinite, and told so
def movement(
    feature: FeatureProfile, sketch: FeatureSketch, *, shuffled_change: float | None = None, reference: Tally | None = None
) -> Movement:
    """Return how far the feature has moved; `reference` stands in for the profile's own counts."""
    before, live = (_as_known(tally) for tally in (reference or reference_tally(feature), sketch.by_row))
    part = partition(feature)
    coarse = part.coarse(before.cells), part.coarse(live.cells)
    present = max(live.rows - live.missing, 0.0)
    moved, interval = moved_share(part.coarse(expected_cells(feature)) if reference is None else coarse[0], coarse[1])
    statistic, chance = measures.chi_square(*coarse)
    ordered = feature.kind.is_number
    is_used = feature.is_used
    known = feature.use is not None and shuffled_change is not None and not math.isnan(moved)
    distance = measures.kolmogorov_smirnov(before.cells, live.cells) if ordered else math.nan
    return Movement(
        feature=feature.name,
        use=feature.use,
        rows=round(live.rows),
        moved=moved,
        interval=interval,
        kolmogorov_smirnov=distance,
        kolmogorov_smirnov_p=measures.kolmogorov_smirnov_p(distance, before.rows - before.missing, present),
        chi_square=statistic,
        chi_square_p=chance,
        population_stability=measures.population_stability(*coarse),
        wasserstein=_wasserstein(feature, sketch) if ordered else math.nan,
        jensen_shannon=measures.jensen_shannon(*coarse),
        missing=_share(live.missing, live.rows),
        missing_before=_share(before.missing, before.rows),
        outside=_share(live.outside, present),
        unseen=math.nan if ordered else _share(float(live.cells[-1]), present),
        fractions=_share(live.fractions, present) if feature.is_whole else math.nan,
        distinct=estimate(sketch.hashes),
        gained=_gained(feature, sketch, before),
        cost=(moved * (feature.use or 0.0) * (shuffled_change or 0.0) if is_used else 0.0) if known else None,
    )


def _as_known(tally: Tally) -> Tally:
    """Return the tally as if all rows had one weight: what was kept of many is no better known for standing for them."""
    return tally.scaled(tally.effective / tally.rows) if tally.rows else tally


def moved_share(reference: Array, live: Array) -> tuple[float, tuple[float, float]]:
    """Return the total variation distance without the part that chance makes, and its 95 % interval; NaN where one side is empty.

    Where nothing has changed, each cell's share still differs by sqrt(2 / pi p (1 - p) (1 / n + 1 / R)) on average; half the sum of these
    is taken off in quadrature. The interval is McDiarmid's, for one row more or less moves the distance by 1 / n at most.
    """
    count, known = float(live.sum()), float(reference.sum())
    if not count or not known:
        return math.nan, (math.nan, math.nan)
    scale = 1.0 / count + 1.0 / known
    pooled = (reference + live) / (count + known)
    chance = float(np.sqrt(2.0 / math.pi * pooled * (1.0 - pooled) * scale).sum()) / 2.0
    found = math.sqrt(max(measures.total_variation(reference, live) ** 2 - chance**2, 0.0))
    wide = math.sqrt(math.log(2.0 / _DOUBT) / 2.0 * scale)
    return found, (max(found - wide, 0.0), min(found + wide, 1.0))


def _wasserstein(feature: FeatureProfile, sketch: FeatureSketch) -> float:
    if not sketch.quantiles.seen or not feature.present or not 0.0 < feature.std < math.inf:
        return math.nan
    live = quantile(sketch.quantiles, (np.arange(_POINTS) + 0.5) / _POINTS)
    points, weights = points_of(feature)
    return measures.wasserstein(points, weights, live, np.ones(_POINTS)) / feature.std


def _gained(feature: FeatureProfile, sketch: FeatureSketch, before: Tally) -> str:
    """Say what became of the middle of a number, or which category gained most."""
    if not sketch.by_row.cells.sum() or not before.cells.sum():
        return ""
    if feature.kind.is_number:
        if not sketch.quantiles.seen or not feature.edges:
            return ""
        heights = np.cumsum(before.cells) / before.cells.sum()
        old = feature.edges[min(int(np.searchsorted(heights, 0.5)), len(feature.edges) - 1)]
        return f"median {old:.4g} -> {float(quantile(sketch.quantiles, [0.5])[0]):.4g}"
    shares = measures.shares(before.cells), measures.shares(sketch.by_row.cells)
    most = int(np.argmax(shares[1] - shares[0]))
    name = (*feature.categories, _REST, _UNSEEN)[most]
    strange = [str(key) for key in sketch.frequent.keys if str(key) not in set(feature.categories)]
    if name == _UNSEEN and strange:
        name = strange[0]
    return f"'{name}' {shares[0][most]:.0%} -> {shares[1][most]:.0%}"


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else math.nan
