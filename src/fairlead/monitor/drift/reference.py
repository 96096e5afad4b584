"""The profile of one feature from the values of a release's data. Pure.

Takes a column (rows,): numbers, booleans, texts, None; gives a FeatureProfile. What kind it is follows from the values unless it is said:
texts are categories, numbers that are all 0 or 1 flags, and all other numbers numbers. Raises nothing.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from fairlead.core.interface import Array
from fairlead.core.profile import BIN_COUNT, CATEGORY_LIMIT, FeatureKind, FeatureProfile
from fairlead.core.sketch import Tally
from fairlead.monitor.sketch.columns import as_numbers, count_categories

_REPEATED = 2.0  # texts that occur less often than this on average are not categories: nearly every one is a new one


@np.errstate(over="ignore", invalid="ignore")  # sums of numbers near the largest double are infinite, and told so
def profile_column(name: str, values: Array, *, input_name: str, part: str = "", kind: FeatureKind | None = None) -> FeatureProfile:
    """Return the profile of a column of `values` (rows,)."""
    found = kind or kind_of(values)
    blank = FeatureProfile(name, found, input_name, part, count=len(values))
    return _number(blank, values) if found.is_number else _category(blank, values)


def kind_of(values: Array) -> FeatureKind:
    """Return what kind of values these are."""
    if values.dtype.kind == "b":
        return FeatureKind.FLAG
    if values.dtype.kind not in "fiu":
        return FeatureKind.CATEGORY
    present = values[~np.isnan(values)] if values.dtype.kind == "f" else values
    return FeatureKind.FLAG if len(present) and bool(((present == 0) | (present == 1)).all()) else FeatureKind.NUMBER


def is_free_text(values: Array) -> bool:
    """Whether texts are no categories: hardly any occurs twice."""
    counted, missing = count_categories(values)
    return len(counted) > CATEGORY_LIMIT / 4 and len(values) - missing < _REPEATED * len(counted)


def reference_tally(profile: FeatureProfile) -> Tally:
    """Return the counts of the release's data, as sketches count live rows."""
    return Tally(float(profile.count), float(profile.missing), 0.0, 0.0, profile.cells)


def points_of(profile: FeatureProfile) -> tuple[Array, Array]:
    """Return points and weights that stand for a number's values: the middle of each bin, whose outer ends are the lowest and highest."""
    edges = np.concatenate([[profile.low], np.asarray(profile.edges, dtype=np.float64), [profile.high]])
    return edges[:-1] / 2.0 + edges[1:] / 2.0, np.asarray(profile.counts, dtype=np.float64)


def _number(blank: FeatureProfile, values: Array) -> FeatureProfile:
    numbers = as_numbers(values)
    present = np.sort(numbers[~np.isnan(numbers)])
    finite = present[np.isfinite(present)]
    missing = len(numbers) - len(present)
    if not len(finite):
        return replace(blank, missing=missing, counts=(len(present),))
    wanted = np.arange(1, BIN_COUNT) / BIN_COUNT
    edges = np.unique(np.quantile(finite, wanted, method="inverted_cdf"))
    edges = edges[edges < finite[-1]] if len(edges) else edges  # nothing would lie above the highest value
    upto = np.concatenate([[0], np.searchsorted(present, edges, side="right"), [len(present)]])
    return replace(
        blank,
        missing=missing,
        mean=float(finite.mean()),
        std=float(finite.std()),
        low=float(finite[0]),
        high=float(finite[-1]),
        edges=tuple(edges.tolist()),
        counts=tuple(np.diff(upto).tolist()),
        distinct=len(np.unique(finite)),
        is_whole=bool((finite == np.rint(finite)).all()),
    )


def _category(blank: FeatureProfile, values: Array) -> FeatureProfile:
    counted, missing = count_categories(values)
    ordered = Counter(counted).most_common()
    kept = sorted(ordered[:CATEGORY_LIMIT], key=lambda item: (-item[1], item[0]))
    return replace(
        blank,
        missing=missing,
        categories=tuple(text for text, _ in kept),
        counts=tuple(count for _, count in kept),
        rest=sum(count for _, count in ordered[CATEGORY_LIMIT:]),
        distinct=len(ordered),
    )
