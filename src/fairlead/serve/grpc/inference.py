"""ModelInfer and ModelStreamInfer: messages to the data plane's requests, its responses to messages.

Takes messages' bytes; gives bytes. Raises RequestError for what does not fit the model or the protocol, and what the data plane raises.
Typed and raw contents give equal answers; an answer is raw where the request was, or where an output has no typed form. Large messages
are read one at a time, and long answers written, while others have their turns; but protobuf's own parser takes a message at once.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from fairlead.core.dtype import DType
from fairlead.core.interface import Array, Interface, TensorSpec, shorten
from fairlead.core.refusal import Refusal, unheard
from fairlead.errors import FairleadError, RequestError
from fairlead.serve.data_plane import DataPlane, InferRequest, InferResponse
from fairlead.serve.grpc.calls import Call
from fairlead.serve.grpc.limits import GrpcLimits
from fairlead.serve.grpc.schema import MESSAGES
from fairlead.serve.grpc.status import CALLERS, Code, failure_of
from fairlead.serve.grpc.tensors import LONG_COUNT, has_typed_form, is_long, read_typed, type_name, write_typed
from fairlead.serve.grpc.wire import broken, check_fields, element, field, varint
from fairlead.serve.http.v2 import parse_version
from fairlead.serve.http.v2_request import with_columns
from fairlead.serve.long_bodies import LongBodies
from fairlead.serve.model_table import ServedVersion
from fairlead.serve.parameters import NONE, Parameters, Value, check_tensor_parameters, read_parameters
from fairlead.serve.records import assemble_in_steps, column, is_raw_slow, values_in_steps
from fairlead.serve.steps import LONG_BYTES, PIECE_COUNT, Steps, at_once, in_turn
from fairlead.serve.tensor_binary import BF16, read_raw_in_steps, write_raw

_CACHE_LIMIT = 1024
_Request = MESSAGES["ModelInferRequest"]
_Response = MESSAGES["ModelInferResponse"]
_SUBMESSAGES = frozenset({4, 5, 6})  # parameters, inputs, outputs


class Inference:
    """Answers inference calls; `refused` is told of callers' mistakes in streams, where they do not end the call."""

    def __init__(self, plane: DataPlane, limits: GrpcLimits, refused: Callable[[Refusal], None] = unheard) -> None:
        self._plane = plane
        self._limits = limits
        self._refused = refused
        self._heads: dict[tuple[str, str, tuple[int, ...]], bytes] = {}
        self._long = LongBodies(plane)
        self._items = itertools.count(1)  # each message of a stream is a request of its own, to be drawn for an arm by its own id

    async def infer(self, call: Call, content: bytes) -> bytes:
        """Return a ModelInferResponse."""
        return await self._infer(call, content, call.request_id)

    async def _infer(self, call: Call, content: bytes, request_id: str) -> bytes:
        """Nothing waits between finding the version and asking it, so it cannot be switched in between; a large message keeps it loaded."""
        message: Any = self._decode(content)
        number = parse_version(message.model_version) if message.model_version else None
        served = self._plane.table.resolve(message.model_name, number, "", call.pin)
        is_raw = len(message.raw_input_contents) > 0
        steps = self._read(call, message, served, number if call.pin is None else served.version.number, request_id)
        if len(content) > LONG_BYTES and (not is_raw or is_raw_slow(served.interface)):
            response = await self._long.infer(served, steps)
        else:
            response = await self._plane.infer(at_once(steps), served)
        if is_raw or not all(map(has_typed_form, response.outputs.values())):
            return self._raw(response, message.id)
        if is_long(response):
            return await in_turn(_typed(response, message.id))
        return at_once(_typed(response, message.id))

    def _read(self, call: Call, message: Any, served: ServedVersion, number: int | None, request_id: str) -> Steps[InferRequest]:
        inputs = yield from read_inputs(served.interface, message, self._limits.tensor_count)
        parameters = _parameters(message)
        return InferRequest(
            message.model_name,
            inputs,
            number,
            tuple(output.name for output in message.outputs),
            request_id,
            parameters.rest,
            parameters.priority,
            min(call.deadline, parameters.deadline),
            "grpc",
            call.trace,
            "",
            message.id,
            call.metadata,
        )

    async def infer_item(self, call: Call, content: bytes) -> bytes:
        """Return a ModelStreamInferResponse: an error is one message among the others, and the stream goes on."""
        try:
            return field(2, await self._infer(call, content, f"{call.request_id}-{next(self._items):x}"))
        except FairleadError as error:
            failure = failure_of(error)
            if failure.code is Code.INTERNAL:
                raise
            if failure.code in CALLERS:
                self._refused(Refusal(call.request_id, "grpc", call.method.path, failure.code.name, failure.text))
            return field(1, failure.text.encode())

    def _decode(self, content: bytes) -> Any:
        check_fields(content, _SUBMESSAGES, self._limits.field_count)
        try:
            return _Request.FromString(content)
        except DecodeError:
            raise broken() from None

    def _raw(self, response: InferResponse, request_id: str) -> bytes:
        """A ModelInferResponse with raw contents, written by hand: the tensors are copied once."""
        parts = [field(1, response.model.encode()), field(2, b"%d" % response.version), field(3, request_id.encode())]
        if response.arm:
            parts.append(element(4, field(1, b"arm") + field(2, field(3, response.arm.encode()))))
        outputs = response.outputs
        for name, array in outputs.items():
            key = (name, type_name(array), array.shape)
            head = self._heads.get(key)
            if head is None:
                if len(self._heads) >= _CACHE_LIMIT:
                    self._heads.clear()
                shape = b"".join(map(varint, array.shape))
                head = element(5, field(1, name.encode()) + field(2, key[1].encode()) + field(3, shape))
                self._heads[key] = head
            parts.append(head)
        parts += [element(6, write_raw(array)) for array in outputs.values()]
        return b"".join(parts)


