"""Protobuf's wire format, as far as it is needed before and beside the library: counting fields, and writing answers.

Pure. `check_fields` walks a message without decoding it, since a small message can decode to a hundred times its memory: an empty
submessage is two bytes on the wire. Raises RequestError. Source: protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from collections.abc import Collection

from fairlead.errors import RequestError

_SAFE_BYTES = 65_536  # what a message of this size decodes to is small, whatever it holds
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5


def check_fields(message: bytes, nested: Collection[int], limit: int) -> None:
    """Raise RequestError where `message`, or one of its `nested` submessages, has more than `limit` fields."""
    if len(message) > _SAFE_BYTES:
        _count(message, 0, len(message), nested, limit)


def _count(message: bytes, place: int, end: int, nested: Collection[int], limit: int) -> None:
    for _ in range(limit):
        if place >= end:
            return
        key, place = _read_varint(message, place, end)
        kind = key & 7
        if kind == _LENGTH:
            size, place = _read_varint(message, place, end)
            if size > end - place:
                raise broken()
            if key >> 3 in nested:
                _count(message, place, place + size, (), limit)
            place += size
        elif kind == _VARINT:
            _, place = _read_varint(message, place, end)
        elif kind in (_FIXED64, _FIXED32):
            place += 8 if kind == _FIXED64 else 4
        else:
            raise broken()  # groups, which no message of this protocol has
    if place < end:
        raise RequestError(f"The message has more than {limit} fields, the limit.", hint="Send fewer tensors at once.")


def _read_varint(message: bytes, place: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while place < end and shift < 70:
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7
    raise broken()


def broken() -> RequestError:
    """Return the error for bytes that are not the message that was expected."""
    return RequestError("What was sent is not the message that this method takes.")


def varint(number: int) -> bytes:
    """Return `number`, which is not negative, as a varint."""
    if number < 0x80:
        return bytes((number,))
    digits = bytearray()
    while number >= 0x80:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    digits.append(number)
    return bytes(digits)


def field(number: int, content: bytes) -> bytes:
    """Return a field of bytes, text or a submessage; one that is empty is left out, as proto3 does."""
    return varint(number << 3 | _LENGTH) + varint(len(content)) + content if content else b""


def element(number: int, content: bytes) -> bytes:
    """Return an element of a repeated field: also an empty one counts."""
    return varint(number << 3 | _LENGTH) + varint(len(content)) + content
