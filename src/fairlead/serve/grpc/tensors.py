"""Tensors in gRPC messages: raw or typed contents to arrays and back, without a silent change of any value.

Takes the decoded messages of the V2 protocol; gives arrays of the element type that a TensorSpec asks for, and answers' bytes. Raises
RequestError for contents of the wrong kind, a value out of range, or a count that does not fit the shape, TooLargeError for too many texts.
Raw contents are all or nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fairlead.core.dtype import DType
from fairlead.core.interface import Array, TensorSpec
from fairlead.errors import RequestError
from fairlead.serve.data_plane import InferResponse
from fairlead.serve.steps import Steps
from fairlead.serve.tensor_binary import BF16, check_datatype, check_text_count
from fairlead.serve.tensor_json import element_count

LONG_COUNT = 2**13  # elements that take about a millisecond to write
# Which field of InferTensorContents holds which types: the small integers share one of 32 bits.
_FIELDS = {
    DType.BOOL: "bool_contents",
    DType.INT8: "int_contents",
    DType.INT16: "int_contents",
    DType.INT32: "int_contents",
    DType.INT64: "int64_contents",
    DType.UINT8: "uint_contents",
    DType.UINT16: "uint_contents",
    DType.UINT32: "uint_contents",
    DType.UINT64: "uint64_contents",
    DType.FP32: "fp32_contents",
    DType.FP64: "fp64_contents",
    DType.BYTES: "bytes_contents",
}
_NARROW = {
    dtype: np.iinfo(dtype.numpy)  # type: ignore[type-var]
    for dtype in (DType.INT8, DType.INT16, DType.UINT8, DType.UINT16)
}
_TYPE_NAMES = {dtype.numpy: dtype.value for dtype in DType}


def read_typed(spec: TensorSpec, shape: tuple[int, ...], contents: Any, datatype: str, count: int) -> Steps[Array]:
    """Return the tensor in an InferTensorContents message, yielding after each `count` elements."""
    if datatype in {DType.FP16, BF16}:
        raise RequestError(f"Input '{spec.name}' is sent as {datatype}, which has raw contents only.", hint=f"Expected {spec.describe()}.")
    check_datatype(spec, datatype, is_raw=False)
    wanted = _FIELDS[spec.dtype]
    for field, _ in contents.ListFields():
        if field.name != wanted:
            raise RequestError(f"Input '{spec.name}' has {field.name}; {spec.dtype.value} is sent in {wanted}.")
    values = getattr(contents, wanted)
    size = element_count(spec, shape)
    if len(values) != size:
        raise RequestError(f"Input '{spec.name}' has {len(values)} elements; its shape {list(shape)} needs {size}.")
    if spec.dtype is DType.BYTES:
        check_text_count(spec, size)
    if size <= count:
        return _array(spec, values).reshape(shape)
    array = np.empty(size, spec.dtype.numpy)
    for place in range(0, size, count):
        array[place : place + count] = _array(spec, values[place : place + count], place)
        yield
    return array.reshape(shape)


def write_typed(contents: Any, array: Array, count: int) -> Steps[None]:
    """Put `array` into an InferTensorContents message, yielding after each `count` elements."""
    field = getattr(contents, _FIELDS[DType.of(array.dtype)])
    flat, is_text = array.ravel(), array.dtype.kind in "OUST"
    for place in range(0, flat.size, count):
        values = flat[place : place + count].tolist()
        field.extend([item if isinstance(item, bytes) else str(item).encode("utf-8", "replace") for item in values] if is_text else values)
        if place + count < flat.size:
            yield


def is_long(response: InferResponse) -> bool:
    """Whether writing the answer with typed contents takes so long that others must have their turns meanwhile."""
    return any(array.size > LONG_COUNT for array in response.outputs.values())


def has_typed_form(array: Array) -> bool:
    """Whether the protocol has a field for the elements of `array`."""
    return DType.of(array.dtype) in _FIELDS


def type_name(array: Array) -> str:
    """Return the protocol's name of the type of `array`."""
    name = _TYPE_NAMES.get(array.dtype)
    return name if name is not None else DType.of(array.dtype).value


def _array(spec: TensorSpec, values: Any, before_count: int = 0) -> Array:
    if spec.dtype is DType.BYTES:
        array = np.empty(len(values), dtype=object)
        for index, item in enumerate(values):
            try:
                array[index] = str(item, "utf-8")
            except UnicodeDecodeError:
                raise RequestError(f"Input '{spec.name}': text {before_count + index} is not UTF-8.") from None
        return array
    if spec.dtype not in _NARROW:
        return np.array(values, dtype=spec.dtype.numpy)
    wide = np.array(values, dtype=np.int64)
    limits = _NARROW[spec.dtype]
    if wide.min() < limits.min or wide.max() > limits.max:
        raise RequestError(
            f"Input '{spec.name}' holds a number outside of {spec.dtype.value}.", hint=f"Its range is {limits.min} to {limits.max}."
        )
    return wide.astype(spec.dtype.numpy)
