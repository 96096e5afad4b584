"""What a connection said before, so that a request that begins with the same bytes need not be parsed again.

Takes the bytes of a whole request and what the parser made of them; gives a `Repeat`, which reads the next one where its head
is the same to the byte but for the digits of its length. Bytes that were parsed and checked once mean the same the next time, so nothing is
believed that a parser would not believe; everything else goes to the parser. It raises nothing.
"""

from __future__ import annotations

import re

import msgspec

from fairlead.serve.http.message import HttpRequest, Memo

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]+)[ \t]*\r\n", re.IGNORECASE)
_DIGIT_COUNT = 12
# These are acted upon before the body, or say that its length is not the one that is counted here.
_ACTED_UPON = frozenset({b"transfer-encoding", b"expect", b"upgrade"})


class Repeat(msgspec.Struct, frozen=True):
    """The head of a request, before and behind the digits of its length, and what the parser made of it (the body is not kept)."""

    before: bytes
    behind: bytes
    method: bytes
    target: bytes
    headers: dict[bytes, bytes]
    whole: bytes  # the head with the length that it had
    size: int  # which was that
    memo: Memo = msgspec.field(default_factory=Memo)

    def read(self, data: bytes, limit_bytes: int) -> HttpRequest | None:
        """Return the request if `data` is one whole request with this head and a body of at most `limit_bytes`; else None."""
        if data.startswith(self.whole) and len(data) - len(self.whole) == self.size <= limit_bytes:
            return HttpRequest(self.method, self.target, self.headers, data[len(self.whole) :], memo=self.memo)
        if not data.startswith(self.before):
            return None
        place = len(self.before)
        end = data.find(b"\r", place, place + _DIGIT_COUNT + 1)
        digits = data[place:end]
        if end < 0 or not digits.isdigit() or not data.startswith(self.behind, end):  # of bytes, isdigit allows 0-9 only
            return None
        start, size = end + len(self.behind), int(digits)
        if len(data) - start != size or size > limit_bytes:
            return None
        headers = self.headers
        if digits != headers[b"content-length"]:
            headers = headers | {b"content-length": digits}
        return HttpRequest(self.method, self.target, headers, data[start:], memo=self.memo)


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
    before, behind = data[: match.start(1)], data[match.end(1) : head_end]
    return Repeat(before, behind, request.method, request.target, request.headers, data[:head_end], len(request.body))
