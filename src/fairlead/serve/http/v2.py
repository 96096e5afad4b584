"""The Open Inference Protocol V2 over REST: health, metadata, readiness, inference.

Takes routed calls; gives replies. Raises FairleadErrors, which the api maps to statuses. Tensors travel as JSON; the binary extension,
scheduling parameters and sequences are refused by name rather than ignored. Specification: github.com/kserve/open-inference-protocol.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from fairlead.core.dtype import DType
from fairlead.core.interface import Array, Interface, TensorSpec, shorten
from fairlead.errors import NotFoundError, RequestError
from fairlead.serve.data_plane import DataPlane, InferRequest, InferResponse
from fairlead.serve.http.body import decode, unreadable
from fairlead.serve.http.message import Reply, json_reply
from fairlead.serve.http.routes import Call
from fairlead.serve.tensor_json import plain, shaped

Parameters = dict[str, str | int | float | bool | None]
_VERSION = re.compile(r"v?([1-9][0-9]{0,8})")
# Parameters that would change an answer and are not offered: to ignore one would be a wrong answer. At these values they ask for nothing.
_RESERVED: dict[str, object] = {
    "sequence_id": 0,
    "sequence_start": False,
    "sequence_end": False,
    "priority": 0,
    "timeout": 0,
    "binary_data_output": False,
    "binary_data": False,
    "binary_data_size": None,
    "classification": 0,
    "shared_memory_region": None,
    "shared_memory_offset": None,
    "shared_memory_byte_size": None,
}


class FloatTensor(msgspec.Struct):
    """An input as most requests send it: a flat list of numbers, decoded in one pass."""

    name: str
    shape: list[int]
    datatype: str
    data: list[float]
    parameters: Parameters | None = None


class AnyTensor(msgspec.Struct):
    """An input of any type, flat or nested."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any]
    parameters: Parameters | None = None


class OutputChoice(msgspec.Struct):
    """An output that is asked for."""

    name: str
    parameters: Parameters | None = None


class FloatRequest(msgspec.Struct):
    """An inference request of FloatTensors."""

    inputs: list[FloatTensor]
    id: str | None = None
    outputs: list[OutputChoice] | None = None
    parameters: Parameters | None = None


class AnyRequest(msgspec.Struct):
    """An inference request of AnyTensors."""

    inputs: list[AnyTensor]
    id: str | None = None
    outputs: list[OutputChoice] | None = None
    parameters: Parameters | None = None


class OutputTensor(msgspec.Struct):
    """An output in an answer."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: list[Any]


class Answer(msgspec.Struct, omit_defaults=True):
    """An inference response."""

    model_name: str
    model_version: str
    outputs: list[OutputTensor]
    id: str | None = None


_FLOATS = msgspec.json.Decoder(FloatRequest)
_ANY = msgspec.json.Decoder(AnyRequest)
_FLOAT_TYPES = (DType.FP32, DType.FP64)
_TYPE_NAMES = {dtype.numpy: dtype.value for dtype in DType}


def parse_version(text: str | None) -> int | None:
    """Return the number in `3` or `v3` (None for None); raises NotFoundError, since nothing else can exist."""
    if text is None:
        return None
    match = _VERSION.fullmatch(text)
    if match is None:
        raise NotFoundError(f"There is no version '{shorten(text)}'.", hint="Versions are numbers.")
    return int(match[1])


class V2Handlers:
    """Handlers of /v2/models/{name}...; `plane` answers."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane

    async def infer(self, call: Call) -> Reply:
        """POST .../infer. Nothing waits between finding the version and asking it, so it cannot be switched in between."""
        if b"inference-header-content-length" in call.request.headers:
            raise RequestError("Binary tensors are not served here.", hint="Send the tensors' data as JSON.")
        served = self._plane.table.resolve(call.parameters["name"], parse_version(call.parameters.get("version")))
        request = decode_request(served.interface, call.text)
        inputs = read_inputs(served.interface, request.inputs)
        response = await self._plane.infer(
            InferRequest(
                call.parameters["name"],
                inputs,
                served.version.number,
                tuple(output.name for output in request.outputs or ()),
                call.request.request_id,
                check_parameters(request),
            )
        )
        return json_reply(answer(response, request.id))

    async def metadata(self, call: Call) -> Reply:
        """GET /v2/models/{name}[/versions/{version}]."""
        served = self._plane.table.resolve(call.parameters["name"], parse_version(call.parameters.get("version")))
        interface = served.interface
        properties = {"digest": served.version.digest}
        if interface.task is not None:
            properties["task"] = interface.task.value
        if interface.labels:
            properties["labels"] = msgspec.json.encode(interface.labels).decode()
        numbers = sorted(self._plane.table.models[served.version.name].versions)
        return json_reply(
            {
                "name": served.version.name,
                "versions": [str(number) for number in numbers],
                "platform": f"{served.executor.description.partition(' ')[0]}_onnx",
                "inputs": [_tensor_metadata(spec) for spec in interface.inputs],
                "outputs": [_tensor_metadata(spec) for spec in interface.outputs],
                "properties": properties,
            }
        )

    async def ready(self, call: Call) -> Reply:
        """GET .../ready; not ready is an error that says why."""
        served = self._plane.table.resolve(call.parameters["name"], parse_version(call.parameters.get("version")))
        return json_reply({"name": served.version.name, "ready": True})

    async def models(self, call: Call) -> Reply:
        """GET /v2/models, in KServe's form."""
        del call
        return json_reply({"models": sorted(self._plane.table.models)})


