"""POST /predict, for people: rows in any usual form to the one model, an answer with labels.

`{"input": rows}` and `{"instances": rows}` take rows (nested lists, or records by column name), `{"inputs": {...}}` takes values by name.
Answers `{"prediction": ..., "labels": ..., "model": ..., "version": ...}`. Raises RequestError, NotFoundError.
"""

from __future__ import annotations

from typing import Any

import msgspec

from fairlead.core.interface import Array, Interface, shorten
from fairlead.errors import NotFoundError, RequestError
from fairlead.serve.data_plane import DataPlane
from fairlead.serve.http.body import decode
from fairlead.serve.http.message import Reply, json_reply
from fairlead.serve.http.routes import Call
from fairlead.serve.http.v2 import find_version, infer_request
from fairlead.serve.http.v2_answer import who_answered
from fairlead.serve.model_table import ModelTable
from fairlead.serve.records import from_columns, from_rows, labels, prediction

_DECODER = msgspec.json.Decoder(dict[str, Any])
_FORMS = ("input", "inputs", "instances")


class PredictHandlers:
    """`default_model` answers where there are several; "" means that there has to be one only."""

    def __init__(self, plane: DataPlane, default_model: str = "") -> None:
        self._plane = plane
        self._default_model = default_model

    async def predict(self, call: Call) -> Reply:
        """POST /predict."""
        name = default_name(self._plane.table, self._default_model)
        served, number = find_version(self._plane.table, call, name)
        inputs = read_rows(served.interface, decode(_DECODER, call.text))
        response = await self._plane.infer(infer_request(served, inputs, call.request, number), served)
        interface = response.interface or served.interface  # the one that answered may number its classes otherwise
        body: dict[str, Any] = {"prediction": prediction(interface, response.outputs)}
        found = labels(interface, response.outputs)
        if found is not None:
            body["labels"] = found
        return json_reply(body | {"model": response.model, "version": response.version}, headers=who_answered(response))


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
    given = [form for form in _FORMS if form in body]
    unknown = [key for key in body if key not in _FORMS]
    if len(given) != 1 or unknown:
        what = (
            f"The body has the unknown key '{shorten(unknown[0])}'."
            if unknown
            else "The body needs exactly one of input, inputs, instances."
        )
        raise RequestError(what, hint='Send {"input": rows}, {"inputs": {name: values}} or {"instances": rows}.')
    value = body[given[0]]
    return from_columns(interface, value) if given[0] == "inputs" and isinstance(value, dict) else from_rows(interface, value)
