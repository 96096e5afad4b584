"""Rows as people have them, to the tensors that a model takes: nested lists, records by column name, columns.

Takes JSON values and an Interface; gives tensors, not yet checked against the interface's shapes. Raises RequestError that names the
column, and the nearest right name for a wrong one. It never guesses: a missing column is an error, `null` is a missing number (NaN).
"""

from __future__ import annotations

import difflib
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from fairlead.core.deciding import undecided
from fairlead.core.dtype import DType
from fairlead.core.interface import Array, Interface, Task, TensorSpec, decide, shorten
from fairlead.core.interface import DecisionKind as Kind
from fairlead.errors import RequestError
from fairlead.serve.tensor_json import nested, pack, plain_nested

_FLOATS = (DType.FP32, DType.FP64)


class Before(NamedTuple):
    """What stood before rows that are read on their own: how many, and the first of all, like which the others have to be."""

    row_count: int = 0
    first: Any = None


NOTHING = Before()


def from_rows(interface: Interface, rows: Any, before: Before = NOTHING) -> dict[str, Array]:
    """Return tensors for a list of rows: records by name, lists in order of the columns, or the one input's own nesting.

    One record that is not in a list is one row. `rows` may be a part of them, which stands behind others.
    """
    if isinstance(rows, dict):
        rows = [rows]
    if not isinstance(rows, list) or not rows:
        raise RequestError("The rows are not a list, or an empty one.", hint=f"Send a list of rows; the model takes {describe(interface)}.")
    if before.row_count and isinstance(rows[0], dict) != isinstance(before.first, dict):
        raise RequestError(f"Row {before.row_count} is not of the kind of row 0.", hint="Send records only, or lists only.")
    if isinstance(rows[0], dict):
        return from_columns(interface, _turn(interface, rows, before))
    if len(interface.inputs) == 1:
        return {interface.inputs[0].name: fit(interface.inputs[0], nested(interface.inputs[0], rows))}
    names = [spec.name for spec in interface.inputs]
    if not all(isinstance(row, list) and len(row) == len(names) for row in rows):
        raise RequestError(
            f"The model has {len(names)} inputs; a row is a record or a list of {len(names)} values.",
            hint=f"It takes {describe(interface)}.",
        )
    return from_columns(interface, {name: [row[place] for row in rows] for place, name in enumerate(names)})


def from_columns(interface: Interface, columns: Mapping[str, Any]) -> dict[str, Array]:
    """Return tensors for values by name: each name is an input's, or one of an input's columns. What is read already is an array."""
    known = set(column_names(interface)) | {spec.name for spec in interface.inputs}
    _check_known(columns, known)
    tensors: dict[str, Array] = {}
    for spec in interface.inputs:
        if spec.name in columns:
            given = columns[spec.name]
            check_one_way(spec, columns)
            tensors[spec.name] = fit(spec, given if isinstance(given, np.ndarray) else nested(spec, given))
        elif any(column in columns for column in spec.columns):
            tensors[spec.name] = assemble(spec, columns)
        else:
            raise RequestError(f"Column '{spec.name}' is missing." if not spec.columns else f"Column '{spec.columns[0]}' is missing.")
    return tensors


def from_frame(
    interface: Interface, names: Sequence[str | int] | None, rows: list[list[Any]], before: Before = NOTHING
) -> dict[str, Array]:
    """Return tensors for a data frame: rows of values under column names. A model without names takes its columns in their order."""
    if names is None:
        return from_rows(interface, rows, before)
    texts = [str(name) for name in names]
    if len(set(texts)) != len(texts):
        raise RequestError("Two columns have the same name.", hint="Name each column once.")
    if not rows:
        raise RequestError("There are no rows.", hint="Send at least one.")
    for place, row in enumerate(rows, before.row_count):
        if len(row) != len(texts):
            raise RequestError(f"Row {place} has {len(row)} values for {len(texts)} columns.")
    only = interface.inputs[0]
    if len(interface.inputs) == 1 and not only.columns and texts != [only.name]:
        if texts != [str(place) for place in range(len(texts))] and all(map(_is_number, texts)):
            raise RequestError("The columns are named by numbers, as where a line of names is missing.", hint="Name them, or 0, 1, 2, ...")
        return {only.name: fit(only, nested(only, rows))}
    return from_columns(interface, dict(zip(texts, map(list, zip(*rows, strict=True)), strict=True)))


