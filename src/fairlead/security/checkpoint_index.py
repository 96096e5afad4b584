"""The table of a TensorFlow checkpoint (variables.index): which tensor lies where, checked against the files that hold them.

Takes paths, gives one entry per tensor. Raises SourceError where the table is damaged, compressed, or points outside of its data files.
Never reads a tensor. The table is a LevelDB table of protobuf entries:
https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/protobuf/tensor_bundle.proto
https://github.com/google/leveldb/blob/main/doc/table_format.md
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from fairlead.core.interface import shorten
from fairlead.errors import SourceError
from fairlead.security.protobuf_fields import as_bytes, as_int, damaged, fields, messages, read_varint

_MAGIC = 0xDB4775248B80FB57
_FOOTER_BYTES, _TRAILER_BYTES = 48, 5  # the trailer of a block: a byte for its compression and a checksum
_TABLE_LIMIT_BYTES = 256 * 2**20
_ENTRY_LIMIT = 1_000_000
# Bytes per element, by TensorFlow's number of the type; strings and variants have no fixed size.
_ITEM_BYTES = {1: 4, 2: 8, 3: 4, 4: 1, 5: 2, 6: 1, 8: 8, 9: 8, 10: 1, 14: 2, 17: 2, 18: 16, 19: 2, 22: 4, 23: 8}
_FLOATS = (1, 2, 14, 19)
_HINT = "The folder is not whole. Copy it again, or save the model again."


@dataclass(frozen=True)
class StoredTensor:
    """One tensor of a checkpoint; `dtype` is TensorFlow's number."""

    key: str
    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size_bytes: int

    @property
    def is_weight(self) -> bool:
        """Whether it is an array of fractions that an optimizer did not leave behind. Keras 3 lists everything twice."""
        of_optimizer = "OPTIMIZER_SLOT" in self.key or "/optimizer/" in f"/{self.key}"
        return self.dtype in _FLOATS and not of_optimizer and not self.key.startswith("_all_variables/")

    @property
    def element_count(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


def check_variables(folder: Path) -> tuple[StoredTensor, ...]:
    """Return what `folder`/variables.index lists; every tensor lies within a data file that is there and has the size of its shape."""
    index = folder / "variables.index"
    if not index.is_file():
        raise SourceError("The SavedModel has no variables/variables.index.", hint=_HINT)
    if index.stat().st_size > _TABLE_LIMIT_BYTES:
        raise damaged(f"variables.index is larger than {_TABLE_LIMIT_BYTES} bytes")
    stored, shard_count = read_index(memoryview(index.read_bytes()))
    sizes = {}
    for shard in range(shard_count):
        path = folder / f"variables.data-{shard:05d}-of-{shard_count:05d}"
        if not path.is_file():
            raise SourceError(f"The SavedModel lacks variables/{path.name}.", hint=_HINT)
        sizes[shard] = path.stat().st_size
    _check_places(stored, sizes)
    return stored


def _check_places(stored: tuple[StoredTensor, ...], sizes: Mapping[int, int]) -> None:
    for tensor in stored:
        if tensor.offset < 0 or tensor.size_bytes < 0 or tensor.offset + tensor.size_bytes > sizes.get(tensor.shard, -1):
            raise damaged(f"the variable '{shorten(tensor.key)}' lies outside of its data file")
        item_bytes = _ITEM_BYTES.get(tensor.dtype)
        if item_bytes is not None and tensor.size_bytes != item_bytes * tensor.element_count:
            raise damaged(f"the variable '{shorten(tensor.key)}' does not have the size of its shape")


def read_index(data: memoryview) -> tuple[tuple[StoredTensor, ...], int]:
    """Return the tensors of a table, and in how many data files they lie."""
    if len(data) < _FOOTER_BYTES or int.from_bytes(data[-8:], "little") != _MAGIC:
        raise damaged("variables.index is no table of a checkpoint")
    footer = data[-_FOOTER_BYTES:]
    _, _, position = _handle(footer, 0)  # the index of the index, which is empty
    offset, size, _ = _handle(footer, position)
    stored: list[StoredTensor] = []
    shard_count = 0
    for _, handle in _entries(_block(data, offset, size)):
        for key, value in _entries(_block(data, *_handle(handle, 0)[:2])):
            if not key:
                shard_count = _first_int(value)
            else:
                stored.append(_stored(key, value))
            if len(stored) > _ENTRY_LIMIT:
                raise damaged(f"variables.index lists more than {_ENTRY_LIMIT} tensors")
    if not 1 <= shard_count <= 1024:
        raise damaged("variables.index does not say in how many files its tensors lie")
    return tuple(stored), shard_count


def _first_int(message: memoryview) -> int:
    """Return the number in field 1; an absent one is 0."""
    return next((as_int(item) for number, item in fields(message) if number == 1), 0)


def _handle(data: memoryview, position: int) -> tuple[int, int, int]:
    offset, position = read_varint(data, position)
    size, position = read_varint(data, position)
    return offset, size, position


def _block(data: memoryview, offset: int, size: int) -> memoryview:
    if offset + size + _TRAILER_BYTES > len(data):
        raise damaged("a block of variables.index lies outside of it")
    if data[offset + size] != 0:
        raise damaged("variables.index is compressed, which TensorFlow does not do")
    return data[offset : offset + size]


def _entries(block: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Yield (key, value): each key shares its first bytes with the one before."""
    if len(block) < 4:
        raise damaged("a block of variables.index is too short")
    end = len(block) - 4 * (1 + int.from_bytes(block[-4:], "little"))
    position, key = 0, b""
    while position < end:
        shared, position = read_varint(block, position)
        own, position = read_varint(block, position)
        size, position = read_varint(block, position)
        if shared > len(key) or position + own + size > end:
            raise damaged("an entry of variables.index lies outside of its block")
        key = key[:shared] + bytes(block[position : position + own])
        yield key, block[position + own : position + own + size]
        position += own + size


def _stored(key: bytes, value: memoryview) -> StoredTensor:
    dtype = shard = offset = size = 0
    shape: list[int] = []
    for number, item in fields(value):
        match number:
            case 1:
                dtype = as_int(item)
            case 2:
                shape = [_first_int(dim) for dim in messages(as_bytes(item), 2)]
            case 3:
                shard = as_int(item)
            case 4:
                offset = as_int(item)
            case 5:
                size = as_int(item)
    if any(length < 0 for length in shape):
        raise damaged("a variable has a negative size")
    return StoredTensor(key.decode("utf-8", "backslashreplace"), dtype, tuple(shape), shard, offset, size)
