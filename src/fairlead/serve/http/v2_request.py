"""An inference request of the V2 protocol: JSON, with raw tensors behind it or without, to the tensors that a model takes.

Takes the checked body of a call and the model's interface; gives arrays by input. Raises RequestError with the input's name, what was
expected and what came. An input may also be given by the columns of its table, one tensor each; what a column holds is taken by its
values, as in a record, and its datatype says only how its bytes are read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeAlias

import msgspec

from fairlead.core.dtype import DType
from fairlead.core.interface import Array, Interface, Tensors, TensorSpec, shorten
from fairlead.errors import RequestError
from fairlead.serve.http.body import decode, unreadable
from fairlead.serve.parameters import check_tensor_parameters
from fairlead.serve.records import assemble, check_one_way, column, values_in_steps
from fairlead.serve.steps import PIECE_COUNT, Steps, at_once
from fairlead.serve.tensor_binary import BF16, check_datatype, read_raw, read_raw_in_steps
from fairlead.serve.tensor_json import element_count, flatten, shaped

Given: TypeAlias = dict[str, str | int | float | bool | None]


class FloatTensor(msgspec.Struct):
    """An input as most requests send it: a flat list of numbers, decoded in one pass."""

    name: str
    shape: list[int]
    datatype: str
    data: list[float]
    parameters: Given | None = None


class AnyTensor(msgspec.Struct):
    """An input of any type, flat or nested, or (without data) one whose bytes stand behind the JSON."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any] | None = None
    parameters: Given | None = None


class OutputChoice(msgspec.Struct):
    """An output that is asked for."""

    name: str
    parameters: Given | None = None


class FloatRequest(msgspec.Struct):
    """An inference request of FloatTensors."""

    inputs: list[FloatTensor]
    id: str | None = None
    outputs: list[OutputChoice] | None = None
    parameters: Given | None = None


class AnyRequest(msgspec.Struct):
    """An inference request of AnyTensors."""

    inputs: list[AnyTensor]
    id: str | None = None
    outputs: list[OutputChoice] | None = None
    parameters: Given | None = None


_NONE: Tensors = {}
InferBody: TypeAlias = FloatRequest | AnyRequest
_FLOATS = msgspec.json.Decoder(FloatRequest)
_ANY = msgspec.json.Decoder(AnyRequest)
_FLOAT_TYPES = (DType.FP32, DType.FP64)
_FP16 = DType.FP16  # an attribute of an enum costs as much as the comparison


def decode_request(interface: Interface, text: bytes | bytearray, *, is_raw: bool = False) -> InferBody:
    """Return the request; in one typed pass where the model takes flat floats, which is most of the time."""
    if not is_raw and _takes_floats(interface):
        try:
            return _FLOATS.decode(text)
        except msgspec.ValidationError:
            pass  # nested data, nulls, texts in columns, or a mistake: the general form tells them apart
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise unreadable(error) from None
    return decode(_ANY, text)


def _takes_floats(interface: Interface) -> bool:
    for spec in interface.inputs:  # noqa: SIM110 - a third of what all() costs, with every request
        if spec.dtype not in _FLOAT_TYPES:
            return False
    return True


def read_inputs(interface: Interface, request: InferBody, binary: memoryview | None = None, ready: Tensors = _NONE) -> dict[str, Array]:
    """Return arrays by name. `binary` is what stands behind the JSON: the bytes of the inputs that have binary_data_size, in order; `ready`
    holds the elements of inputs and columns that were decoded before, as many as their shapes say, and tables of such columns.
    """
    if binary is None and not ready and len(request.inputs) == 1 == len(interface.inputs):  # most models have one input
        only, spec = request.inputs[0], interface.inputs[0]
        if only.name == spec.name and not only.parameters:
            return {spec.name: read_tensor(spec, only)}
    inputs: dict[str, Array] = {}
    columns: dict[str, list[Any] | Array] = {}
    specs = {spec.name: spec for spec in interface.inputs}
    tables: dict[str, TensorSpec] = {}
    place = 0
    for tensor in request.inputs:
        raw = None
        if tensor.parameters:
            size = raw_size(tensor, tensor.parameters, binary, place)
            if size is not None and binary is not None:
                raw = binary[place : place + size]
                place += size
        if tensor.name in inputs or tensor.name in columns:
            raise RequestError(f"Input '{shorten(tensor.name)}' is given twice.")
        if tensor.name in specs:
            spec = specs[tensor.name]
            inputs[spec.name] = ready[spec.name].reshape(tensor.shape) if spec.name in ready else read_tensor(spec, tensor, raw)
            continue
        tables = tables or column_tables(interface)
        if tensor.name not in tables:
            interface.input(tensor.name)  # says which there are
        if tensor.name in ready:
            columns[tensor.name] = ready[tensor.name]
        elif raw is None:
            columns[tensor.name] = read_column(tables[tensor.name], tensor)
        else:
            columns[tensor.name] = at_once(raw_column(tables[tensor.name], tensor, raw))
    if binary is not None and place != len(binary):
        raise RequestError(f"{len(binary) - place} bytes stand behind the last raw tensor.", hint="Each needs its binary_data_size.")
    return with_columns(interface, inputs, columns, ready) if columns else inputs


def column_tables(interface: Interface) -> dict[str, TensorSpec]:
    """Return the input that each column belongs to."""
    return {column: spec for spec in interface.inputs for column in spec.columns}