def decode_request(interface: Interface, text: bytes | bytearray) -> FloatRequest | AnyRequest:
    """Return the request; in one typed pass where the model takes flat floats, which is most of the time."""
    if all(spec.dtype in _FLOAT_TYPES for spec in interface.inputs):
        try:
            return _FLOATS.decode(text)
        except msgspec.ValidationError:
            pass  # nested data, nulls, or a mistake: the general form tells them apart
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise unreadable(error) from None
    return decode(_ANY, text)


def read_inputs(interface: Interface, tensors: list[FloatTensor] | list[AnyTensor]) -> dict[str, Array]:
    """Return arrays by name; raises RequestError for what is not one of the model's inputs, or not of its type."""
    inputs: dict[str, Array] = {}
    for tensor in tensors:
        spec = interface.input(tensor.name)
        if tensor.name in inputs:
            raise RequestError(f"Input '{shorten(tensor.name)}' is given twice.")
        if tensor.datatype != spec.dtype.value:
            raise RequestError(_wrong_type(spec, tensor.datatype), hint=f"Expected {spec.describe()}.")
        if tensor.parameters:
            _refuse_reserved(tensor.parameters)
        inputs[tensor.name] = shaped(spec, tensor.shape, tensor.data, is_checked=isinstance(tensor, FloatTensor))
    return inputs


def check_parameters(request: FloatRequest | AnyRequest) -> dict[str, str | int | float | bool]:
    """Return the request's parameters; raises RequestError for one that asks for what is not offered."""
    for output in request.outputs or ():
        if output.parameters:
            _refuse_reserved(output.parameters)
    if not request.parameters:
        return {}
    _refuse_reserved(request.parameters)
    return {name: value for name, value in request.parameters.items() if value is not None}


def answer(response: InferResponse, request_id: str | None) -> Answer:
    """Return a response in the protocol's form."""
    outputs = [OutputTensor(name, _type_name(array), array.shape, plain(array)) for name, array in response.outputs.items()]
    return Answer(response.model, str(response.version), outputs, request_id)


def _type_name(array: Array) -> str:
    name = _TYPE_NAMES.get(array.dtype)
    return name if name is not None else DType.of(array.dtype).value


def _refuse_reserved(parameters: Parameters) -> None:
    for name, value in parameters.items():
        if name in _RESERVED and value != _RESERVED[name] and value is not None:
            raise RequestError(f"The parameter '{name}' is not offered here.", hint="Leave it out.")
        if name.startswith("triton_"):
            raise RequestError("Parameters that start with 'triton_' are reserved.", hint="Leave it out.")


def _wrong_type(spec: TensorSpec, datatype: str) -> str:
    if datatype in {"FP16", "BF16"}:
        return f"Input '{spec.name}' is sent as {datatype}, which has no JSON form."
    if datatype not in DType.__members__:
        return f"Input '{spec.name}' has the unknown datatype '{shorten(datatype)}'."
    return f"Input '{spec.name}' is sent as {datatype}."


def _tensor_metadata(spec: TensorSpec) -> dict[str, object]:
    return {"name": spec.name, "datatype": spec.dtype.value, "shape": [-1 if size is None else size for size in spec.shape]}
