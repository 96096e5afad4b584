"""How deep JSON is nested, and what JSON and CSV take once decoded, measured on their bytes before any decoder sees them.

Takes the bytes; raises RequestError where they are nested too deep, TooLargeError where a decoder would make too much of them. The measure
itself takes no more memory than the bytes and a few MiB. For bytes that are not JSON either answer is safe: a decoder refuses them.
"""

from __future__ import annotations

import re

import numpy as np

from fairlead.errors import RequestError, TooLargeError
from fairlead.serve.steps import Steps, at_once

GROWTH = 4  # JSON may take this many times the limit of a body: for numbers, that is the limit exactly once they are FP64
_NOT_STRUCTURE = bytes(byte for byte in range(256) if byte not in b'[]{}",')
_STEPS = np.zeros(256, dtype=np.int8)
_STEPS[[ord("["), ord("{")]] = 1
_STEPS[[ord("]"), ord("}")]] = -1
# What a value takes in memory, by the character that tells of it: a number 24 bytes and 8 for its place, a text 49 and more, a list 88, an
# object 184.
_COSTS = np.zeros(256, dtype=np.int64)
_COSTS[[ord(","), ord('"'), ord("["), ord("{")]] = (32, 56, 88, 200)
_FIELD_BYTES, _LINE_BYTES = 64, 128  # what a field and a line of CSV take, as text, as a value, and in their rows and columns
_DEAREST = 80  # bytes in memory per byte of JSON, at most: `{},{},...`
_PIECE_BYTES = 2**18
_SHORT_BYTES = 1024
_NO_BACKSLASH = re.compile(rb"[^\\]")


def check_json(text: bytes | bytearray, depth_limit: int, body_limit: int) -> None:
    """Raise RequestError for JSON that is too deep, TooLargeError for JSON that grows to more than GROWTH times `body_limit`."""
    if not _is_harmless(text, depth_limit, body_limit):
        at_once(check_json_in_steps(text, depth_limit, body_limit))


def check_json_in_steps(text: bytes | bytearray, depth_limit: int, body_limit: int) -> Steps[None]:
    """Do what `check_json` does."""
    size_limit = GROWTH * body_limit
    if _is_harmless(text, depth_limit, body_limit):
        return
    depth, size = yield from measure(text, depth_limit, size_limit)
    if depth > depth_limit:
        raise RequestError(f"The JSON is nested more than {depth_limit} levels deep, the limit.")
    if size > size_limit:
        hint = "Send fewer rows at once, or raw tensors."
        raise TooLargeError(f"The JSON would take more than {size_limit} bytes when decoded, the limit.", hint=hint)


def check_csv(text: bytes | bytearray, body_limit: int) -> None:
    """Raise TooLargeError for CSV that grows to more than GROWTH times `body_limit`."""
    at_once(check_csv_in_steps(text, body_limit))


def check_csv_in_steps(text: bytes | bytearray, body_limit: int) -> Steps[None]:
    """Do what `check_csv` does."""
    size = 0
    for place in range(0, len(text), _PIECE_BYTES):
        end = place + _PIECE_BYTES
        size += text.count(b",", place, end) * _FIELD_BYTES
        size += (text.count(b"\n", place, end) + text.count(b"\r", place, end)) * _LINE_BYTES
        if size > GROWTH * body_limit:
            hint = "Send fewer rows at once."
            raise TooLargeError(f"The CSV would take more than {GROWTH * body_limit} bytes when decoded, the limit.", hint=hint)
        yield


def measure(text: bytes | bytearray, depth_limit: int, size_limit: int) -> Steps[tuple[int, int]]:
    """Return the depth and the size in bytes once decoded; looks no further than to where one is above its limit."""
    level = depth = size = place = 0
    is_inside = 0  # of a text: what stands there is no structure
    while place < len(text):
        end = place + _PIECE_BYTES
        if text[end - 1 : end] == b"\\":  # a backslash and what it escapes belong to one piece
            other = _NO_BACKSLASH.search(text, end)
            end = len(text) if other is None else other.end()
        part, place = text[place:end], end
        if b"\\" in part:
            part = part.replace(b"\\\\", b"").replace(b'\\"', b"")
        piece = np.frombuffer(part.translate(None, _NOT_STRUCTURE), dtype=np.uint8)
        if not piece.size:
            continue
        inside = (np.cumsum(piece == ord('"'), dtype=np.uint8) + is_inside) & 1
        is_inside = int(inside[-1])
        piece = piece[inside == 0]
        if piece.size:
            levels = np.cumsum(_STEPS[piece], dtype=np.int32)
            depth, level = max(depth, level + int(levels.max())), level + int(levels[-1])
            size += int(_COSTS[piece].sum())
        if depth > depth_limit or size > size_limit:
            break
        yield
    return depth, size


def _is_harmless(text: bytes | bytearray, depth_limit: int, body_limit: int) -> bool:
    """Whether a glance tells that JSON is neither too deep nor too large."""
    return len(text) * _DEAREST <= GROWTH * body_limit and _has_few_brackets(text, depth_limit)


def _has_few_brackets(text: bytes | bytearray, limit: int) -> bool:
    """In a long text, looking for the next one is ten times as fast as counting them, where there are few."""
    if len(text) <= _SHORT_BYTES:
        return text.count(b"[") + text.count(b"{") <= limit
    left = limit
    for bracket in (b"[", b"{"):
        place = text.find(bracket)
        while place >= 0:
            if left == 0:
                return False
            left -= 1
            place = text.find(bracket, place + 1)
    return True