def raw_input(interface: Interface, body: memoryview) -> dict[str, Array]:
    """Return a body that is nothing but the bytes of the only input: one row, whose only free dimension is as long as the bytes say."""
    if len(interface.inputs) != 1:
        raise RequestError(f"The model has {len(interface.inputs)} inputs; a raw request can hold one only.")
    spec = interface.inputs[0]
    if not len(body):
        raise RequestError("The request has no body.", hint=f"Send the bytes of {spec.describe()}.")
    free = [axis for axis, size in enumerate(spec.shape) if size is None and axis > 0]
    shape = [1 if size is None else size for size in spec.shape]
    if spec.dtype is DType.BYTES:
        if math.prod(shape) != 1:
            raise RequestError(f"A raw request can hold one text only; the model takes {spec.describe()}.")
        return {spec.name: read_raw(spec, shape, len(body).to_bytes(4, "little") + bytes(body))}
    if len(free) > 1:
        raise RequestError("The shape of a raw request cannot be known.", hint=f"The model takes {spec.describe()}; send JSON in front.")
    if free:
        shape[free[0]] = max(1, len(body) // (spec.dtype.numpy.itemsize * math.prod(shape)))
    return {spec.name: read_raw(spec, shape, body)}


def raw_size(tensor: FloatTensor | AnyTensor, parameters: Given, binary: memoryview | None, place: int) -> int | None:
    """Return how many of the bytes behind the JSON are this tensor's; None where its data are in the JSON."""
    check_tensor_parameters(parameters)
    size = parameters.get("binary_data_size")
    if size is None:
        return None
    if binary is not None and type(size) is int and 0 <= size <= len(binary) - place and tensor.data is None:
        return size
    name = shorten(tensor.name)
    if binary is None:
        raise RequestError(f"Input '{name}' has a binary_data_size.", hint="Raw tensors need the header Inference-Header-Content-Length.")
    if tensor.data is not None:
        raise RequestError(f"Input '{name}' has both data and a binary_data_size.", hint="Send one of them.")
    raise RequestError(f"Input '{name}' has a binary_data_size that is not a part of the {len(binary) - place} bytes that are left.")


def read_tensor(spec: TensorSpec, tensor: FloatTensor | AnyTensor, raw: memoryview | None = None) -> Array:
    """Return an input; `raw` are its bytes where it has no data."""
    if raw is not None:
        return read_raw(spec, tensor.shape, raw, tensor.datatype)
    if tensor.datatype != spec.dtype or spec.dtype is _FP16:
        check_datatype(spec, tensor.datatype, is_raw=False)
    if tensor.data is None:
        raise _no_data(spec)
    return shaped(spec, tensor.shape, tensor.data, is_checked=type(tensor) is FloatTensor)


def _no_data(spec: TensorSpec) -> RequestError:
    return RequestError(f"Input '{spec.name}' has no data.", hint=f"Send data, or bytes with their binary_data_size: {spec.describe()}.")


def check_column(table: TensorSpec, tensor: FloatTensor | AnyTensor, *, is_raw: bool = False) -> TensorSpec:
    """Return what a column of `table` is read as; raises RequestError where it has not one value for each row, or an unknown datatype."""
    spec = TensorSpec(tensor.name, table.dtype, (None,))
    if not tensor.shape or element_count(spec, tensor.shape) != tensor.shape[0]:
        raise RequestError(f"Column '{shorten(spec.name)}' has shape {tensor.shape}.", hint="A column has one value for each row: [rows].")
    if tensor.datatype not in DType.__members__ and (not is_raw or tensor.datatype != BF16):
        check_datatype(spec, tensor.datatype, is_raw=is_raw)
    return spec


def raw_column(table: TensorSpec, tensor: FloatTensor | AnyTensor, raw: memoryview, count: int = PIECE_COUNT) -> Steps[Array]:
    """Return a column of `table` whose bytes are `raw`, yielding after about each `count` elements."""
    spec = check_column(table, tensor, is_raw=True)
    dtype = DType.FP32 if tensor.datatype == BF16 else DType(tensor.datatype)
    sent = yield from read_raw_in_steps(TensorSpec(spec.name, dtype, spec.shape), tensor.shape, raw, tensor.datatype, count)
    return (yield from values_in_steps(column(table, tensor.name), sent, count))


def read_column(table: TensorSpec, tensor: FloatTensor | AnyTensor) -> list[Any]:
    """Return the values of a column of `table`, one for each row."""
    spec = check_column(table, tensor)
    if tensor.data is None:
        raise _no_data(spec)
    values = flatten(spec, list(tensor.data))[1]
    if len(values) != tensor.shape[0]:
        raise RequestError(f"Column '{shorten(spec.name)}' has {len(values)} elements; its shape {tensor.shape} needs {tensor.shape[0]}.")
    return values


def with_columns(
    interface: Interface, inputs: dict[str, Array], columns: Mapping[str, list[Any] | Array], ready: Tensors = _NONE
) -> dict[str, Array]:
    """Return `inputs` with the tables that `columns` make, those of `ready` as they are; raises RequestError where a column is missing, or
    a table given in both ways.
    """
    for spec in interface.inputs:
        if any(name in columns for name in spec.columns):
            if spec.name in inputs:
                check_one_way(spec, columns)
            inputs[spec.name] = ready[spec.name] if spec.name in ready else assemble(spec, columns)
    return inputs
