"""Rows and columns of a long body to the tensors that a model takes, a piece at a time.

Takes a Skeleton, and the values or marks that a body's form has in it; gives what `records` gives for the whole body. Raises RequestError.
Laws: what is read in pieces is what is read at once; a later row has to be like the first one, whatever piece it is in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from fairlead.core.interface import Array, Interface, TensorSpec
from fairlead.errors import RequestError
from fairlead.serve.http.outline import LongList, Skeleton
from fairlead.serve.records import NOTHING, Before, assemble_in_steps, column, fit, from_columns, from_frame, from_rows
from fairlead.serve.steps import PIECE_COUNT, Steps
from fairlead.serve.table_text import read_csv
from fairlead.serve.tensor_json import nested, nested_in_steps, pack

Tensors: TypeAlias = dict[str, Array]
_FIELD_COUNT = 2**12  # fields of CSV that are read in about a millisecond
ReadRows: TypeAlias = Callable[[Interface, list[Any], Before], Tensors]


def rows_in_steps(interface: Interface, skeleton: Skeleton, value: Any, read: ReadRows = from_rows) -> Steps[Tensors]:
    """Return tensors for rows, as `read` does for a part of them."""
    found = skeleton.list_at(value)
    if found is None:
        return read(interface, (yield from skeleton.filled(value)), NOTHING)
    parts: dict[str, list[Array]] = {}
    before, only = NOTHING, interface.inputs[0]
    for start, end in found.pieces:
        rows = yield from skeleton.run(found, start, end)
        first = before.first if before.row_count else rows[0] if rows else None
        count = len(rows)
        if read is from_rows and isinstance(first, list) and len(interface.inputs) == 1 and found.has_child(start, end):
            tensors = {only.name: fit(only, (yield from nested_in_steps(only, rows, PIECE_COUNT)))}
        else:
            tensors = read(interface, rows, before)
        for name, array in tensors.items():
            parts.setdefault(name, []).append(array)
        before = Before(before.row_count + count, first)
        yield
    return (yield from _joined(parts))


def frame_in_steps(interface: Interface, names: Sequence[str | int] | None, skeleton: Skeleton, value: Any) -> Steps[Tensors]:
    """Return tensors for the rows of a data frame."""
    if names is None:
        return (yield from rows_in_steps(interface, skeleton, value))

    def read(interface: Interface, rows: list[Any], before: Before) -> Tensors:
        if not all(isinstance(row, list) for row in rows):
            raise RequestError("A row of the data is not a list of values.")
        return from_frame(interface, names, rows, before)

    return (yield from rows_in_steps(interface, skeleton, value, read))


def csv_in_steps(interface: Interface, text: bytes | bytearray, count: int = _FIELD_COUNT) -> Steps[Tensors]:
    """Return tensors for CSV, yielding after about each `count` fields."""
    parts: dict[str, list[Array]] = {}
    before = NOTHING
    for names, rows in read_csv(interface, text, count):
        for name, array in from_frame(interface, names, rows, before).items():
            parts.setdefault(name, []).append(array)
        before = Before(before.row_count + len(rows), rows[0])
        yield
    return (yield from _joined(parts))


def columns_in_steps(interface: Interface, skeleton: Skeleton, columns: Mapping[str, Any]) -> Steps[Tensors]:
    """Return tensors for values by name."""
    specs = {spec.name: spec for spec in interface.inputs}
    known = {name: column(spec, name) for spec in interface.inputs for name in spec.columns} | specs
    read: dict[str, Any] = {}
    for name, value in columns.items():
        found = skeleton.list_at(value)
        if name in known and found is not None:
            read[name] = yield from _array(known[name], skeleton, found, is_column=name not in specs)
        elif name in known and isinstance(value, list):
            read[name] = nested(known[name], value) if name in specs else pack(known[name], value)
            yield
        else:
            read[name] = yield from skeleton.filled(value)
    for spec in interface.inputs:
        if spec.columns and spec.name not in read and all(isinstance(read.get(name), np.ndarray) for name in spec.columns):
            table = yield from assemble_in_steps(spec, read, PIECE_COUNT)
            read = {name: value for name, value in read.items() if name not in spec.columns} | {spec.name: table}
    return from_columns(interface, read)


def _array(spec: TensorSpec, skeleton: Skeleton, found: LongList, *, is_column: bool) -> Steps[Array]:
    parts: list[Array] = []
    for start, end in found.pieces:
        values = yield from skeleton.run(found, start, end)
        if is_column:
            parts.append(pack(spec, values))
        elif found.has_child(start, end):
            parts.append((yield from nested_in_steps(spec, values, PIECE_COUNT)))
        else:
            parts.append(nested(spec, values))
        yield
    return (yield from _joined({spec.name: parts}))[spec.name]


def _joined(parts: dict[str, list[Array]]) -> Steps[Tensors]:
    tensors: Tensors = {}
    for name, arrays in parts.items():
        tail = arrays[0].shape[1:]
        if any(array.shape[1:] != tail for array in arrays):
            raise RequestError(f"Input '{name}' is ragged: its lists have different lengths.")
        tensors[name] = joined = np.empty((sum(map(len, arrays)), *tail), arrays[0].dtype)
        place = 0
        for array in arrays:
            joined[place : place + len(array)] = array
            place += len(array)
            yield
    return tensors
