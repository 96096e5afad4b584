"""A walk over a flatbuffer that believes none of its offsets: every table, vector and text is looked for inside the buffer only.

Takes bytes, gives plain numbers, texts and numpy arrays (copies). Raises ValueError for whatever points outside or is longer than what
there is. Knows no schema: fields are asked for by their number. https://flatbuffers.dev/internals/
"""

from __future__ import annotations

import struct

import numpy as np

from fairlead.core.interface import Array

_VECTOR_LIMIT = 2**28


class FlatTable:
    """One table of a buffer: `FlatTable.root(data)` is the outermost."""

    def __init__(self, data: bytes, place: int) -> None:
        self._data = data
        self._place = place
        table = place - int(self._number("<i", place))
        size = int(self._number("<H", table))
        if table < 0 or size < 4 or size % 2 or table + size > len(data):
            raise ValueError("a table without a sound list of fields")
        self._fields = np.frombuffer(data, "<u2", (size - 4) // 2, table + 4)

    @staticmethod
    def root(data: bytes) -> FlatTable:
        """Return the outermost table."""
        if len(data) < 8:
            raise ValueError("it breaks off")
        return FlatTable(data, int.from_bytes(data[:4], "little"))

    def number(self, field: int, code: str, default: float) -> float:
        """Return a scalar of struct's `code`."""
        place = self._field(field)
        return default if place is None else float(self._number("<" + code, place))

    def text(self, field: int) -> str:
        """Return a text; "" where it is absent."""
        place = self._field(field)
        return "" if place is None else self._text(self._follow(place))

    def texts(self, field: int) -> list[str]:
        """Return a vector of texts."""
        return [self._text(place) for place in self._places(field)]

    def array(self, field: int, dtype: str) -> Array:
        """Return a vector of scalars or structs."""
        place = self._field(field)
        if place is None:
            return np.empty(0, dtype)
        start, count = self._vector(self._follow(place), np.dtype(dtype).itemsize)
        return np.frombuffer(self._data, dtype, count, start).copy()

    def table(self, field: int) -> FlatTable:
        """Return a table inside; raises ValueError where it is absent."""
        place = self._field(field)
        if place is None:
            raise ValueError(f"field {field} is absent")
        return FlatTable(self._data, self._follow(place))

    def tables(self, field: int) -> list[FlatTable]:
        """Return a vector of tables."""
        return [FlatTable(self._data, place) for place in self._places(field)]

    def _places(self, field: int) -> list[int]:
        place = self._field(field)
        if place is None:
            return []
        start, count = self._vector(self._follow(place), 4)
        return [self._follow(start + 4 * item) for item in range(count)]

    def _field(self, field: int) -> int | None:
        offset = int(self._fields[field]) if field < len(self._fields) else 0
        return self._place + offset if offset else None

    def _follow(self, place: int) -> int:
        return place + int(self._number("<I", place))

    def _vector(self, place: int, item_bytes: int) -> tuple[int, int]:
        count = int(self._number("<I", place))
        if count > _VECTOR_LIMIT or place + 4 + count * item_bytes > len(self._data):
            raise ValueError("a vector is longer than the file")
        return place + 4, count

    def _text(self, place: int) -> str:
        start, count = self._vector(place, 1)
        return self._data[start : start + count].decode("utf-8")

    def _number(self, code: str, place: int) -> float:
        if place < 0 or place + struct.calcsize(code) > len(self._data):
            raise ValueError("an offset leads out of the file")
        number: float = struct.unpack_from(code, self._data, place)[0]
        return number
