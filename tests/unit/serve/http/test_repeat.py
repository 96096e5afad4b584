"""A request that repeats the head before it is the same request to the byte, whichever way it was read."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.serve.http.gate import Gate
from fairlead.serve.http.limits import HttpLimits
from fairlead.serve.http.message import HttpRequest, Reply
from fairlead.serve.http.repeat import repeat_of

NAMES = st.sampled_from(["Content-Type", "X-Request-Id", "Accept", "traceparent", "Connection", "X-A"])
VALUES = st.sampled_from(["application/json", "keep-alive", "Content-Length: 3", "a b", "1", ""])
LENGTHS = st.sampled_from(["Content-Length: {}", "content-length:{}", "CONTENT-LENGTH:  {} "])


class Wire:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.written = b""
        self.is_closed = False

    def write(self, data: bytes) -> None:
        self.written += data

    def writelines(self, parts) -> None:
        self.written += b"".join(parts)

    def is_closing(self) -> bool:
        return self.is_closed

    def can_write_eof(self) -> bool:
        return False

    def close(self) -> None:
        self.is_closed = True

    abort = close

    def pause_reading(self) -> None:
        pass

    resume_reading = pause_reading


def received(pieces: list[bytes], *, limits: HttpLimits | None = None) -> tuple[list[HttpRequest], bytes, int]:
    """Return the requests that one connection makes of the pieces, what it writes, and the bytes that it still counts as buffered."""
    seen: list[HttpRequest] = []

    async def handle(request: HttpRequest) -> Reply:
        seen.append(request)
        return Reply(200, request.body)

    async def drive() -> tuple[bytes, int]:
        gate, wire = Gate(handle, limits or HttpLimits(), asyncio.get_running_loop()), Wire()
        connection = gate.connect()
        connection.connection_made(wire)
        for piece in pieces:
            connection.data_received(piece)
        await asyncio.sleep(0)
        left = gate.buffered_bytes
        connection.connection_lost(None)
        gate.close()
        return wire.written, left

    written, left = asyncio.run(drive())
    return seen, written, left


def essence(request: HttpRequest) -> tuple[object, ...]:
    return request.method, request.target, request.headers, bytes(request.body), request.is_keep_alive, request.is_old


@given(st.lists(st.tuples(NAMES, VALUES), max_size=3), LENGTHS, st.lists(st.binary(max_size=40), min_size=2, max_size=4), st.integers(0, 3))
def test_repeated_heads_give_the_requests_that_the_parser_gives(headers, length, bodies, place) -> None:
    lines = [f"{name}: {value}" for name, value in headers]
    lines.insert(min(place, len(lines)), length)

    def raw(body: bytes) -> bytes:
        head = "\r\n".join(["POST /v2/models/m/infer HTTP/1.1", "Host: h", *lines]).format(len(body))
        return head.encode() + b"\r\n\r\n" + body

    whole, written, left = received([raw(body) for body in bodies])
    byte_by_byte, _, _ = received([bytes([byte]) for body in bodies for byte in raw(body)])  # never whole: always the parser
    assert [essence(request) for request in whole] == [essence(request) for request in byte_by_byte]
    assert left == 0
    assert written.count(b"HTTP/1.1 ") >= len(whole)


HEAD = b"POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\nX-A: 1\r\n\r\n"


def known():
    data = HEAD % 3 + b"abc"
    request = HttpRequest(b"POST", b"/p", {b"host": b"h", b"content-length": b"3", b"x-a": b"1"}, b"abc")
    return repeat_of(data, request)


def test_the_same_head_with_another_length_is_recognized() -> None:
    assert known().read(HEAD % 5 + b"12345", 100).body == b"12345"


@pytest.mark.parametrize(
    "data",
    [
        HEAD % 5 + b"1234",  # not whole
        HEAD % 5 + b"123456",  # and another one behind it
        HEAD % 500 + b"x" * 500,  # larger than allowed
        (HEAD % 5).replace(b": 5", b": +5") + b"12345",
        (HEAD % 5).replace(b": 5", b": 5, 5") + b"12345",
        (HEAD % 5).replace(b": 5", b": 0x5") + b"12345",
        (HEAD % 5).replace(b": 5", b": ") + b"12345",
        (HEAD % 5).replace(b": 5", b": " + b"0" * 30 + b"5") + b"12345",
        (HEAD % 5).replace(b"X-A: 1", b"X-A: 2") + b"12345",
        (HEAD % 5).replace(b"/p", b"/q") + b"12345",
        (HEAD % 5).replace(b"X-A: 1\r\n", b"X-A: 1\r\nContent-Length: 5\r\n") + b"12345",
        b"",
        HEAD[:20],
    ],
)
def test_anything_else_is_left_to_the_parser(data) -> None:
    assert known().read(data, 100) is None


@pytest.mark.parametrize("extra", [b"transfer-encoding", b"expect", b"upgrade"])
def test_heads_that_say_more_about_the_body_are_never_remembered(extra) -> None:
    headers = {b"host": b"h", b"content-length": b"3", extra: b"x"}
    assert repeat_of(HEAD % 3 + b"abc", HttpRequest(b"POST", b"/p", headers, b"abc")) is None


def test_a_repeated_request_counts_towards_the_bytes_that_are_held() -> None:
    limits = HttpLimits(body_bytes=10, buffered_bytes=10)
    seen, written, left = received([HEAD % 3 + b"abc", HEAD % 11 + b"12345678901"], limits=limits)
    assert len(seen) == 1
    assert b"HTTP/1.1 413" in written
    assert left == 0
