"""A safetensors file, read by its specification: a length, a JSON header, and numbers that it describes without gaps or overlaps.

Takes a path; gives dtype, shape and bytes by name. Raises SourceError for damage, UnsafeContentError for what no writer makes,
UnsupportedError for element types that Fairlead leaves out. https://huggingface.co/docs/safetensors/index#format
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fairlead.core.interface import shorten
from fairlead.errors import SourceError, UnsafeContentError, UnsupportedError
from fairlead.security.torch_check import load_json
from fairlead.security.torch_pickle import element_count

HEADER_LIMIT = 100_000_000  # bytes; of the specification
_DTYPES = {
    "F64": ("float64", 8), "F32": ("float32", 4), "F16": ("float16", 2), "BF16": ("bfloat16", 2), "I64": ("int64", 8), "I32": ("int32", 4),
    "I16": ("int16", 2), "I8": ("int8", 1), "U8": ("uint8", 1), "BOOL": ("bool", 1),
}  # fmt: skip
_AXIS_LIMIT, _SIZE_LIMIT = 32, 2**48
_DAMAGED = "The file is damaged. Copy it again, or save the model again."

Found = tuple[str, tuple[int, ...], tuple[int, ...], int, bytes]


def read_safetensors(path: Path) -> dict[str, Found]:
    """Return dtype, sizes, strides, offset (0) and bytes of every tensor."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(HEADER_LIMIT, len(data) - 8):
        raise SourceError("The header of the safetensors file is longer than the file.", hint=_DAMAGED)
    header = load_json(data[8 : 8 + length], "The header of the safetensors file")
    if not isinstance(header, dict):
        raise SourceError("The header of the safetensors file is no object.", hint=_DAMAGED)
    _check_metadata(header.pop("__metadata__", {}))
    body = memoryview(data)[8 + length :]
    described = {name: _describe(name, entry) for name, entry in header.items()}
    place = 0
    for name, (_, _, begin, end) in sorted(described.items(), key=lambda item: item[1][2:]):
        if begin != place:
            raise UnsafeContentError(f"The tensor '{shorten(name)}' overlaps another, or leaves a gap before it.", hint=_DAMAGED)
        place = end
    if place != len(body):
        raise UnsafeContentError("The safetensors file holds more bytes than its tensors, or fewer.", hint=_DAMAGED)
    return {name: (dtype, sizes, _strides(sizes), 0, bytes(body[begin:end])) for name, (dtype, sizes, begin, end) in described.items()}


def _check_metadata(metadata: Any) -> None:
    is_plain = isinstance(metadata, dict) and all(isinstance(value, str) for value in metadata.values())
    if not is_plain:
        raise UnsafeContentError("The metadata of the safetensors file holds something other than texts.", hint=_DAMAGED)


def _describe(name: str, entry: Any) -> tuple[str, tuple[int, ...], int, int]:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise SourceError(f"The tensor '{shorten(name)}' is not described as the format says.", hint=_DAMAGED)
    shape, offsets = entry["shape"], entry["data_offsets"]
    if not (_are_sizes(shape) and _are_sizes(offsets) and len(offsets) == 2 and len(shape) <= _AXIS_LIMIT):
        raise SourceError(f"The tensor '{shorten(name)}' has a size or offset that is no sound number.", hint=_DAMAGED)
    if entry["dtype"] not in _DTYPES:
        raise UnsupportedError(f"The tensor '{shorten(name)}' has the type {shorten(str(entry['dtype']))}.", hint="Save it as F32.")
    dtype, item_bytes = _DTYPES[entry["dtype"]]
    sizes = tuple(shape)
    begin, end = offsets
    if end - begin != element_count(sizes) * item_bytes:
        raise UnsafeContentError(f"The tensor '{shorten(name)}' has another size than its shape says.", hint=_DAMAGED)
    return dtype, sizes, begin, end


def _are_sizes(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < _SIZE_LIMIT for value in values)


def _strides(sizes: tuple[int, ...]) -> tuple[int, ...]:
    strides: list[int] = []
    step = 1
    for size in reversed(sizes):
        strides.insert(0, step)
        step *= max(size, 1)
    return tuple(strides)
