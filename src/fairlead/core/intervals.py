"""95 % intervals of a metric. Pure, seeded.

A share of rows (accuracy) gets Wilson's score interval; every other metric the percentile bootstrap over rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from fairlead.core.interface import Array
from fairlead.errors import RequirementError

_Z = 1.959963984540054  # 97.5 % quantile of the normal distribution
_LEVELS = (2.5, 97.5)
_MANY_ROWS = 10_000


def wilson(share: float, count: int) -> tuple[float, float]:
    """Return the score interval for a `share` of `count` rows.

    Source: E. B. Wilson 1927, Journal of the American Statistical Association 22:209-212, doi 10.1080/01621459.1927.10502953.
    """
    centre = share + _Z**2 / (2 * count)
    spread = _Z * math.sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2))
    scale = 1 + _Z**2 / count
    # Rounding may leave the exact ends 0 and 1 by one unit.
    return min(max((centre - spread) / scale, 0.0), share), max(min((centre + spread) / scale, 1.0), share)


def bootstrap(measure: Callable[[Array], float], row_count: int, *, seed: int) -> tuple[float, float]:
    """Return the 2.5 % and 97.5 % percentiles of `measure` over rows drawn with replacement (Efron & Tibshirani 1993, chapter 13).

    `measure` gets how often each row was drawn, (rows,) float64. 1,000 draws up to 10,000 rows, 200 above. The same seed draws the same
    rows, so original and candidate are measured on equal draws. Draws for which the metric is undefined (NaN) are left out; raises
    RequirementError where it is undefined for all.
    """
    generator = np.random.default_rng(seed)
    draws = 1000 if row_count <= _MANY_ROWS else 200
    values = []
    for _ in range(draws):
        weights = np.bincount(generator.integers(0, row_count, row_count), minlength=row_count).astype(np.float64)
        values.append(measure(weights))
    known = np.asarray(values)[~np.isnan(values)]
    if known.size == 0:
        raise RequirementError("A metric is undefined on every draw of the rows.", hint="Give more rows, or another metric.")
    low, high = np.percentile(known, _LEVELS)
    return float(low), float(high)
