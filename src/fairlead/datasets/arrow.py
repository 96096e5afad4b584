"""Arrow tables as numpy columns: numbers and booleans as they are, missing numbers as NaN, text as objects of str with None for missing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from fairlead.core.interface import Array, shorten
from fairlead.errors import DataError


def to_columns(table: Any) -> dict[str, Array]:
    """Return (rows,) arrays by column name; raises DataError for a column that is neither numbers, booleans nor text."""
    return {name: _to_array(name, table.column(position)) for position, name in enumerate(table.column_names)}


def _to_array(name: str, column: Any) -> Array:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return np.asarray(column.to_numpy(), dtype=object)
    if pa.types.is_null(kind):
        return np.full(len(column), np.nan)
    if pa.types.is_decimal(kind):
        column, kind = column.cast(pa.float64()), pa.float64()
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        raise DataError(f"Column '{shorten(name)}' holds values of type {kind}.", hint="Use numbers, booleans or text.")
    if column.null_count:
        return np.asarray(column.cast(pa.float64()).to_numpy(), dtype=np.float64)
    return np.asarray(column.to_numpy())
