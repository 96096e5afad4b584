"""Rows that are in memory already: arrays, lists, records, columns, data frames.

Takes what a Python user has at hand, gives what the readers of data files give; raises DataError. Copies no more than it has to.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from fairlead.core.dataset import Dataset
from fairlead.core.interface import Array, Interface
from fairlead.datasets.bind import bind
from fairlead.datasets.raw import Raw
from fairlead.errors import DataError

Rows: TypeAlias = Array | Sequence[Any] | Mapping[str, Any]
_TARGET = "y"


def bind_pair(rows: Rows, answers: Any, interface: Interface, *, allow_missing: bool = False) -> Dataset:
    """Return the dataset of rows and right answers (None: no answers) that are in memory."""
    raw = raw_rows(rows)
    arrays = {name or "x": array for name, array in raw.arrays.items()}
    if answers is not None:
        if _TARGET in arrays:
            raise DataError(f"The rows have a column '{_TARGET}', and answers were given beside them.", hint="Give one of them.")
        arrays[_TARGET] = _array(answers)
    target = None if answers is None else _TARGET
    dataset = bind(Raw(arrays, is_table=raw.is_table), interface, target=target, allow_missing=allow_missing)
    return replace(dataset, digest=_digest(arrays), description=f"{dataset.rows} rows from memory")


def _digest(arrays: Mapping[str, Array]) -> str:
    """Return the SHA-256 over names, types, shapes and values."""
    hasher = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        hasher.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        content = "\0".join(map(str, array.flat)).encode() if array.dtype.kind == "O" else np.ascontiguousarray(array).tobytes()
        hasher.update(content)
    return hasher.hexdigest()


def raw_rows(rows: Rows) -> Raw:
    """Return rows that are in memory as the readers of files give them; raises DataError."""
    if isinstance(rows, Mapping):
        return _raw_columns(rows)
    if not isinstance(rows, np.ndarray) and hasattr(rows, "to_dict") and hasattr(rows, "columns"):  # a pandas or polars data frame
        return _raw_columns({str(name): np.asarray(rows[name]) for name in rows.columns})
    if not hasattr(rows, "__len__"):
        raise DataError(
            f"The rows are of the type {type(rows).__name__}.", hint="Give an array, nested lists, records, columns or a data frame."
        )
    if not isinstance(rows, np.ndarray) and len(rows) and all(isinstance(row, Mapping) for row in rows):
        names = list(rows[0])
        if any(set(row) != set(names) for row in rows):
            raise DataError("The records do not all have the same keys.", hint=f"The first has: {', '.join(map(str, names))}.")
        return _raw_columns({name: [row[name] for row in rows] for name in names})
    return Raw({"": _array(rows)}, is_table=False)


def _raw_columns(columns: Mapping[str, Any]) -> Raw:
    arrays = {name: _array(values) for name, values in columns.items()}
    return Raw(arrays, is_table=all(array.ndim == 1 for array in arrays.values()))


def _array(values: Any) -> Array:
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise DataError("The rows do not all have the same shape.") from error
    # numpy writes numbers and NaN that stand between texts as texts: what each value is has to be seen later.
    return np.asarray(values, dtype=object) if array.dtype.kind in "US" else array
