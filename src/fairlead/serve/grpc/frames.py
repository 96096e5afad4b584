"""HTTP/2 frames (RFC 9113) as bytes: their numbers, and how each one that we send is written.

Pure. Raises ConnectionFault for settings that end a connection; never touches a socket.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER_BYTES = 9
MAX_WINDOW = 2**31 - 1
DEFAULT_WINDOW = 65_535
FRAME_LIMIT = 16_384  # what we take, and the least that a peer takes

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
HAS_PRIORITY = 0x20

NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT, STREAM_CLOSED, FRAME_SIZE_ERROR = range(7)
REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, CONNECT_ERROR, ENHANCE_YOUR_CALM = range(7, 12)

HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = range(1, 7)

_HEAD = struct.Struct(">BHBBI")
_SETTING = struct.Struct(">HI")
_WORD = struct.Struct(">I")
_GOAWAY = struct.Struct(">II")


class ConnectionFault(Exception):  # noqa: N818 - it ends a connection and is no FairleadError: it never leaves this room
    """The peer broke the protocol so that the connection has to end; `code` says how."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def head(length: int, kind: int, flags: int, stream_id: int) -> bytes:
    """Return a frame's nine bytes."""
    return _HEAD.pack(length >> 16, length & 0xFFFF, kind, flags, stream_id)


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """Return a whole frame."""
    return head(len(payload), kind, flags, stream_id) + payload


def settings(values: dict[int, int]) -> bytes:
    """Return a SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(key, value) for key, value in values.items()))


def window_update(stream_id: int, size: int) -> bytes:
    """Return a WINDOW_UPDATE frame."""
    return frame(WINDOW_UPDATE, 0, stream_id, _WORD.pack(size))


def rst_stream(stream_id: int, code: int) -> bytes:
    """Return an RST_STREAM frame."""
    return frame(RST_STREAM, 0, stream_id, _WORD.pack(code))


def goaway(last_id: int, code: int, reason: str = "") -> bytes:
    """Return a GOAWAY frame; `reason` is for whoever debugs the peer."""
    return frame(GOAWAY, 0, 0, _GOAWAY.pack(last_id, code) + reason.encode("ascii", "replace"))


def read_word(payload: bytes) -> int:
    """Return the 31 bits of a four-byte payload."""
    number: int = _WORD.unpack(payload)[0]
    return number & MAX_WINDOW


def read_settings(payload: bytes) -> Iterator[tuple[int, int]]:
    """Yield the settings of a SETTINGS payload; raises ConnectionFault for values that RFC 9113, 6.5.2 forbids."""
    if len(payload) % _SETTING.size:
        raise ConnectionFault(FRAME_SIZE_ERROR, "a SETTINGS frame of a wrong size")
    for key, value in _SETTING.iter_unpack(payload):
        if key == ENABLE_PUSH and value > 1:
            raise ConnectionFault(PROTOCOL_ERROR, "ENABLE_PUSH is neither 0 nor 1")
        if key == INITIAL_WINDOW_SIZE and value > MAX_WINDOW:
            raise ConnectionFault(FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE is too large")
        if key == MAX_FRAME_SIZE and not FRAME_LIMIT <= value < 2**24:
            raise ConnectionFault(PROTOCOL_ERROR, "MAX_FRAME_SIZE is out of range")
        yield key, value


def without_padding(payload: bytes) -> bytes:
    """Return a PADDED payload without its padding; raises ConnectionFault where there is more padding than payload."""
    if not payload or payload[0] >= len(payload):
        raise ConnectionFault(PROTOCOL_ERROR, "more padding than payload")
    return payload[1 : len(payload) - payload[0]]
