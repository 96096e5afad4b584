"""Seldon Core 1's messages: data as ndarray or tensor, and feedback with the truth.

Takes JSON objects; gives values as nested lists, tensors, and late labels. Raises RequestError for what has no place in a tensor (binData,
strData) and for a truth that is not one value for each row. Form: SeldonMessage and Feedback in seldon-core, proto/prediction.proto.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fairlead.core.cloud_event import ID_LIMIT
from fairlead.core.dtype import DType
from fairlead.core.interface import Array, Interface, Label, TensorSpec, shorten
from fairlead.core.traffic_event import LateLabel
from fairlead.errors import RequestError
from fairlead.serve.collect.fitting import fit_only
from fairlead.serve.records import column_names, from_frame, from_rows
from fairlead.serve.tensor_json import shaped

_FORMS = ("data", "jsonData", "strData", "binData")


def is_seldon(value: dict[str, Any]) -> bool:
    """Whether an object is a SeldonMessage."""
    return any(form in value for form in _FORMS) or isinstance(value.get("status"), dict)


def seldon_inputs(interface: Interface, value: dict[str, Any]) -> dict[str, Array]:
    """Return what was asked. Names count where the version has columns of these names; a table without is taken in its order."""
    given = seldon_values(value)
    if isinstance(given, np.ndarray):
        return fit_only(interface.inputs, given)
    names = value["data"].get("names") if isinstance(value.get("data"), dict) else None
    if not isinstance(names, list | None):
        raise RequestError("The names of the message are not a list.")
    if names and set(map(str, names)) <= set(column_names(interface)):
        if not all(isinstance(row, list) for row in given):
            raise RequestError("The ndarray has names, and its rows are no lists.")
        return from_frame(interface, names, given)
    if names and interface.inputs[0].columns:
        raise RequestError(f"The version has no column '{shorten(str(names[0]))}'.", hint="Send the names of its columns, or none.")
    return from_rows(interface, given)


def seldon_values(value: dict[str, Any]) -> Any:
    """Return what a message holds: nested lists (ndarray), or an array (tensor)."""
    status = value.get("status")
    if isinstance(status, dict) and status.get("status") in ("FAILURE", 1):
        raise RequestError("The answer is an error.")
    data = value.get("data")
    if isinstance(data, dict) and isinstance(data.get("ndarray"), list):
        return data["ndarray"]
    if isinstance(data, dict) and isinstance(data.get("tensor"), dict):
        return _tensor(data["tensor"])
    if isinstance(value.get("jsonData"), list):
        return value["jsonData"]
    form = next((form for form in _FORMS if form in value), "nothing")
    raise RequestError(
        f"The message holds {form}, of which no rows are made.", hint="Understood are data.ndarray, data.tensor and lists in jsonData."
    )


def _tensor(tensor: dict[str, Any]) -> Array:
    shape, values = tensor.get("shape"), tensor.get("values")
    if not isinstance(shape, list) or not isinstance(values, list) or not all(type(size) is int for size in shape):
        raise RequestError("The tensor needs a shape of whole numbers, and values.")
    return shaped(TensorSpec("tensor", DType.FP64, (None,) * len(shape)), shape, values)


def seldon_label(value: dict[str, Any], request_id: str) -> LateLabel | None:
    """Return the truth that feedback tells; None where it tells a reward alone. It is about the answer that it repeats, where that has an
    identity, else about the event's request.
    """
    truth = value.get("truth")
    if not isinstance(truth, dict) or not any(form in truth for form in _FORMS):
        return None
    meta = value["response"].get("meta") if isinstance(value.get("response"), dict) else None
    puid = meta.get("puid") if isinstance(meta, dict) else None
    given = seldon_values(truth)
    rows = given.tolist() if isinstance(given, np.ndarray) else given
    if not isinstance(rows, list) or not rows:  # a tensor without dimensions is a number
        raise _not_by_row()
    known = puid if isinstance(puid, str) and 0 < len(puid) <= ID_LIMIT else request_id
    return LateLabel(known, tuple(_label(row) for row in rows))


def _label(row: Any) -> Label:
    while isinstance(row, list) and len(row) == 1:
        row = row[0]
    if not isinstance(row, str | int | float | bool):
        raise _not_by_row()
    return row


def _not_by_row() -> RequestError:
    return RequestError("The truth is not one value for each row.")