def read_inputs(interface: Interface, message: Any, limit: int, count: int = PIECE_COUNT) -> Steps[dict[str, Array]]:
    """Return arrays by name, yielding after about each `count` elements; raises RequestError for what is not one of the model's inputs, or
    not of its type.
    """
    raw = _raw_contents(message, limit)
    inputs: dict[str, Array] = {}
    columns: dict[str, Array] = {}
    for index, tensor in enumerate(message.inputs):
        spec, table = _spec_of(interface, tensor)
        if tensor.name in inputs or tensor.name in columns:
            raise RequestError(f"Input '{shorten(tensor.name)}' is given twice.")
        if tensor.parameters:
            check_tensor_parameters(_values(tensor.parameters))
        if not raw:
            array = yield from read_typed(spec, tuple(tensor.shape), tensor.contents, tensor.datatype, count)
        else:
            _check_alone(spec, tensor)
            array = yield from read_raw_in_steps(spec, tuple(tensor.shape), raw[index], tensor.datatype, count)
        if table is None:
            inputs[spec.name] = array
        else:
            columns[spec.name] = yield from values_in_steps(column(table, spec.name), array, count)
    if not columns:
        return inputs
    tables: dict[str, Array] = {}
    for spec in interface.inputs:
        if spec.name not in inputs and spec.columns and all(name in columns for name in spec.columns):
            tables[spec.name] = yield from assemble_in_steps(spec, columns, count)
    return with_columns(interface, inputs, columns, tables)


def _raw_contents(message: Any, limit: int) -> Any:
    """Return the raw contents, none or one for each input."""
    tensors, raw = message.inputs, message.raw_input_contents
    if len(tensors) > limit or len(message.outputs) > limit:
        raise RequestError(f"There are {max(len(tensors), len(message.outputs))} tensors, allowed are {limit}.")
    if raw and len(raw) != len(tensors):
        raise RequestError(
            f"There are {len(tensors)} inputs and {len(raw)} raw contents.",
            hint="Send raw contents for every input, in order, or for none.",
        )
    return raw


def _spec_of(interface: Interface, tensor: Any) -> tuple[TensorSpec, TensorSpec | None]:
    """Return how a tensor is read, and the table that it is a column of, if it is one."""
    name = tensor.name
    for spec in interface.inputs:
        if spec.name == name:
            return spec, None
    for spec in interface.inputs:
        if name in spec.columns:
            return _column_spec(tensor), spec
    return interface.input(name), None  # says which there are


def _check_alone(spec: TensorSpec, tensor: Any) -> None:
    if tensor.HasField("contents") and tensor.contents.ByteSize():  # MLServer's client sends an empty one
        raise RequestError(f"Input '{shorten(spec.name)}' has typed contents beside raw ones.", hint="Send one of the two.")


def _column_spec(tensor: Any) -> TensorSpec:
    """Return what a single column of a table is: what it holds is taken by its values, so its own datatype says how to read them."""
    name, shape = tensor.name, list(tensor.shape)
    if not shape or any(size != 1 for size in shape[1:]):
        raise RequestError(f"Column '{shorten(name)}' has shape {shape}.", hint="A column has one value for each row: [rows].")
    kind = "FP32" if tensor.datatype == BF16 else tensor.datatype
    if kind not in DType.__members__:
        raise RequestError(f"Column '{shorten(name)}' has the unknown datatype '{shorten(tensor.datatype)}'.")
    return TensorSpec(name, DType(kind), (None,))


def _parameters(message: Any) -> Parameters:
    for output in message.outputs:
        if output.parameters:
            check_tensor_parameters(_values(output.parameters))
    return read_parameters(_values(message.parameters)) if message.parameters else NONE


def _values(parameters: Any) -> Mapping[str, Value | None]:
    """Return InferParameters as plain values, of whichever of the five kinds; None for one without a value."""
    values: dict[str, Value | None] = {}
    for name, parameter in parameters.items():
        kind = parameter.WhichOneof("choice")
        values[name] = None if kind is None else getattr(parameter, kind)
    return values


def _typed(response: InferResponse, request_id: str, count: int = LONG_COUNT) -> Steps[bytes]:
    message: Any = _Response(model_name=response.model, model_version=str(response.version), id=request_id)
    if response.arm:
        message.parameters["arm"].string_param = response.arm
    for name, array in response.outputs.items():
        output = message.outputs.add(name=name, datatype=type_name(array), shape=array.shape)
        yield from write_typed(output.contents, array, count)
    content: bytes = message.SerializeToString()
    return content
