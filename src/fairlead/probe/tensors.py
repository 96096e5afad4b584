"""Tensors as the protocol carries them, seen from the client: valid inputs for any model, requests, and answers read back. Pure.

Takes what a server's metadata says; gives arrays, request bodies and arrays again. Raises UnsupportedError for a datatype that this client
does not know, DataError for an answer that is not in the protocol's form. It shares no code with the server, so that both cannot be
wrong in the same way.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fairlead.core.dtype import DType
from fairlead.core.interface import Array, Tensors, TensorSpec, shorten
from fairlead.errors import DataError, UnsupportedError

FREE_SIZES = (8, 1, 32, 64, 224)  # tried for dimensions that a model leaves open, beside the batch
_WORDS = ("a", "b", "some words", "größer")


def read_specs(listed: Any) -> tuple[TensorSpec, ...]:
    """Return the tensors that metadata lists; a dimension below 1 is free."""
    if not isinstance(listed, list):
        raise DataError("The model's metadata lists no tensors.")
    return tuple(_read_spec(item) for item in listed)


def _read_spec(item: Any) -> TensorSpec:
    try:
        name, datatype, shape = str(item["name"]), str(item["datatype"]), [int(size) for size in item["shape"]]
    except (KeyError, TypeError, ValueError):
        raise DataError("A tensor in the model's metadata lacks name, datatype or shape.") from None
    if datatype not in DType.__members__:
        raise UnsupportedError(f"The tensor '{shorten(name)}' has the datatype '{shorten(datatype)}'.", hint="Give a request by hand.")
    return TensorSpec(name, DType(datatype), tuple(size if size > 0 else None for size in shape))


def valid_inputs(specs: Sequence[TensorSpec], *, rows: int = 1, seed: int = 0, free_size: int = 8) -> dict[str, Array]:
    """Return inputs that fit: floats in [0, 1), whole numbers 0 or 1 (any embedding takes them), short texts."""
    generator = np.random.default_rng(seed)
    return {spec.name: _draw(spec, rows, generator, free_size) for spec in specs}


def _draw(spec: TensorSpec, rows: int, generator: np.random.Generator, free_size: int) -> Array:
    shape = [(rows if axis == 0 else free_size) if size is None else size for axis, size in enumerate(spec.shape)]
    if spec.dtype is DType.BYTES:
        return np.asarray(generator.choice(np.asarray(_WORDS, dtype=object), size=shape), dtype=object)
    if spec.dtype.is_float:
        return generator.random(shape).astype(spec.dtype.numpy)
    return generator.integers(0, 2, size=shape).astype(spec.dtype.numpy)


def is_batchable(specs: Sequence[TensorSpec]) -> bool:
    """Whether every tensor's first dimension is free."""
    return bool(specs) and all(spec.shape and spec.shape[0] is None for spec in specs)


def json_tensors(arrays: Tensors, *, is_nested: bool = False) -> list[dict[str, Any]]:
    """Return the `inputs` of a JSON request."""
    return [_json_tensor(name, array, is_nested=is_nested) for name, array in arrays.items()]


def _json_tensor(name: str, array: Array, *, is_nested: bool) -> dict[str, Any]:
    data = (array if is_nested else array.reshape(-1)).tolist()
    return {"name": name, "shape": list(array.shape), "datatype": DType.of(array.dtype).value, "data": data}


def binary_request(arrays: Tensors, more: Mapping[str, Any] | None = None) -> tuple[bytes, int]:
    """Return the body of a request whose inputs are all binary, and the length of its JSON part; `more` are other keys of the request."""
    raws = {name: raw_of(array) for name, array in arrays.items()}
    tensors = [
        {
            "name": name,
            "shape": list(array.shape),
            "datatype": DType.of(array.dtype).value,
            "parameters": {"binary_data_size": len(raws[name])},
        }
        for name, array in arrays.items()
    ]
    head = json.dumps({"inputs": tensors, **(more or {})}).encode()
    return head + b"".join(raws.values()), len(head)


def raw_of(array: Array) -> bytes:
    """Return a tensor's bytes: little-endian, row-major; of BYTES, each element after its length in 4 bytes."""
    if array.dtype != object:
        return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
    texts = [item.encode() if isinstance(item, str) else bytes(item) for item in array.reshape(-1)]
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


def from_raw(datatype: str, shape: Sequence[int], raw: bytes) -> Array:
    """Return the tensor that `raw_of` wrote; raises DataError where the bytes do not fit."""
    try:
        dtype = DType(datatype)
        if dtype is not DType.BYTES:
            return np.frombuffer(raw, dtype.numpy.newbyteorder("<")).astype(dtype.numpy).reshape(shape)
        texts, place = [], 0
        while place < len(raw):
            (size,) = struct.unpack_from("<I", raw, place)
            if place + 4 + size > len(raw):
                raise DataError("A text in a binary tensor is longer than the tensor.")
            texts.append(raw[place + 4 : place + 4 + size].decode("utf-8", "replace"))
            place += 4 + size
        made = np.empty(len(texts), object)
        made[:] = texts
        return made.reshape(shape)
    except (ValueError, struct.error) as error:
        raise DataError(f"A binary tensor does not fit its shape and datatype: {error}.") from None


def read_answer(body: bytes, headers: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return an inference response: its JSON part, and its outputs as arrays, whether they came as JSON or binary."""
    size = headers.get("inference-header-content-length")
    try:
        content = json.loads(body[: int(size)] if size is not None else body)
        place = int(size or 0)
        outputs = {}
        for item in content["outputs"]:
            length = (item.get("parameters") or {}).get("binary_data_size")
            if length is None:
                outputs[str(item["name"])] = _from_json(item)
            else:
                outputs[str(item["name"])] = from_raw(str(item["datatype"]), item["shape"], body[place : place + int(length)])
                place += int(length)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise DataError(f"This is not an inference response: {type(error).__name__} {error}.") from None
    return content, outputs


def _from_json(item: Mapping[str, Any]) -> Array:
    """Return an output that came as JSON; null is NaN in float data, as JSON has no word for it."""
    dtype = DType(item["datatype"])
    data = item["data"]
    if dtype is DType.BYTES:
        flat = np.empty(int(np.prod(item["shape"])), object)
        flat[:] = _flat(data)
        return flat.reshape(item["shape"])
    if dtype.is_float:
        data = [np.nan if value is None else value for value in _flat(data)]
    array = np.asarray(data, dtype.numpy)
    return array.reshape(item["shape"])


def _flat(data: list[Any]) -> list[Any]:
    while data and isinstance(data[0], list):
        data = [item for part in data for item in part]
    return data


def are_alike(one: Tensors, two: Tensors, *, tolerance: float = 1e-5) -> bool:
    """Whether two answers are the same: names, shapes and types, texts and whole numbers exactly, floats within a relative tolerance."""
    if set(one) != set(two):
        return False
    for name, array in one.items():
        other = two[name]
        if array.shape != other.shape or array.dtype != other.dtype:
            return False
        if array.dtype.kind == "f":
            scale = float(np.nanmax(np.abs(array), initial=0.0, where=np.isfinite(array)))
            if not np.allclose(array, other, rtol=tolerance, atol=tolerance * scale, equal_nan=True):
                return False
        elif not np.array_equal(array, other):
            return False
    return True
