"""The models of the Open Inference Protocol V2 over REST: inference, metadata, readiness.

Takes routed calls; gives replies. Raises FairleadErrors, which the api maps to statuses. Tensors travel as JSON, as raw bytes behind it
(extension binary_tensor_data), or as a body that is one raw tensor. Specification: github.com/kserve/open-inference-protocol.
"""

from __future__ import annotations

import re

import msgspec

from fairlead.core.interface import Tensors, TensorSpec, shorten
from fairlead.errors import NotFoundError
from fairlead.serve.data_plane import DataPlane, InferRequest, InferResponse
from fairlead.serve.http.long_lists import Cut, cut_request, is_long_raw
from fairlead.serve.http.message import HttpRequest, Reply, json_reply
from fairlead.serve.http.routes import Call
from fairlead.serve.http.v2_answer import answer, answer_in_steps, is_long_answer, raw_outputs
from fairlead.serve.http.v2_request import decode_request, raw_input, read_inputs
from fairlead.serve.long_bodies import LongBodies
from fairlead.serve.model_table import ModelTable, ServedVersion
from fairlead.serve.parameters import NONE, read_parameters
from fairlead.serve.records import column_names
from fairlead.serve.steps import LONG_BYTES, Steps, in_turn
from fairlead.serve.trace_context import read_trace
from fairlead.serve.traffic_pins import read_pin

_NONE_RAW: frozenset[str] = frozenset()
_NO_ARRAYS: Tensors = {}
_VERSION = re.compile(r"v?([1-9][0-9]{0,8})")


def parse_version(text: str | None) -> int | None:
    """Return the number in `3` or `v3` (None for None); raises NotFoundError, since nothing else can exist."""
    if text is None:
        return None
    match = _VERSION.fullmatch(text)
    if match is None:
        raise NotFoundError(f"There is no version '{shorten(text)}'.", hint="Versions are numbers.")
    return int(match[1])


def find_version(table: ModelTable, call: Call, name: str = "") -> tuple[ServedVersion, int | None]:
    """Return the version that the path, or the head, of an inference request leads to, and its number where one of them names it.

    `name` is the model where the path names none.
    """
    number, pin = parse_version(call.parameters.get("version")), read_pin(call.request.headers)
    served = table.resolve(name or call.parameters["name"], number, call.parameters.get("label", ""), pin)
    return served, number if pin is None else served.version.number


def trace_of(request: HttpRequest) -> str:
    """Return the trace that a request belongs to."""
    headers = request.headers
    return read_trace(headers.get(b"traceparent"), headers.get(b"tracestate")) if b"traceparent" in headers else ""


def infer_request(served: ServedVersion, inputs: Tensors, request: HttpRequest, number: int | None, label: str = "") -> InferRequest:
    """Return what is asked of `served` for a request that says no more than its inputs, and the version's number or label, if any."""
    return InferRequest(
        served.version.name,
        inputs,
        number,
        request_id=request.request_id,
        transport="http",
        trace=trace_of(request),
        label=label,
        metadata=request.headers,
    )


class V2Handlers:
    """Handlers of /v2/models/{name}...; `plane` answers, `long` where a body is large."""

    def __init__(self, plane: DataPlane, long: LongBodies) -> None:
        self._plane = plane
        self._long = long

    async def infer(self, call: Call) -> Reply:
        """POST .../infer. Nothing waits between finding the version and asking it, so it cannot be switched in between."""
        served, number = find_version(self._plane.table, call)
        if len(call.text) > LONG_BYTES or (call.text and is_long_raw(served.interface, call.binary)):
            reading, response = await self._infer_long(call, served, number)
        else:
            reading = read_request(call.request, call.text, call.binary, served, number)
            response = await self._plane.infer(reading.request, served)
        if is_long_answer(response, reading.raw):
            return await in_turn(answer_in_steps(response, reading.identity, reading.raw))
        return answer(response, reading.identity, reading.raw)

    async def _infer_long(self, call: Call, served: ServedVersion, number: int | None) -> tuple[Reading, InferResponse]:
        read: list[Reading] = []

        def steps() -> Steps[InferRequest]:
            cut = yield from cut_request(served.interface, call.text, call.binary)
            read.append(read_request(call.request, call.text, call.binary, served, number, cut))
            return read[0].request

        response = await self._long.infer(served, steps())
        return read[0], response

    async def metadata(self, call: Call) -> Reply:
        """GET /v2/models/{name}[/versions/{version}]."""
        served = self._resolve(call)
        interface = served.interface
        properties = {"digest": served.version.digest}
        if interface.task is not None:
            properties["task"] = interface.task.value
        if interface.labels:
            properties["labels"] = msgspec.json.encode(interface.labels).decode()
        if any(spec.columns for spec in interface.inputs):
            properties["columns"] = msgspec.json.encode(column_names(interface)).decode()
        numbers = sorted(self._plane.table.models[served.version.name].versions)
        return json_reply(
            {
                "name": served.version.name,
                "versions": [str(number) for number in numbers],
                "platform": served.platform,
                "inputs": [_tensor_metadata(spec) for spec in interface.inputs],
                "outputs": [_tensor_metadata(spec) for spec in interface.outputs],
                "properties": properties,
            }
        )

    async def ready(self, call: Call) -> Reply:
        """GET .../ready; not ready is an error that says why."""
        served = self._resolve(call)
        served.check_ready()
        return json_reply({"name": served.version.name, "ready": True})

    async def models(self, call: Call) -> Reply:
        """GET /v2/models, in KServe's form."""
        del call
        return json_reply({"models": sorted(self._plane.table.models)})

    def _resolve(self, call: Call) -> ServedVersion:
        return self._plane.table.resolve(call.parameters["name"], parse_version(call.parameters.get("version")))


class Reading(msgspec.Struct, frozen=True):
    """What is asked, the request's own id, and which outputs are to be raw (None: all)."""

    request: InferRequest
    identity: str | None
    raw: frozenset[str] | None


def read_request(
    call: HttpRequest,
    text: bytes | bytearray,
    binary: memoryview | None,
    served: ServedVersion,
    number: int | None,
    cut: Cut | None = None,
) -> Reading:
    """Return what a body asks of `served`: `text` is its JSON, `binary` what stands behind that; one without JSON is a raw tensor, and asks
    for raw outputs. `cut` is what was read of it, `number` the version that the request names, None for none.

    The decoded JSON is let go here: while a request waits, its lists of numbers would push those of others out of the caches.
    """
    if binary is not None and not text:
        return Reading(infer_request(served, raw_input(served.interface, binary), call, number), None, None)
    body = decode_request(served.interface, text, is_raw=binary is not None) if cut is None else cut.request
    parameters = NONE if body.parameters is None else read_parameters(body.parameters)
    choices = body.outputs
    request = InferRequest(
        served.version.name,
        read_inputs(served.interface, body, binary, _NO_ARRAYS if cut is None else cut.arrays),
        number,
        tuple(choice.name for choice in choices) if choices else (),
        call.request_id,
        parameters.rest,
        parameters.priority,
        parameters.deadline,
        "http",
        trace_of(call) if b"traceparent" in call.headers else "",
        "",
        body.id or "",
        call.headers,
    )
    raw = raw_outputs(choices, is_default=parameters.is_binary) if choices or parameters.is_binary else _NONE_RAW
    return Reading(request, body.id, raw)


def _tensor_metadata(spec: TensorSpec) -> dict[str, object]:
    return {"name": spec.name, "datatype": spec.dtype.value, "shape": [-1 if size is None else size for size in spec.shape]}
