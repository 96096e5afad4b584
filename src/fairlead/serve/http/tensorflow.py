"""TensorFlow Serving's REST API: /v1/models/{name}[/versions/{version}|/labels/{label}][:predict], which KServe calls V1.

Takes `{"instances": rows}` (row format) or `{"inputs": ...}` (column format); answers `{"predictions": ...}` or `{"outputs": ...}` as
tensorflow.org/tfx/serving/api_rest says: one named tensor alone, several by name. Raises RequestError, NotFoundError, UnavailableError.
"""

from __future__ import annotations

from typing import Any

import msgspec

from fairlead.core.interface import Array, shorten
from fairlead.errors import NotFoundError, RequestError
from fairlead.serve.data_plane import DataPlane
from fairlead.serve.http.body import decode
from fairlead.serve.http.message import Reply, json_reply
from fairlead.serve.http.routes import Call
from fairlead.serve.http.v2 import find_version, infer_request, parse_version
from fairlead.serve.http.v2_answer import who_answered
from fairlead.serve.model_table import ServedVersion, State
from fairlead.serve.records import from_columns, from_rows
from fairlead.serve.tensor_json import plain_nested

_STATES = {State.LOADING: "LOADING", State.READY: "AVAILABLE", State.UNLOADING: "UNLOADING", State.UNAVAILABLE: "END"}
_SIGNATURES = ("", "serving_default")


class TensorFlowRequest(msgspec.Struct):
    """A predict request. Exactly one of `instances` and `inputs` is set."""

    instances: Any = msgspec.UNSET
    inputs: Any = msgspec.UNSET
    signature_name: str = ""


_DECODER = msgspec.json.Decoder(TensorFlowRequest)


class TensorFlowHandlers:
    """Handlers of /v1/models/{name}...; `plane` answers."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane

    async def predict(self, call: Call) -> Reply:
        """POST ...:predict."""
        served, number = find_version(self._plane.table, call)
        request = decode(_DECODER, call.text)
        if request.signature_name not in _SIGNATURES:
            raise RequestError(f"There is no signature '{shorten(request.signature_name)}'.", hint="Leave signature_name out.")
        is_rows = request.instances is not msgspec.UNSET
        if is_rows == (request.inputs is not msgspec.UNSET):
            raise RequestError("The body needs exactly one of instances (rows) and inputs (columns).")
        interface = served.interface
        if is_rows:
            if not isinstance(request.instances, list):
                raise RequestError("'instances' is not a list of rows.")
            inputs = from_rows(interface, request.instances)
        else:
            is_named = isinstance(request.inputs, dict)
            inputs = from_columns(interface, request.inputs) if is_named else from_rows(interface, request.inputs)
        label = call.parameters.get("label", "")
        response = await self._plane.infer(infer_request(served, inputs, call.request, number, label), served)
        body = {"predictions": _rows(response.outputs)} if is_rows else {"outputs": _columns(response.outputs)}
        return json_reply(body, headers=who_answered(response))

    async def models(self, call: Call) -> Reply:
        """GET /v1/models, in KServe's form."""
        del call
        return json_reply({"models": sorted(self._plane.table.models)})

    async def status(self, call: Call) -> Reply:
        """GET /v1/models/{name}[/versions/{version}|/labels/{label}]: TensorFlow Serving's answer, and KServe's `name` and `ready`."""
        name = call.parameters["name"]
        number = parse_version(call.parameters.get("version"))
        if number is None and ("label" in call.parameters or name not in self._plane.table.models):
            number = self._resolve(call).version.number
        states = [state for state in self._plane.table.states() if state.name == name and number in {None, state.number}]
        if not states:
            raise NotFoundError(f"There is no version {number} of model '{shorten(name)}' here.")
        return json_reply(
            {
                "name": name,
                "ready": self._plane.table.is_ready(name, number),
                "model_version_status": [
                    {
                        "version": str(state.number),
                        "state": _STATES[state.state],
                        "status": {"error_code": "UNAVAILABLE" if state.code else "OK", "error_message": state.code},
                    }
                    for state in states
                ],
            }
        )

    def _resolve(self, call: Call) -> ServedVersion:
        version, label = call.parameters.get("version"), call.parameters.get("label", "")
        return self._plane.table.resolve(call.parameters["name"], parse_version(version), label)


def _columns(outputs: dict[str, Array]) -> Any:
    plain = {name: plain_nested(array) for name, array in outputs.items()}
    return next(iter(plain.values())) if len(plain) == 1 else plain


def _rows(outputs: dict[str, Array]) -> list[Any]:
    plain = {name: plain_nested(array) for name, array in outputs.items()}
    if len(plain) == 1:
        return list(next(iter(plain.values())))
    return [dict(zip(plain, row, strict=True)) for row in zip(*plain.values(), strict=True)]
