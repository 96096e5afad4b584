"""What the arrays of a data file look like: the inputs of a model that does not record its own. Raises DataError as `load` does.

It decides nothing about the values, and binds nothing.
"""

from __future__ import annotations

from fairlead.core.dtype import DType
from fairlead.core.interface import Array, TensorSpec
from fairlead.datasets.bind import ROW_NAMES, TARGET_NAMES, TRAINING_NAMES
from fairlead.datasets.raw import Raw

_ONLY = "x"


def inputs_of(raw: Raw, *, target: str | None) -> tuple[TensorSpec, ...]:
    """Return one spec per array that is no answer: the batch is free, other sizes are those of the data, fractions are FP32.

    A table is one input of all its columns; a lone array, or the first that `bind` would take for the rows, is called x.
    """
    answers = {target} if target else set(TARGET_NAMES)
    rows = {name: array for name, array in raw.arrays.items() if name not in answers and name not in TRAINING_NAMES}
    if raw.is_table:
        return (TensorSpec(_ONLY, DType.FP32, (None, len(rows))),)
    named = [name for name in ROW_NAMES if name in rows]
    if len(rows) == 1 or named:
        return (_spec(_ONLY, rows[named[0]] if named else next(iter(rows.values()))),)
    return tuple(_spec(name, array) for name, array in rows.items())


def _spec(name: str, array: Array) -> TensorSpec:
    dtype = DType.INT64 if array.dtype.kind == "M" else DType.of(array.dtype)  # dates are bound as nanoseconds
    return TensorSpec(name, DType.FP32 if dtype.is_float else dtype, (None, *array.shape[1:]))