def column_names(interface: Interface) -> tuple[str, ...]:
    """Return what a record for this model names: the columns of table inputs, and the other inputs."""
    return tuple(name for spec in interface.inputs for name in (spec.columns or (spec.name,)))


def describe(interface: Interface) -> str:
    """Return what the model takes, for a person."""
    return ", ".join(spec.describe() for spec in interface.inputs)


def prediction(interface: Interface, outputs: Mapping[str, Array]) -> Any:
    """Return the answer as nested lists: a classifier's scores where it has them, else what decides, else every output by name."""
    rule = interface.decision
    if rule is not None:
        return plain_nested(outputs[rule.scores or rule.output])
    if len(outputs) == 1:
        return plain_nested(next(iter(outputs.values())))
    return {name: plain_nested(array) for name, array in outputs.items()}


def labels(interface: Interface, outputs: Mapping[str, Array]) -> list[Any] | None:
    """Return one label per row (a list of labels where several may hold), or None where the model has none to give.

    A row whose scores are NaN has None for its label.
    """
    rule = interface.decision
    if interface.task is not Task.CLASSIFICATION or rule is None:
        return None
    decided = decide(interface, outputs)
    if rule.kind is Kind.LABEL:
        found: list[Any] = plain_nested(decided)
    elif not interface.labels:
        return None
    elif rule.kind is Kind.THRESHOLD and decided.ndim > 1:
        found = [[label for label, is_set in zip(interface.labels, row, strict=False) if is_set] for row in decided.tolist()]
    else:
        found = _named(interface, decided.tolist())
    return without_undecided(interface, outputs, found)


def without_undecided(interface: Interface, outputs: Mapping[str, Array], found: list[Any]) -> list[Any]:
    """Return `found`, one label per row, with None for the rows whose scores are NaN."""
    missing = undecided(interface, outputs)
    return [None if is_missing else label for label, is_missing in zip(found, missing, strict=True)] if missing.any() else found


def _named(interface: Interface, indices: Any) -> Any:
    if isinstance(indices, list):
        return [_named(interface, index) for index in indices]
    return interface.labels[indices] if 0 <= indices < len(interface.labels) else indices


def _turn(interface: Interface, rows: list[Any], before: Before) -> dict[str, list[Any]]:
    """Records to columns. Each record has to name the same things."""
    names = (before.first if before.row_count else rows[0]).keys()
    for place, row in enumerate(rows, before.row_count):
        if not isinstance(row, dict):
            raise RequestError(f"Row {place} is not a record, as row 0 is.", hint="Send records only, or lists only.")
        if row.keys() != names:
            odd = min(row.keys() ^ names)
            _check_known(row, set(column_names(interface)))
            raise RequestError(f"Row {place} and row 0 do not both name '{shorten(odd)}'.", hint="A missing number is null.")
    return {name: [row[name] for row in rows] for name in names}


def check_one_way(spec: TensorSpec, given: Iterable[str]) -> None:
    """Raise RequestError where an input is given and one of its columns, too: one of them would be ignored."""
    twice = next((name for name in spec.columns if name in given and name != spec.name), None)
    if twice is not None:
        raise RequestError(f"Input '{spec.name}' and its column '{shorten(twice)}' are both given.", hint="Send one of them.")


def assemble(spec: TensorSpec, columns: Mapping[str, Any]) -> Array:
    """Return a (rows, columns) table, in the order of `spec`, of single columns; raises RequestError where one is missing or differs."""
    return np.stack(_parts(spec, columns), axis=1)


