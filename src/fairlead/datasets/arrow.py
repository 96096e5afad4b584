"""Arrow tables as numpy columns: numbers and booleans as they are, missing numbers as NaN, text as objects of str with None for missing,
dates as datetime64 with NaT for missing, in UTC where they have a zone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from fairlead.core.interface import Array, shorten
from fairlead.errors import DataError


def to_columns(table: Any, text_columns: frozenset[str] = frozenset()) -> dict[str, Array]:
    """Return (rows,) arrays by column name; raises DataError for a column that is neither numbers, booleans, text nor dates.

    Times with a zone are refused in `text_columns`: their text depends on the zone.
    """
    return {name: _to_array(name, table.column(position), name in text_columns) for position, name in enumerate(table.column_names)}


def _to_array(name: str, column: Any, is_for_text: bool) -> Array:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return np.asarray(column.to_numpy(), dtype=object)
    if pa.types.is_date(kind):
        return np.asarray(column.cast(pa.timestamp("s")).to_numpy().astype("datetime64[D]"))
    if pa.types.is_timestamp(kind):
        if kind.tz is not None and is_for_text:
            raise DataError(
                f"Column '{shorten(name)}' holds times with a zone ({kind.tz}); their text depends on the zone.",
                hint="Write them as text, as in training.",
            )
        return np.asarray(column.cast(pa.timestamp(kind.unit)).to_numpy())
    if pa.types.is_null(kind):
        return np.full(len(column), np.nan)
    if pa.types.is_decimal(kind):
        column, kind = column.cast(pa.float64()), pa.float64()
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        raise DataError(f"Column '{shorten(name)}' holds values of type {kind}.", hint="Use numbers, booleans, text or dates.")
    if column.null_count:
        return np.asarray(column.cast(pa.float64()).to_numpy(), dtype=np.float64)
    return np.asarray(column.to_numpy())
