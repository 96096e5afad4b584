"""Fits raw arrays or columns to the inputs of a model's interface. Pure; raises DataError that names the column or array.

Numbered as in docs/reference/data.md: 1 the target is set apart, 2 arrays or columns are matched to inputs, 3 shapes are brought in line,
4 element types are brought in line, 5 row counts are compared, 6 the target is brought into the form of the model's decisions.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np

from fairlead.core.dataset import Dataset
from fairlead.core.dtype import DType
from fairlead.core.interface import Array, Interface, TensorSpec, shorten
from fairlead.datasets.cast import cast_to
from fairlead.datasets.dates import are_dates
from fairlead.datasets.objects import settle
from fairlead.datasets.raw import Raw
from fairlead.datasets.target import bind_target
from fairlead.errors import DataError

# In this order: held-out rows come before training rows, since a model is to be proven on what it has not seen.
ROW_NAMES = ("x_test", "X_test", "x_val", "X_val", "x", "X", "inputs", "input", "features", "images", "data", "rows")
TARGET_NAMES = ("y_test", "Y_test", "y_val", "Y_val", "y", "Y", "labels", "label", "targets", "target")
TRAINING_NAMES = frozenset({"x_train", "X_train", "y_train", "Y_train"})


def bind(raw: Raw, interface: Interface, *, target: str | None = None, allow_missing: bool = False) -> Dataset:
    """Return the dataset that `raw` holds for `interface`; `target` names the column or array with the right answers.

    With `allow_missing`, NaN may stand in float inputs. The dataset's description says what was decided on the way.
    """
    inputs, answers, said = bind_inputs(raw, interface, target=target, allow_missing=allow_missing)
    rows = int(next(iter(inputs.values())).shape[0])
    bound = None if answers is None else bind_target(answers, interface, rows, said)
    return Dataset(inputs, bound, description="; ".join(said), columns=_trusted_columns(raw, interface, target))


def _trusted_columns(raw: Raw, interface: Interface, target: str | None) -> tuple[str, ...]:
    """Return the names of a table's columns where they were taken in their order as the features of a flat input without names."""
    (first, *others) = interface.inputs
    is_flat = not others and len(first.shape) == 2
    if not raw.is_table or not is_flat or first.columns or first.name in raw.arrays:
        return ()
    return tuple(name for name in raw.arrays if name != target)


def bind_inputs(
    raw: Raw, interface: Interface, *, target: str | None, allow_missing: bool, allow_extra: bool = False
) -> tuple[dict[str, Array], Array | None, list[str]]:
    """Return the inputs, the target as it stands in the data (None without one), and sentences on what was decided on the way.

    With `allow_extra`, a table may hold columns that the model does not take, where the model names those that it takes.
    """
    if raw.is_table:
        matched, answers, said = _match_columns(raw, interface, target, allow_missing=allow_missing, allow_extra=allow_extra)
    else:
        matched, answers, said = _match_arrays(raw, interface, target)
    inputs = {}
    for spec in interface.inputs:
        where = _where(spec, raw)
        array = _to_shape(matched[spec.name], spec, where, said)
        _say_dates(array, spec, where, said)
        inputs[spec.name] = np.ascontiguousarray(_cast(array, spec, where, allow_missing=allow_missing))
    _check_rows(inputs)
    _say_missing(inputs, said)
    return inputs, answers, said


def text_columns(interface: Interface) -> frozenset[str]:
    """Return the names of the columns that the model takes as text."""
    texts = [spec for spec in interface.inputs if spec.dtype is DType.BYTES]
    return frozenset(name for spec in texts for name in (*spec.columns, spec.name))


