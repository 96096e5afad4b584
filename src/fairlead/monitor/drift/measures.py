"""How far two distributions are apart: the measures that people know. Pure; scipy.stats is the reference of the tests.

Takes counts of the same cells (`reference`, `live`: arrays of one length, in order where values have one), or weighted points; gives
numbers. NaN where one side is empty. Raises nothing.
"""

from __future__ import annotations

import math

import numpy as np

from fairlead.core.interface import Array

_TINY = 1e-300


def shares(counts: Array) -> Array:
    """Return counts as shares of their sum; NaN where there are none."""
    total = float(np.sum(counts))
    return np.asarray(counts, dtype=np.float64) / total if total > 0 else np.full(len(counts), np.nan)


def total_variation(reference: Array, live: Array) -> float:
    """Return the share of rows that would have to move to another cell: half the sum of all differences of shares, from 0 to 1."""
    return float(np.abs(shares(reference) - shares(live)).sum() / 2.0)


def kolmogorov_smirnov(reference: Array, live: Array) -> float:
    """Return the largest difference of the distribution functions at the edges between the cells (scipy.stats.ks_2samp's statistic)."""
    return float(np.abs(np.cumsum(shares(reference)) - np.cumsum(shares(live))).max(initial=0.0))


def kolmogorov_smirnov_p(distance: float, reference_count: float, live_count: float) -> float:
    """Return the asymptotic probability of a distance as large for two samples of one distribution.

    Source: Smirnov, "Table for estimating the goodness of fit of empirical distributions", Annals of Mathematical Statistics 19 (1948).
    """
    if not distance >= 0 or not reference_count or not live_count:
        return math.nan
    scaled = distance * math.sqrt(reference_count * live_count / (reference_count + live_count))
    if scaled < 0.2:  # the series below needs more and more terms; the probability is 1 to 12 digits
        return 1.0
    terms = [2.0 * (-1.0) ** (number - 1) * math.exp(-2.0 * (number * scaled) ** 2) for number in range(1, 101)]
    return min(max(sum(terms), 0.0), 1.0)


def chi_square(reference: Array, live: Array) -> tuple[float, float]:
    """Return the statistic of the test of homogeneity and its p-value (scipy.stats.chi2_contingency without Yates' correction).

    Cells that are empty on both sides are left out.
    """
    table = np.stack([np.asarray(reference, dtype=np.float64), np.asarray(live, dtype=np.float64)])
    table = table[:, table.sum(axis=0) > 0]
    total = table.sum()
    if table.shape[1] < 2 or not table.sum(axis=1).all():
        return (0.0, 1.0) if total and table.sum(axis=1).all() else (math.nan, math.nan)
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / total
    statistic = float(((table - expected) ** 2 / expected).sum())
    return statistic, upper_gamma((table.shape[1] - 1) / 2.0, statistic / 2.0)


def population_stability(reference: Array, live: Array) -> float:
    """Return the population stability index, sum (q - p) ln(q / p), with half a row added to every cell so that empty ones count as well.

    Below 0.1 is called stable and above 0.25 changed: Siddiqi, "Credit risk scorecards", Wiley 2006; on its law: Yurdakul, "Statistical
    properties of population stability index", Western Michigan University 2018.
    """
    before, after = shares(np.asarray(reference) + 0.5), shares(np.asarray(live) + 0.5)
    if not np.sum(reference) or not np.sum(live):
        return math.nan
    return float(((after - before) * np.log(after / before)).sum())


def jensen_shannon(reference: Array, live: Array) -> float:
    """Return the Jensen-Shannon distance, the root of the divergence in bits, from 0 to 1 (scipy.spatial.distance.jensenshannon, base 2).

    Source: Endres, Schindelin, "A new metric for probability distributions", IEEE Transactions on Information Theory 49 (2003).
    """
    before, after = shares(reference), shares(live)
    middle = (before + after) / 2.0
    divergence = sum(float((part * np.log2(np.maximum(part, _TINY) / np.maximum(middle, _TINY))).sum()) for part in (before, after)) / 2.0
    return math.sqrt(max(divergence, 0.0)) if not math.isnan(divergence) else math.nan


def wasserstein(points: Array, weights: Array, other_points: Array, other_weights: Array) -> float:
    """Return the Wasserstein-1 distance of two weighted samples: the area between their distribution functions, in the values' own unit
    (scipy.stats.wasserstein_distance).
    """
    if not np.sum(weights) or not np.sum(other_weights):
        return math.nan
    merged = np.sort(np.concatenate([points, other_points]))
    heights = [_distribution(one, weight, merged[:-1]) for one, weight in ((points, weights), (other_points, other_weights))]
    return float((np.abs(heights[0] - heights[1]) * np.diff(merged)).sum())


def _distribution(points: Array, weights: Array, at: Array) -> Array:
    order = np.argsort(points, kind="stable")
    summed = np.concatenate([[0.0], np.cumsum(np.asarray(weights, dtype=np.float64)[order])])
    found: Array = summed[np.searchsorted(points[order], at, side="right")] / summed[-1]
    return found


def upper_gamma(shape: float, value: float) -> float:
    """Return the regularized upper incomplete gamma function Q(shape, value): the p-value of a chi-square of 2 shape degrees of freedom.

    Below shape + 1 by the series of DLMF 8.7.1, above by Lentz's method on the continued fraction of DLMF 8.9.2 (https://dlmf.nist.gov/8).
    """
    if value <= 0:
        return 1.0
    front = math.exp(shape * math.log(value) - value - math.lgamma(shape))
    if value < shape + 1.0:
        term = total = 1.0 / shape
        count = shape
        while abs(term) > abs(total) * 1e-15:
            count += 1.0
            term *= value / count
            total += term
        return min(max(1.0 - total * front, 0.0), 1.0)
    base = value + 1.0 - shape
    ratio, inverse = 1e300, 1.0 / base
    fraction = inverse
    for number in range(1, 10_000):
        factor = -number * (number - shape)
        base += 2.0
        inverse = 1.0 / (factor * inverse + base or _TINY)
        ratio = base + factor / ratio or _TINY
        change = ratio * inverse
        fraction *= change
        if abs(change - 1.0) < 1e-15:
            break
    return min(max(front * fraction, 0.0), 1.0)
