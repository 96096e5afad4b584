"""Tensors of other servers to those of a registered version: by name, or where that leaves no doubt by what they hold.

Other servers call their tensors otherwise (`predict`, `output-0`) and send FP64 where the version has FP32. Takes what was sent and the
version's specifications; gives arrays of exactly the version's types and shapes. Raises RequestError where something does not fit, or
where two outputs could be meant: it never guesses. Numbers change their type only where each keeps its value, or is rounded to FP32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fairlead.core.dtype import DType
from fairlead.core.interface import Array, TensorSpec, check_tensor, shorten
from fairlead.errors import RequestError
from fairlead.serve.records import assemble, check_one_way, column, fit
from fairlead.serve.tensor_json import nested

_NUMBERS = "iuf"


def fit_tensors(specs: Sequence[TensorSpec], given: Mapping[str, Array]) -> dict[str, Array]:
    """Return tensors by the version's names. Columns of a table may come one by one; a single tensor of another name may be any of them
    that it fits.
    """
    by_name = {spec.name: spec for spec in specs}
    if len(given) == 1 and not given.keys() & by_name.keys():
        ((name, array),) = given.items()
        if not any(name in spec.columns for spec in specs):
            return fit_only(specs, array, name)
    found: dict[str, Array] = {}
    columns: dict[str, Array] = {}
    tables = {name: spec for spec in specs for name in spec.columns}
    for name, array in given.items():
        if name in by_name:
            found[name] = fit_tensor(by_name[name], array)
        elif name in tables:
            columns[name] = array
        else:
            raise _unknown(specs, name)
    for spec in {tables[name].name: tables[name] for name in columns}.values():
        if spec.name in given:
            check_one_way(spec, given)
        of_table = [name for name in spec.columns if name in columns]
        found[spec.name] = assemble(spec, {name: fit_tensor(column(spec, name), columns[name].reshape(-1)) for name in of_table})
    return found


def fit_only(specs: Sequence[TensorSpec], given: Any, name: str = "") -> dict[str, Array]:
    """Return the one tensor that came, an array or nested lists, under the name of the specification that it fits."""
    fitting: dict[str, Array] = {}
    problem: RequestError | None = None
    for spec in specs:
        try:
            fitting[spec.name] = fit_tensor(spec, given if isinstance(given, np.ndarray) else nested(spec, given))
        except RequestError as error:
            problem = error
    if len(fitting) > 1:  # whole numbers fit a score, too; a label is what they mean
        exact = {spec.name for spec in specs if spec.name in fitting and not spec.dtype.is_float}
        fitting = {key: array for key, array in fitting.items() if key in exact} if len(exact) == 1 else fitting
    if len(fitting) == 1:
        return fitting
    if problem is not None and len(specs) == 1:
        raise problem
    what = f"'{shorten(name)}'" if name else "What was sent"
    listed = ", ".join(spec.describe() for spec in specs)
    raise RequestError(f"{what} could be {' or '.join(fitting)}." if fitting else f"{what} is none of {listed}.", hint="Name the tensor.")


def fit_tensor(spec: TensorSpec, array: Array) -> Array:
    """Return an array with the type and the shape of `spec`."""
    array = fit(spec, array)
    if array.ndim == 2 and array.shape[1] == 1 and len(spec.shape) == 1:
        array = array.reshape(-1)
    array = _cast(spec, array)
    check_tensor(spec, array)
    return array


def _cast(spec: TensorSpec, array: Array) -> Array:
    wanted = spec.dtype.numpy
    if array.dtype == wanted:
        return array
    if spec.dtype is DType.BYTES and spec.is_category and array.dtype.kind in "iu":
        texts = np.empty(array.shape, object)
        texts[...] = array.astype(str)
        return texts
    if array.dtype.kind not in _NUMBERS or wanted.kind not in _NUMBERS:
        raise RequestError(f"Input '{spec.name}' holds {_kind(array)}.", hint=f"Expected {spec.describe()}.")
    with np.errstate(over="ignore", invalid="ignore"):
        cast = array.astype(wanted)
    if spec.dtype.is_float:
        is_kept = bool((np.isfinite(cast) | ~np.isfinite(array)).all())
    else:
        is_kept = bool((cast == array).all() and ((cast < 0) == (array < 0)).all())
    if not is_kept:
        raise RequestError(f"Input '{spec.name}' holds a number that is no {spec.dtype.value}.", hint=f"Expected {spec.describe()}.")
    return cast


def _kind(array: Array) -> str:
    return {"O": "texts", "b": "truth values"}.get(array.dtype.kind, "numbers")


def _unknown(specs: Sequence[TensorSpec], name: str) -> RequestError:
    listed = ", ".join(spec.name for spec in specs)
    return RequestError(f"The version has no tensor '{shorten(name)}'.", hint=f"It has: {listed[:200]}.")
