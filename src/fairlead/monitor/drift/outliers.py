"""Single rows that are unlike everything in the reference. Pure.

Takes a profile and columns of rows; gives, for each row, what is strange about it. A number is strange where it lies outside of the
reference's range by more than a tenth of that range, a category where the reference does not have it, a missing value where none was
missing among at least a hundred rows. A feature that the model does not use makes no row strange.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from fairlead.core.interface import Array
from fairlead.core.profile import FeatureProfile
from fairlead.monitor.sketch.columns import as_numbers, category_text, is_missing

_MARGIN = 0.1
_ENOUGH = 100


@dataclass(frozen=True)
class Outliers:
    """Which rows are strange, (rows,) of how many features, and by feature which rows."""

    counts: Array = field(repr=False)
    by_feature: Mapping[str, Array] = field(repr=False)


def find_outliers(features: tuple[FeatureProfile, ...], columns: Mapping[str, Array]) -> Outliers:
    """Return the strange rows among `columns` (name -> (rows,)); features without a column are left out."""
    found = {
        feature.name: _is_strange(feature, columns[feature.name]) for feature in features if feature.is_used and feature.name in columns
    }
    rows = len(next(iter(columns.values()))) if columns else 0
    counts = np.sum(list(found.values()), axis=0, dtype=np.int64) if found else np.zeros(rows, np.int64)
    return Outliers(np.asarray(counts), found)


def _is_strange(feature: FeatureProfile, values: Array) -> Array:
    never_missing = feature.missing == 0 and feature.count >= _ENOUGH
    if feature.kind.is_number:
        numbers = as_numbers(values)
        margin = _MARGIN * (feature.high - feature.low)
        outside = (numbers < feature.low - margin) | (numbers > feature.high + margin)
        return outside | np.isnan(numbers) if never_missing else outside
    missing = is_missing(values)
    if feature.rest:  # the profile does not list every category
        return missing if never_missing else np.zeros(len(values), np.bool_)
    known = set(feature.categories)
    strange = {value: category_text(value) not in known for value in set(values[~missing].tolist())}
    return np.array(
        [never_missing if gone else strange[value] for value, gone in zip(values.tolist(), missing.tolist(), strict=True)], bool
    )