def _match_arrays(raw: Raw, interface: Interface, target: str | None) -> tuple[dict[str, Array], Array | None, list[str]]:
    """1 and 2 for named arrays: return the array for each input, the target's array, and what was decided."""
    said: list[str] = []
    arrays = dict(raw.arrays)
    wanted = [spec.name for spec in interface.inputs]
    answers = _take_target(arrays, target, wanted, said)
    if all(name in arrays for name in wanted):
        used = {name: arrays.pop(name) for name in wanted}
    elif len(wanted) == 1:
        name = "" if "" in arrays else next((name for name in ROW_NAMES if name in arrays), None)
        if name is None and len(arrays) == 1:
            name = next(iter(arrays))
        if name is None:
            raise DataError(f"None of the arrays ({_names(arrays)}) holds the model's rows.", hint=f"Name it 'x' or '{wanted[0]}'.")
        if name:
            said.append(f"rows from '{name}'")
        used = {wanted[0]: arrays.pop(name)}
    else:
        missing = [name for name in wanted if name not in arrays]
        raise DataError(f"No array for the model's input {_names(missing)}.", hint=f"The file has: {_names(arrays)}.")
    extra = [name for name in arrays if name not in (*ROW_NAMES, *TARGET_NAMES, *TRAINING_NAMES)]
    if extra:
        raise DataError(f"The model has no input for the array {_names(extra)}.", hint=f"Its inputs are: {_names(wanted)}.")
    return used, answers, said


def _take_target(arrays: dict[str, Array], target: str | None, wanted: list[str], said: list[str]) -> Array | None:
    if target is not None:
        if target not in arrays:
            what = "A single array has no target; save x and y in one .npz file." if "" in arrays else f"There is: {_names(arrays)}."
            raise DataError(f"There is no target '{shorten(target)}' in the data.", hint=what)
        return arrays.pop(target)
    known = (name for name in TARGET_NAMES if name in arrays and name not in wanted)
    # The target of the rows that are used: y for x, y_test for x_test.
    rows = next((name for name in ROW_NAMES if name in arrays), "")
    suffix = rows.partition("_")[2]
    name = next((name for name in known if name.partition("_")[2] == suffix or not suffix), None)
    if name is None:
        return None
    said.append(f"target from '{name}'")
    return arrays.pop(name)


def _match_columns(
    raw: Raw, interface: Interface, target: str | None, *, allow_missing: bool, allow_extra: bool
) -> tuple[dict[str, Array], Array | None, list[str]]:
    """1 and 2 for a table: return the array for each input, the target's column, and what was decided."""
    said: list[str] = []
    columns = dict(raw.arrays)
    answers = None
    if target is not None:
        if target not in columns:
            raise DataError(f"There is no column '{shorten(target)}' for the target.", hint=f"The table has: {_names(columns)}.")
        answers = columns.pop(target)
    used: dict[str, Array] = {}
    by_name = [spec for spec in interface.inputs if spec.columns or spec.name in columns]
    for spec in by_name:
        used[spec.name] = _take_columns(columns, spec, said, allow_missing=allow_missing)
    rest = [spec for spec in interface.inputs if spec not in by_name]
    if len(rest) == 1 and not by_name:
        used[rest[0].name] = _take_all(columns, rest[0], said, allow_missing=allow_missing)
    elif rest:
        raise DataError(
            f"The table has no column for the model's input {_names(spec.name for spec in rest)}.", hint=f"It has: {_names(columns)}."
        )
    elif columns and not allow_extra:
        hint = (
            f"Is it the target? Say so: --target {next(iter(columns))}"
            if target is None and len(columns) == 1
            else "Drop what is not an input."
        )
        raise DataError(f"The model has no input for the column {_names(columns)}.", hint=hint)
    return used, answers, said


def _take_columns(columns: dict[str, Array], spec: TensorSpec, said: list[str], *, allow_missing: bool) -> Array:
    names = spec.columns or (spec.name,)
    missing = [name for name in names if name not in columns]
    if missing:
        raise DataError(f"The table lacks the column {_names(missing)}.", hint=f"It has: {_names(columns)}.")
    return _stack({name: columns.pop(name) for name in names}, spec, said, allow_missing=allow_missing)


def _take_all(columns: dict[str, Array], spec: TensorSpec, said: list[str], *, allow_missing: bool) -> Array:
    """The model does not name its features, so the file's order has to be right."""
    width = math.prod(size for size in spec.shape[1:] if size is not None)
    has_free = None in spec.shape[1:]
    if (not has_free and len(columns) != width) or (has_free and len(spec.shape) != 2):
        left = "1 column is" if len(columns) == 1 else f"{len(columns)} columns are"
        raise DataError(
            f"{left} left for the model's input, which is {spec.describe()}.",
            hint="Drop what is not an input, and name the target where there is one.",
        )
    said.append("columns in the file's order, since the model does not name them")
    stacked = _stack(columns, spec, said, allow_missing=allow_missing)
    return stacked if has_free else stacked.reshape(stacked.shape[0], *(size or 0 for size in spec.shape[1:]))


