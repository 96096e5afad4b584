"""A reader of UBJSON as XGBoost writes it, which believes no length: what is announced has to be there before anything is taken.

Takes bytes, gives dicts, lists, numpy arrays (of typed arrays), texts and numbers. Raises ValueError for damage, duplicate keys, and values
that nest deeper than any model. https://ubjson.org/type-reference/
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

DEPTH_LIMIT = 64
_NUMBERS = {b"i": ">b", b"U": ">B", b"I": ">h", b"u": ">H", b"l": ">i", b"m": ">I", b"L": ">q", b"d": ">f", b"D": ">d"}
_CONSTANTS: dict[bytes, Any] = {b"Z": None, b"T": True, b"F": False}
_LENGTHS = frozenset({b"i", b"U", b"I", b"u", b"l", b"m", b"L"})


def read_ubjson(data: bytes) -> Any:
    """Return the one value in `data`; raises ValueError where something follows it."""
    reader = _Reader(data)
    value = reader.value(reader.take(1), 0)
    if reader.place != len(data):
        raise ValueError(f"{len(data) - reader.place} bytes follow the value")
    return value


class _Reader:
    """A place in the bytes that only moves forward."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.place = 0

    def take(self, count: int) -> bytes:
        """Return the next `count` bytes."""
        if count > len(self._data) - self.place:
            raise ValueError(f"it breaks off at byte {self.place}")
        piece = self._data[self.place : self.place + count]
        self.place += count
        return piece

    def value(self, marker: bytes, depth: int) -> Any:
        """Return the value that `marker` begins."""
        if depth > DEPTH_LIMIT:
            raise ValueError("it nests too deep")
        if marker in _NUMBERS:
            return self._number(marker)
        if marker in _CONSTANTS:
            return _CONSTANTS[marker]
        if marker == b"S":
            return self._text()
        if marker == b"C":
            return self.take(1).decode("ascii")
        if marker == b"{":
            return self._object(depth)
        if marker == b"[":
            return self._array(depth)
        raise ValueError(f"an unknown marker at byte {self.place - 1}")

    def _number(self, marker: bytes) -> int | float:
        code = _NUMBERS[marker]
        found: int | float = struct.unpack(code, self.take(struct.calcsize(code)))[0]
        return found

    def _length(self) -> int:
        marker = self.take(1)
        if marker not in _LENGTHS:
            raise ValueError(f"a length that is no whole number at byte {self.place - 1}")
        length = int(self._number(marker))
        if length < 0:
            raise ValueError(f"a length below zero at byte {self.place}")
        return length

    def _text(self) -> str:
        return self.take(self._length()).decode("utf-8")

    def _object(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        count = self._length() if self._next_is(b"#") else None
        while count is None or len(found) < count:
            if count is None and self._next_is(b"}"):
                break
            key = self._text()
            if key in found:
                raise ValueError(f"the key '{key[:64]}' stands there twice")
            found[key] = self.value(self.take(1), depth + 1)
        return found

    def _array(self, depth: int) -> Any:
        kind = self.take(1) if self._next_is(b"$") else b""
        if self._next_is(b"#"):
            count = self._length()
            if kind:
                return self._typed(kind, count)
            if count > len(self._data) - self.place:  # every element takes a byte at least
                raise ValueError("an array longer than what is left")
            return [self.value(self.take(1), depth + 1) for _ in range(count)]
        if kind:
            raise ValueError("a typed array without a length")
        found = []
        while not self._next_is(b"]"):
            found.append(self.value(self.take(1), depth + 1))
        return found

    def _typed(self, kind: bytes, count: int) -> Any:
        if kind not in _NUMBERS:
            raise ValueError(f"an array of an unknown type at byte {self.place}")
        dtype = np.dtype({"b": "i1", "B": "u1"}.get(_NUMBERS[kind][1], _NUMBERS[kind]))
        return np.frombuffer(self.take(count * dtype.itemsize), dtype).astype(dtype.newbyteorder("="))

    def _next_is(self, marker: bytes) -> bool:
        if self._data[self.place : self.place + 1] != marker:
            return False
        self.place += 1
        return True
