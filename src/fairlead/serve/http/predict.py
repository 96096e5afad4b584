"""POST /predict, for people: rows in any usual form to the one model, an answer with labels.

`{"input": rows}` and `{"instances": rows}` take rows (nested lists, or records by column name), `{"inputs": {...}}` takes values by name.
Answers `{"prediction": ..., "labels": ..., "model": ..., "version": ...}`. Raises RequestError, NotFoundError.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec

from fairlead.core.interface import Array, Interface, Tensors, shorten
from fairlead.errors import NotFoundError, RequestError
from fairlead.serve.data_plane import DataPlane, InferRequest
from fairlead.serve.http.body import convert, decode
from fairlead.serve.http.long_rows import columns_in_steps, rows_in_steps
from fairlead.serve.http.message import Reply, json_reply
from fairlead.serve.http.outline import Skeleton, read_skeleton
from fairlead.serve.http.routes import Call
from fairlead.serve.http.row_answer import rows_answer
from fairlead.serve.http.v2 import find_version, infer_request
from fairlead.serve.http.v2_answer import who_answered
from fairlead.serve.long_bodies import LongBodies
from fairlead.serve.model_table import ModelTable, ServedVersion
from fairlead.serve.records import from_columns, from_rows, labels, prediction
from fairlead.serve.steps import LONG_BYTES, Steps

_DECODER = msgspec.json.Decoder(dict[str, Any])
_FORMS = ("input", "inputs", "instances")


class PredictHandlers:
    """`default_model` answers where there are several; "" means that there has to be one only. `long` answers where a body is large."""

    def __init__(self, plane: DataPlane, long: LongBodies, default_model: str = "") -> None:
        self._plane = plane
        self._long = long
        self._default_model = default_model

    async def predict(self, call: Call) -> Reply:
        """POST /predict."""
        name = default_name(self._plane.table, self._default_model)
        served, number = find_version(self._plane.table, call, name)
        if len(call.text) > LONG_BYTES:
            response = await self._long.infer(served, _read_in_steps(served, call, number))
        else:
            inputs = read_rows(served.interface, decode(_DECODER, call.text))
            response = await self._plane.infer(infer_request(served, inputs, call.request, number), served)
        interface = response.interface or served.interface  # the one that answered may number its classes otherwise
        body: dict[str, Any] = {"prediction": await rows_answer(response.outputs, partial(prediction, interface))}
        found = await rows_answer(response.outputs, partial(labels, interface))
        if found is not None:
            body["labels"] = found
        return json_reply(body | {"model": response.model, "version": response.version}, headers=who_answered(response))


def _read_in_steps(served: ServedVersion, call: Call, number: int | None) -> Steps[InferRequest]:
    """Read a large body."""
    skeleton = yield from read_skeleton(call.text)
    inputs = yield from read_rows_in_steps(served.interface, skeleton, convert(skeleton.value, dict[str, Any]))
    return infer_request(served, inputs, call.request, number)


def read_rows_in_steps(interface: Interface, skeleton: Skeleton, body: dict[str, Any]) -> Steps[Tensors]:
    """Return what `read_rows` returns, for `body`, a part of a large body's skeleton."""
    form, value = _form(body)
    if form == "inputs" and isinstance(value, dict):
        return (yield from columns_in_steps(interface, skeleton, value))
    return (yield from rows_in_steps(interface, skeleton, value))


def default_name(table: ModelTable, default_model: str) -> str:
    """Return the model that is asked where the path names none: the default one, or the only one."""
    names = sorted(table.models)
    if default_model:
        return default_model
    if not names:
        raise NotFoundError("Nothing is served here yet.", hint="Deploy a model, or move the followed alias to a version.")
    if len(names) > 1:
        hint = f"Ask /v2/models/NAME/infer, or start the server with a default model. Here are: {', '.join(names[:10])}."
        raise RequestError("Several models are served here, and none of them by default.", hint=hint)
    return names[0]


def read_rows(interface: Interface, body: dict[str, Any]) -> dict[str, Array]:
    """Return the tensors in one of the accepted forms."""
    form, value = _form(body)
    return from_columns(interface, value) if form == "inputs" and isinstance(value, dict) else from_rows(interface, value)


def _form(body: dict[str, Any]) -> tuple[str, Any]:
    """Return which form it is, and what stands there."""
    given = [form for form in _FORMS if form in body]
    unknown = [key for key in body if key not in _FORMS]
    if len(given) != 1 or unknown:
        what = (
            f"The body has the unknown key '{shorten(unknown[0])}'."
            if unknown
            else "The body needs exactly one of input, inputs, instances."
        )
        raise RequestError(what, hint='Send {"input": rows}, {"inputs": {name: values}} or {"instances": rows}.')
    return given[0], body[given[0]]
