"""HTTP requests and replies as values, and a reply's bytes.

Header names are lower-case bytes. Nothing here reads or writes a socket.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import msgspec

JSON = b"application/json"
_ENCODER = msgspec.json.Encoder()
_ERROR = msgspec.json.Decoder(dict[str, str])
_HEAD = b"%bserver: fairlead\r\ndate: %b\r\ncontent-type: %b\r\ncontent-length: %d\r\n%b\r\n"
_USUAL_HEAD = b"%bserver: fairlead\r\ndate: %b\r\ncontent-type: %b\r\ncontent-length: %d\r\nx-request-id: %b\r\n\r\n"
_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}


class Memo(msgspec.Struct):
    """What a handler has read in a head that comes again and again: whatever it likes."""

    known: Any = None


class HttpRequest(msgspec.Struct):
    """A whole request. `target` is the raw request target; `is_keep_alive` says whether the connection may stay open. Requests with one
    `memo` have one head but for the length.
    """

    method: bytes
    target: bytes
    headers: dict[bytes, bytes]
    body: bytes | bytearray = b""
    is_keep_alive: bool = True
    is_old: bool = False  # HTTP/1.0
    request_id: str = ""
    memo: Memo | None = None


class Reply(msgspec.Struct, frozen=True):
    """What is answered. `headers` are complete lines without line ends, made by Fairlead only: never a client's bytes."""

    status: int
    body: bytes = b""
    content_type: bytes = JSON
    headers: tuple[bytes, ...] = ()


def json_reply(value: object, status: int = 200, headers: tuple[bytes, ...] = ()) -> Reply:
    """Return `value` as JSON; NaN and infinities become null."""
    return Reply(status, _ENCODER.encode(value), JSON, headers)


def error_reply(status: int, message: str, headers: tuple[bytes, ...] = ()) -> Reply:
    """Return the one form that every error has: {"error": "..."}."""
    return json_reply({"error": message}, status, headers)


def error_text(reply: Reply) -> str:
    """Return what an error reply says; "" for one that says nothing."""
    try:
        return _ERROR.decode(reply.body)["error"]
    except (msgspec.DecodeError, KeyError):
        return ""


def to_bytes(reply: Reply, request: HttpRequest | None, *, date: bytes, is_closing: bool) -> tuple[bytes, bytes]:
    """Return head and body as they go on the wire; a HEAD request gets the head of its GET."""
    if request is not None and not (reply.headers or is_closing or request.is_old or request.method == b"HEAD"):
        size = len(reply.body)
        return _USUAL_HEAD % (_STATUS_LINES[reply.status], date, reply.content_type, size, request.request_id.encode()), reply.body
    lines = b"\r\n".join(reply.headers) + b"\r\n" if reply.headers else b""
    if request is not None and request.request_id:
        lines += b"x-request-id: %b\r\n" % request.request_id.encode("ascii")
    if is_closing:
        lines += b"connection: close\r\n"
    elif request is not None and request.is_old:
        lines += b"connection: keep-alive\r\n"
    head = _HEAD % (_STATUS_LINES[reply.status], date, reply.content_type, len(reply.body), lines)
    return head, b"" if request is not None and request.method == b"HEAD" else reply.body
