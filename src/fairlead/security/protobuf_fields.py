"""The fields of a protobuf message, read from its wire format without any generated code: for files that no library may open yet.

Takes bytes, gives field numbers with their raw values; nested messages are read only where a caller asks for them, so that no depth of
nesting is ever followed by itself. Raises SourceError where the bytes break off or use an encoding that no generated code writes.
Source of the format: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from fairlead.errors import SourceError

Value: TypeAlias = int | memoryview  # varints and fixed sizes as numbers, everything else as its bytes

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_VARINT_BYTES = 10  # 64 bits in groups of seven
_HINT = "The file is damaged. Copy it again, or save the model again."


def fields(message: memoryview) -> Iterator[tuple[int, Value]]:
    """Yield (number, value) for each field in the order of the file. Raises SourceError at the first byte that does not fit."""
    position, end = 0, len(message)
    while position < end:
        key, position = read_varint(message, position)
        number, kind = key >> 3, key & 7
        if number == 0:
            raise damaged("a field has the number 0")
        value: Value
        if kind == _VARINT:
            value, position = read_varint(message, position)
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
            value, position = int.from_bytes(_take(message, position, size), "little"), position + size
        elif kind == _BYTES:
            size, position = read_varint(message, position)
            value, position = _take(message, position, size), position + size
        else:
            raise damaged(f"wire type {kind} is not one that is written")
        yield number, value


def messages(message: memoryview, number: int) -> Iterator[memoryview]:
    """Yield every value of a repeated field that holds messages, texts or bytes."""
    for found, value in fields(message):
        if found == number:
            yield as_bytes(value)


def first(message: memoryview, number: int) -> memoryview | None:
    """Return the value of a field that holds a message, a text or bytes; None where it is absent. The last one counts, as everywhere."""
    found = None
    for value in messages(message, number):
        found = value
    return found


def as_bytes(value: Value) -> memoryview:
    """Return a value that has to be a message, a text or bytes."""
    if isinstance(value, int):
        raise damaged("a number stands where a message belongs")
    return value


def as_text(value: Value) -> str:
    """Return a value that has to be a text in UTF-8."""
    try:
        return str(as_bytes(value), "utf-8")
    except UnicodeDecodeError:
        raise damaged("a name is not valid text") from None


def as_int(value: Value) -> int:
    """Return a value that has to be a whole number of 64 bits with sign."""
    if not isinstance(value, int):
        raise damaged("a message stands where a number belongs")
    return value - 2**64 if value >= 2**63 else value


def text_of(message: memoryview, number: int) -> str:
    """Return a field that holds a text, "" where it is absent."""
    value = first(message, number)
    return "" if value is None else as_text(value)


def map_entries(message: memoryview, number: int) -> Iterator[tuple[str, memoryview]]:
    """Yield the entries of a map<string, message> field: key 1, value 2; an absent value is an empty message."""
    for entry in messages(message, number):
        yield text_of(entry, 1), first(entry, 2) or memoryview(b"")


def read_varint(data: memoryview, position: int) -> tuple[int, int]:
    """Return an unsigned number of at most 64 bits and the position behind it."""
    result = 0
    for place, byte in enumerate(data[position : position + _VARINT_BYTES]):
        result |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            if result >= 2**64:
                break
            return result, position + place + 1
    raise damaged("a number breaks off or is too large")


def damaged(what: str) -> SourceError:
    """Return the error for bytes that are not what they should be."""
    return SourceError(f"The file cannot be read: {what}.", hint=_HINT)


def _take(data: memoryview, position: int, size: int) -> memoryview:
    if size > len(data) - position:
        raise damaged("it breaks off")
    return data[position : position + size]