def _stack(columns: Mapping[str, Array], spec: TensorSpec, said: list[str], *, allow_missing: bool) -> Array:
    """4 for a table: return the columns side by side, (rows, columns), each cast where its name is known."""
    for name, column in columns.items():
        _say_dates(column, spec, _column(name), said)
    cast = [_cast(column, spec, _column(name), allow_missing=allow_missing) for name, column in columns.items()]
    return np.stack(cast, axis=1)


def _cast(array: Array, spec: TensorSpec, where: str, *, allow_missing: bool) -> Array:
    return cast_to(array, spec.dtype, where, allow_missing=allow_missing, is_category=spec.is_category)


def _say_dates(array: Array, spec: TensorSpec, where: str, said: list[str]) -> None:
    if spec.dtype is not DType.BYTES and are_dates(settle(array, where)):
        rounded = ", which FP32 holds to about 2 minutes" if spec.dtype is DType.FP32 else ""
        said.append(f"{where[:1].lower()}{where[1:]}: dates read as nanoseconds since 1970{rounded}")


def _say_missing(inputs: Mapping[str, Array], said: list[str]) -> None:
    counts = {name: int(np.isnan(tensor).sum()) for name, tensor in inputs.items() if tensor.dtype.kind == "f"}
    if any(counts.values()):
        said.append(f"{sum(counts.values())} missing values in {_names(name for name, count in counts.items() if count)}")


def _to_shape(array: Array, spec: TensorSpec, where: str, said: list[str]) -> Array:
    """3: return `array` in the rank of `spec`, adding or dropping axes of size 1 after the first."""
    if _fits(array.shape, spec):
        return array
    shape = list(array.shape)
    while len(shape) < len(spec.shape) and shape and spec.shape[len(shape)] in (1, None):
        shape.append(1)
    while len(shape) > max(len(spec.shape), 1) and shape[-1] == 1:
        shape.pop()
    if shape and _fits(tuple(shape), spec):
        if len(shape) > 2 or len(array.shape) > 2:
            said.append(f"shape {list(array.shape)} read as {shape}")
        return array.reshape(shape)
    if shape == [*(size or 0 for size in spec.shape[1:])]:
        raise DataError(f"{where} has shape {list(array.shape)}: one row without the batch dimension.", hint="Save it as x[None].")
    raise DataError(f"{where} has shape {list(array.shape)}; the model takes {spec.describe()}.", hint="Prepare the rows as in training.")


def _fits(shape: tuple[int, ...], spec: TensorSpec) -> bool:
    return len(shape) == len(spec.shape) and all(want is None or want == got for want, got in zip(spec.shape[1:], shape[1:], strict=True))


def _check_rows(inputs: Mapping[str, Array]) -> None:
    """5: raise DataError where inputs have different numbers of rows, or none."""
    counts = {name: int(array.shape[0]) for name, array in inputs.items()}
    if len(set(counts.values())) != 1:
        raise DataError(f"The inputs have different numbers of rows: {', '.join(f'{name} {count}' for name, count in counts.items())}.")
    if not all(counts.values()):
        raise DataError("The data has no rows.", hint="Give at least one; of a deployment, a few hundred make the figures mean something.")


def _where(spec: TensorSpec, raw: Raw) -> str:
    if raw.is_table and (spec.columns or spec.name in raw.arrays):
        return _column(spec.name) if spec.name in raw.arrays else f"The table for input '{spec.name}'"
    return f"The data for input '{spec.name}'"


def _column(name: str) -> str:
    return f"Column '{shorten(name)}'"


def _names(names: Iterable[str]) -> str:
    """At most ten names, quoted."""
    listed = [f"'{shorten(name)}'" for name in names]
    return ", ".join(listed[:10]) + (f" and {len(listed) - 10} more" if len(listed) > 10 else "") if listed else "nothing"
