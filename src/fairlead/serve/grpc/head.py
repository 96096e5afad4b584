"""The headers of a gRPC call: what they ask for, checked once for each form in which a client sends them.

Takes HPACK blocks; gives Heads. Raises ConnectionFault where the connection's compression state is lost, StreamFault where the headers are
not a well-formed HTTP/2 request. A client's calls mostly have equal blocks, so a block that is wholly in the compression table is decoded
once; any change of the table forgets all of them, since the same bytes then mean something else.
"""

from __future__ import annotations

import re

import msgspec
from hpack import Decoder, HPACKError, OversizedHeaderListError
from hpack.table import HeaderTable

from fairlead.errors import RequestError
from fairlead.serve.grpc.frames import COMPRESSION_ERROR, ENHANCE_YOUR_CALM, PROTOCOL_ERROR, ConnectionFault
from fairlead.serve.grpc.limits import GrpcLimits
from fairlead.serve.trace_context import read_trace
from fairlead.serve.traffic_pins import Pin, read_pin

_CACHE_LIMIT = 64
_CACHED_BLOCK_BYTES = 1024
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_BAD_VALUE = re.compile(rb"[\x00\r\n]|\A[ \t]|[ \t]\Z")
_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")
_TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])")
_SECONDS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_PSEUDO = frozenset({b":method", b":scheme", b":path", b":authority"})
_OF_CONNECTIONS = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"})
_GRPC = b"application/grpc"


class StreamFault(Exception):  # noqa: N818 - it ends a stream and is no FairleadError: it never leaves this room
    """The peer broke the protocol within one stream."""

    def __init__(self, code: int = PROTOCOL_ERROR) -> None:
        super().__init__(code)
        self.code = code


class Head(msgspec.Struct, frozen=True):
    """What a call's headers say. `http_status` is not 200 where they are no gRPC; `timeout_s` is negative where there is none."""

    path: bytes
    http_status: int = 200
    timeout_s: float = -1.0
    encoding: bytes = b""
    request_id: str = ""
    trace: str = ""
    content_length: int = -1
    mistake: str = ""
    pin: Pin | None = None
    metadata: dict[bytes, bytes] = {}


class _Table(HeaderTable):
    """HPACK's dynamic table, which counts its changes."""

    def __init__(self) -> None:
        self.change_count = 0
        super().__init__()

    def add(self, name: bytes, value: bytes) -> None:
        """Add an entry."""
        self.change_count += 1
        super().add(name, value)

    @property
    def maxsize(self) -> int:
        """The size that the peer chose."""
        return self._maxsize

    @maxsize.setter
    def maxsize(self, size: int) -> None:
        self.change_count += 1
        HeaderTable.maxsize.fset(self, size)  # type: ignore[attr-defined]  # a property of the base class


class HeadReader:
    """Reads the header blocks of one connection, in the order in which they came."""

    def __init__(self, limits: GrpcLimits) -> None:
        self._limits = limits
        self._table = _Table()
        self._decoder = Decoder(max_header_list_size=limits.header_bytes)
        self._decoder.header_table = self._table
        self._known: dict[bytes, Head] = {}

    def read(self, block: bytes) -> Head:
        """Return what the headers of a new stream say."""
        known = self._known.get(block)
        if known is not None:
            return known
        before = self._table.change_count
        fields = self.decode(block)
        if self._table.change_count != before:
            self._known.clear()
            return _read_fields(fields, self._limits)
        found = _read_fields(fields, self._limits)
        if len(block) <= _CACHED_BLOCK_BYTES:
            if len(self._known) >= _CACHE_LIMIT:
                self._known.clear()
            self._known[block] = found
        return found

    def read_trailers(self, block: bytes) -> None:
        """Keep the compression state right; raises StreamFault where they are not trailers."""
        before = self._table.change_count
        fields = self.decode(block)
        if self._table.change_count != before:
            self._known.clear()
        if any(name.startswith(b":") for name, _ in fields):
            raise StreamFault

    def decode(self, block: bytes) -> list[tuple[bytes, bytes]]:
        """Return a block's fields; raises ConnectionFault, since what follows could not be decoded either."""
        try:
            return list(self._decoder.decode(block, raw=True))
        except OversizedHeaderListError:
            raise ConnectionFault(ENHANCE_YOUR_CALM, f"headers larger than {self._limits.header_bytes} bytes") from None
        except (HPACKError, IndexError, ValueError):
            raise ConnectionFault(COMPRESSION_ERROR, "headers that cannot be decompressed") from None


def _read_fields(fields: list[tuple[bytes, bytes]], limits: GrpcLimits) -> Head:
    """Check what RFC 9113, 8.2 and 8.3 demand of a request, and read what gRPC uses of it."""
    found: dict[bytes, bytes] = {}
    is_regular = False
    for name, value in fields:
        if name.startswith(b":"):
            if is_regular or name not in _PSEUDO or name in found:
                raise StreamFault
        else:
            is_regular = True
            if not _NAME.fullmatch(name) or name in _OF_CONNECTIONS or (name == b"te" and value != b"trailers"):
                raise StreamFault
        if _BAD_VALUE.search(value):
            raise StreamFault
        found.setdefault(name, value)
    if not found.get(b":path") or b":method" not in found or b":scheme" not in found:
        raise StreamFault
    return _read_call(found, status=431 if len(fields) > limits.header_count else 200)


def _read_call(found: dict[bytes, bytes], status: int) -> Head:
    media_type = found.get(b"content-type", b"")
    if found[b":method"] != b"POST":
        status = 405
    elif media_type != _GRPC and not media_type.startswith((_GRPC + b"+proto", _GRPC + b";")):
        status = 415
    mistake = ""
    timeout_s = -1.0
    if b"grpc-timeout" in found:
        match = _TIMEOUT.fullmatch(found[b"grpc-timeout"])
        if match is None:
            mistake = "The metadata 'grpc-timeout' is not a time."
        else:
            timeout_s = int(match[1]) * _SECONDS[match[2]]
    pin = None
    try:
        pin = read_pin(found)
    except RequestError as error:
        mistake = str(error)
    length = found.get(b"content-length", b"-1")
    if length != b"-1" and not (length.isdigit() and len(length) < 16):
        raise StreamFault
    request_id = found.get(b"x-request-id", b"")
    return Head(
        path=found[b":path"],
        http_status=status,
        timeout_s=timeout_s,
        encoding=found.get(b"grpc-encoding", b""),
        request_id=request_id.decode("ascii") if _REQUEST_ID.fullmatch(request_id) else "",
        trace=read_trace(found.get(b"traceparent"), found.get(b"tracestate")),
        content_length=int(length),
        mistake=mistake,
        pin=pin,
        metadata=found,
    )


def field(name: bytes, value: bytes) -> bytes:
    """Return a header field as an HPACK literal that no table remembers (RFC 7541, 6.2.2)."""
    return b"\x00" + _length(name) + name + _length(value) + value


def _length(text: bytes) -> bytes:
    """An HPACK integer with a 7-bit prefix, not Huffman-coded (RFC 7541, 5.1)."""
    size = len(text)
    if size < 127:
        return bytes((size,))
    size -= 127
    digits = [127]
    while size > 127:
        digits.append(size & 127 | 128)
        size >>= 7
    digits.append(size)
    return bytes(digits)
