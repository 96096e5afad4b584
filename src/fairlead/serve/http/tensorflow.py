"""TensorFlow Serving's REST API: /v1/models/{name}[/versions/{version}|/labels/{label}][:predict], which KServe calls V1.

Takes `{"instances": rows}` (row format) or `{"inputs": ...}` (column format); answers `{"predictions": ...}` or `{"outputs": ...}` as
tensorflow.org/tfx/serving/api_rest says: one named tensor alone, several by name. Raises RequestError, NotFoundError, UnavailableError.
"""

from __future__ import annotations

from typing import Any

import msgspec

from fairlead.core.interface import Array, Interface, Tensors, shorten
from fairlead.errors import NotFoundError, RequestError
from fairlead.serve.data_plane import DataPlane, InferRequest
from fairlead.serve.http.body import convert, decode
from fairlead.serve.http.long_rows import columns_in_steps, rows_in_steps
from fairlead.serve.http.message import Reply, json_reply
from fairlead.serve.http.outline import read_skeleton
from fairlead.serve.http.routes import Call
from fairlead.serve.http.row_answer import rows_answer
from fairlead.serve.http.v2 import find_version, infer_request, parse_version
from fairlead.serve.http.v2_answer import who_answered
from fairlead.serve.long_bodies import LongBodies
from fairlead.serve.model_table import ServedVersion, State
from fairlead.serve.records import from_columns, from_rows
from fairlead.serve.steps import LONG_BYTES, Steps, at_once
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
    """Handlers of /v1/models/{name}...; `plane` answers, `long` where a body is large."""

    def __init__(self, plane: DataPlane, long: LongBodies) -> None:
        self._plane = plane
        self._long = long

    async def predict(self, call: Call) -> Reply:
        """POST ...:predict."""
        served, number = find_version(self._plane.table, call)
        forms: list[bool] = []

        def steps() -> Steps[InferRequest]:
            """Read the body; says in `forms` whether it is in row format."""
            is_rows, inputs = yield from _read(served.interface, call)
            forms.append(is_rows)
            return infer_request(served, inputs, call.request, number, call.parameters.get("label", ""))

        if len(call.text) > LONG_BYTES:
            response = await self._long.infer(served, steps())
        else:
            response = await self._plane.infer(at_once(steps()), served)
        if forms[0]:
            body = {"predictions": await rows_answer(response.outputs, _rows)}
        else:
            body = {"outputs": await rows_answer(response.outputs, _columns)}
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


def _read(interface: Interface, call: Call) -> Steps[tuple[bool, Tensors]]:
    """Return whether a body is in row format, and its tensors."""
    skeleton = None
    if len(call.text) > LONG_BYTES:
        skeleton = yield from read_skeleton(call.text)
    request = decode(_DECODER, call.text) if skeleton is None else convert(skeleton.value, TensorFlowRequest)
    if request.signature_name not in _SIGNATURES:
        raise RequestError(f"There is no signature '{shorten(request.signature_name)}'.", hint="Leave signature_name out.")
    is_rows = request.instances is not msgspec.UNSET
    if is_rows == (request.inputs is not msgspec.UNSET):
        raise RequestError("The body needs exactly one of instances (rows) and inputs (columns).")
    if is_rows and not isinstance(request.instances, list):
        raise RequestError("'instances' is not a list of rows.")
    value = request.instances if is_rows else request.inputs
    if not is_rows and isinstance(value, dict):
        return is_rows, from_columns(interface, value) if skeleton is None else (yield from columns_in_steps(interface, skeleton, value))
    return is_rows, from_rows(interface, value) if skeleton is None else (yield from rows_in_steps(interface, skeleton, value))


def _columns(outputs: dict[str, Array]) -> Any:
    plain = {name: plain_nested(array) for name, array in outputs.items()}
    return next(iter(plain.values())) if len(plain) == 1 else plain


def _rows(outputs: dict[str, Array]) -> list[Any]:
    plain = {name: plain_nested(array) for name, array in outputs.items()}
    if len(plain) == 1:
        return list(next(iter(plain.values())))
    return [dict(zip(plain, row, strict=True)) for row in zip(*plain.values(), strict=True)]