def assemble_in_steps(spec: TensorSpec, columns: Mapping[str, Array], count: int) -> Generator[None, None, Array]:
    """Return what `assemble` returns, yielding after about each `count` elements."""
    parts = _parts(spec, columns)
    table = np.empty((len(parts[0]), len(parts)), parts[0].dtype)
    taken = max(count // len(parts), 1)
    for place in range(0, len(table), taken):
        np.stack([part[place : place + taken] for part in parts], axis=1, out=table[place : place + taken])
        yield
    return table


def _parts(spec: TensorSpec, columns: Mapping[str, Any]) -> list[Array]:
    """Return the columns of a table, equally long."""
    parts: list[Array] = []
    for name in spec.columns:
        if name not in columns:
            raise RequestError(f"Column '{shorten(name)}' is missing.", hint=f"The model needs {len(spec.columns)} columns.")
        values = columns[name]
        if not isinstance(values, list | np.ndarray):
            raise RequestError(f"Column '{shorten(name)}' is not a list of values.")
        parts.append(values if isinstance(values, np.ndarray) else pack(column(spec, name), values))
    if len({part.shape[0] for part in parts}) != 1:
        raise RequestError("The columns have different lengths.", hint="Give each column one value per row.")
    return parts


def column(spec: TensorSpec, name: str) -> TensorSpec:
    """Return what a column of a table holds."""
    return replace(spec, name=name, shape=(None,), columns=())


def is_raw_slow(interface: Interface) -> bool:
    """Whether raw tensors take time to read: texts, and columns of tables. All others are views of what came."""
    return any(spec.columns or spec.dtype is DType.BYTES for spec in interface.inputs)


def values_of(spec: TensorSpec, array: Array) -> Array:
    """Return the elements of `array` as a column takes them: by their values, whatever type they were sent as. What JSON may not hold in
    that column raises RequestError here, too; infinities, which raw tensors can say, are taken.
    """
    flat, wanted = array.ravel(), spec.dtype.numpy
    if flat.dtype == wanted:
        return flat
    kind = flat.dtype.kind
    if spec.dtype in _FLOATS and kind in "iuf":
        with np.errstate(over="ignore"):
            found: Array = flat.astype(np.float64, copy=False).astype(wanted, copy=False)
        if kind != "f" or np.array_equal(np.isinf(found), np.isinf(flat)):
            return found
    elif spec.dtype.is_integer and kind in "iuf" and flat.size:
        least, most = int(np.iinfo(wanted).min), int(np.iinfo(wanted).max)  # type: ignore[type-var]
        if kind != "f" or (np.isfinite(flat).all() and (np.trunc(flat) == flat).all()):
            low, high = flat.min(), flat.max()
            if least <= int(low) and int(high) <= most:
                return flat.astype(wanted)
    return pack(spec, flat.tolist())  # says what is wrong with it, or takes a category's number for its text


def values_in_steps(spec: TensorSpec, array: Array, count: int) -> Generator[None, None, Array]:
    """Return what `values_of` returns, yielding after each `count` elements."""
    flat = array.ravel()
    if flat.dtype == spec.dtype.numpy or flat.size <= count:
        return values_of(spec, flat)
    found = np.empty(flat.size, spec.dtype.numpy)
    for place in range(0, flat.size, count):
        found[place : place + count] = values_of(spec, flat[place : place + count])
        yield
    return found


def fit(spec: TensorSpec, array: Array) -> Array:
    """Return `array` as the model takes it: a column of single values is a list to people and (rows, 1) to models."""
    return array.reshape(-1, 1) if array.ndim == 1 and len(spec.shape) == 2 and spec.shape[1] in {1, None} else array


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _check_known(given: Iterable[str], known: set[str]) -> None:
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name[:64], known, n=1)
            hint = f"Did you mean '{near[0]}'?" if near else f"It takes: {', '.join(sorted(known)[:10])}."
            raise RequestError(f"The model has no input or column '{shorten(name)}'.", hint=hint)


def example(spec: TensorSpec) -> Any:
    """Return one row for `spec` as nested lists, for documentation: zeros, false or empty texts; free dimensions have one element."""
    fill = {DType.BYTES: "", DType.BOOL: False}.get(spec.dtype, 0 if spec.dtype.is_integer else 0.0)
    value: Any = fill
    for size in reversed(spec.shape[1:]):
        value = [value] * (1 if size is None else size)
    return value
