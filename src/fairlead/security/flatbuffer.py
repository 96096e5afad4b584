"""Tables of a flatbuffer, read with every offset checked: for files that no library may open yet.

Takes bytes, gives numbers, texts, vectors and tables by their slot. Raises SourceError where an offset leads out of the file. Follows no
offset that a caller did not ask for. Source of the format: https://flatbuffers.dev/internals/
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np

from fairlead.core.interface import Array
from fairlead.errors import SourceError

_HINT = "The file is damaged. Copy it again, or convert the model again."


class Table:
    """One table. Slots count from 0, as in the schema."""

    def __init__(self, data: memoryview, position: int) -> None:
        self._data = data
        self._position = position
        self._vtable = position - number(data, position, "<i")
        self._vtable_bytes = number(data, self._vtable, "<H")
        self._table_bytes = number(data, self._vtable + 2, "<H")
        if self._vtable_bytes < 4 or self._vtable_bytes % 2 or self._table_bytes < 4:
            raise damaged("a table has no sound layout")
        for end in (self._vtable + self._vtable_bytes, position + self._table_bytes):
            if end > len(data):
                raise damaged("a table lies outside of the file")

    def number(self, slot: int, kind: str, default: int = 0) -> int:
        """Return a number of the struct format `kind`."""
        place = self._place(slot, struct.calcsize(kind))
        return default if place is None else number(self._data, place, kind)

    def text(self, slot: int) -> str:
        """Return a text, "" where it is absent."""
        found = self._vector(slot, 1)
        if found is None:
            return ""
        try:
            return str(found, "utf-8")
        except UnicodeDecodeError:
            raise damaged("a name is not valid text") from None

    def data(self, slot: int) -> memoryview | None:
        """Return a vector of bytes, None where it is absent."""
        return self._vector(slot, 1)

    def numbers(self, slot: int, dtype: str) -> Array | None:
        """Return a vector of numbers, None where it is absent."""
        kind = np.dtype(dtype)
        found = self._vector(slot, kind.itemsize)
        return None if found is None else np.frombuffer(found, dtype=kind)

    def table(self, slot: int) -> Table | None:
        """Return a table, None where it is absent."""
        place = self._place(slot, 4)
        return None if place is None else Table(self._data, self._target(place))

    def tables(self, slot: int) -> Iterator[Table]:
        """Yield the tables of a vector."""
        place = self._place(slot, 4)
        if place is None:
            return
        start, count = self._vector_start(place, 4)
        for index in range(count):
            yield Table(self._data, self._target(start + 4 * index))

    def has(self, slot: int) -> bool:
        """Whether the slot is filled."""
        return self._place(slot, 0) is not None

    def _place(self, slot: int, size: int) -> int | None:
        entry = 4 + 2 * slot
        if entry + 2 > self._vtable_bytes:
            return None
        offset = number(self._data, self._vtable + entry, "<H")
        if offset == 0:
            return None
        if offset < 4 or offset + size > self._table_bytes:
            raise damaged("a field lies outside of its table")
        return self._position + offset

    def _target(self, place: int) -> int:
        offset = number(self._data, place, "<I")
        if offset < 4 or place + offset + 4 > len(self._data):
            raise damaged("an offset leads out of the file")
        return place + offset

    def _vector(self, slot: int, item_bytes: int) -> memoryview | None:
        place = self._place(slot, 4)
        if place is None:
            return None
        start, count = self._vector_start(place, item_bytes)
        return self._data[start : start + count * item_bytes]

    def _vector_start(self, place: int, item_bytes: int) -> tuple[int, int]:
        position = self._target(place)
        count = number(self._data, position, "<I")
        if count * item_bytes > len(self._data) - position - 4:
            raise damaged("a vector lies outside of the file")
        return position + 4, count


def root(data: memoryview) -> Table:
    """Return the table that a file begins with."""
    position = number(data, 0, "<I")
    if position < 4 or position + 4 > len(data):
        raise damaged("its first offset leads out of the file")
    return Table(data, position)


def number(data: memoryview, position: int, kind: str) -> int:
    """Return the number at a position."""
    if position < 0 or position + struct.calcsize(kind) > len(data):
        raise damaged("an offset leads out of the file")
    value: int = struct.unpack_from(kind, data, position)[0]
    return value


def damaged(what: str) -> SourceError:
    """Return the error for bytes that are not what they should be."""
    return SourceError(f"The .tflite file cannot be read: {what}.", hint=_HINT)
