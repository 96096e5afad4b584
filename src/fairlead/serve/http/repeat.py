"""What a connection said before, so that a request that begins with the same bytes need not be parsed again.

Takes the bytes of a whole request and what the parser made of them; gives a `Repeat`, which knows the body of the next one where its head
is the same to the byte but for the digits of its length. Bytes that were parsed and checked once mean the same the next time, so nothing is
believed that a parser would not believe; everything else goes to the parser. It raises nothing.
"""

from __future__ import annotations

import re

import msgspec

from fairlead.serve.http.message import HttpRequest

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]+)[ \t]*\r\n", re.IGNORECASE)
_DIGIT_COUNT = 12
# These are acted upon before the body, or say that its length is not the one that is counted here.
_ACTED_UPON = frozenset({b"transfer-encoding", b"expect", b"upgrade", b"connection"})


class Repeat(msgspec.Struct, frozen=True):
    """The head of a request, before and behind the digits of its length, and the request itself."""

    before: bytes
    behind: bytes
    request: HttpRequest

    def body(self, data: bytes, limit_bytes: int) -> bytes | None:
        """Return the body if `data` is one whole request with this head, of at most `limit_bytes`; else None."""
        if not data.startswith(self.before):
            return None
        place = len(self.before)
        end = data.find(b"\r", place, place + _DIGIT_COUNT + 1)
        digits = data[place:end]
        if end < 0 or not digits.isdigit() or not data.startswith(self.behind, end):  # of bytes, isdigit allows 0-9 only
            return None
        start, size = end + len(self.behind), int(digits)
        return data[start:] if len(data) - start == size <= limit_bytes else None


def repeat_of(data: bytes, request: HttpRequest) -> Repeat | None:
    """Return what to compare the next request with, where `data` is the whole of `request` and nothing else."""
    if request.is_old or not request.is_keep_alive or not request.body or not _ACTED_UPON.isdisjoint(request.headers):
        return None
    head_end = len(data) - len(request.body)
    if data[head_end - 4 : head_end] != b"\r\n\r\n" or data.find(b"\r\n\r\n") != head_end - 4:
        return None
    found = _LENGTH.findall(data, 0, head_end)
    match = _LENGTH.search(data, 0, head_end)
    if len(found) != 1 or match is None or int(found[0]) != len(request.body):
        return None
    return Repeat(data[: match.start(1)], data[match.end(1) : head_end], request)
