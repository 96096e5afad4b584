"""Bytes of an HTTP/2 connection to frames: the preface, whole frames, and header blocks put together.

Takes what the socket gives, in pieces of any size; gives frames. HEADERS come out with their whole block, without padding and priority, so
that CONTINUATION is never seen outside. Raises ConnectionFault for what is too large or out of order. It keeps at most one frame and one
header block.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from fairlead.serve.grpc import frames
from fairlead.serve.grpc.frames import ConnectionFault
from fairlead.serve.grpc.limits import GrpcLimits

_FRAME_HEAD = struct.Struct(">BHBBI")
_HEAD_BYTES = _FRAME_HEAD.size
Frame = tuple[int, int, int, bytes]  # kind, flags, stream, payload


class FrameReader:
    """`is_settled` says that the peer's preface and its first SETTINGS have come."""

    __slots__ = ("_block", "_block_flags", "_block_id", "_continuation_count", "_is_prefaced", "_limits", "_rest", "is_settled")

    def __init__(self, limits: GrpcLimits) -> None:
        self._limits = limits
        self._rest = b""
        self._block = b""
        self._block_id = self._block_flags = self._continuation_count = 0
        self._is_prefaced = self.is_settled = False

    @property
    def is_waiting(self) -> bool:
        """Whether something has begun that is not complete."""
        return bool(self._rest or self._block_id) or not self.is_settled

    def read(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that are complete with `data`."""
        if self._rest:
            data = self._rest + data
            self._rest = b""
        place = 0
        if not self._is_prefaced:
            if not self._read_preface(data):
                self._rest = data
                return
            place = len(frames.PREFACE)
        end = len(data)
        while end - place >= _HEAD_BYTES:
            high, low, kind, flags, stream_id = _FRAME_HEAD.unpack_from(data, place)
            length = (high << 16) | low
            if length > frames.FRAME_LIMIT:
                raise ConnectionFault(frames.FRAME_SIZE_ERROR, f"a frame of {length} bytes")
            stop = place + _HEAD_BYTES + length
            if stop > end:
                break
            payload = data[place + _HEAD_BYTES : stop]
            place = stop
            stream_id &= frames.MAX_WINDOW
            if self._block_id or not self.is_settled or kind in (frames.HEADERS, frames.CONTINUATION):
                whole = self._take_unusual(kind, flags, stream_id, payload)
                if whole is not None:
                    yield whole
            else:
                yield kind, flags, stream_id, payload
        self._rest = data[place:]

    def _read_preface(self, data: bytes) -> bool:
        """Return whether the client's preface is complete."""
        self._is_prefaced = data.startswith(frames.PREFACE)
        if not self._is_prefaced and not frames.PREFACE.startswith(data):
            raise ConnectionFault(frames.PROTOCOL_ERROR, "not the preface of HTTP/2")
        return self._is_prefaced

    def _take_unusual(self, kind: int, flags: int, stream_id: int, payload: bytes) -> Frame | None:
        """The first frame, and those that carry headers. Returns a frame if one is complete."""
        if not self.is_settled:
            if kind != frames.SETTINGS or flags & frames.ACK:
                raise ConnectionFault(frames.PROTOCOL_ERROR, "the first frame was not SETTINGS")
            self.is_settled = True
        if self._block_id and (kind != frames.CONTINUATION or stream_id != self._block_id):
            raise ConnectionFault(frames.PROTOCOL_ERROR, "a header block was interrupted")
        if kind == frames.HEADERS:
            return self._begin_block(flags, stream_id, payload)
        if kind == frames.CONTINUATION:
            return self._continue_block(flags, payload)
        return kind, flags, stream_id, payload

    def _begin_block(self, flags: int, stream_id: int, payload: bytes) -> Frame | None:
        if not stream_id & 1:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "HEADERS on a stream that clients do not open")
        block = frames.without_padding(payload) if flags & frames.PADDED else payload
        if flags & frames.HAS_PRIORITY:
            if len(block) < 5:
                raise ConnectionFault(frames.FRAME_SIZE_ERROR, "HEADERS without their priority")
            block = block[5:]
        if flags & frames.END_HEADERS:
            return frames.HEADERS, flags, stream_id, block
        self._block, self._block_id, self._block_flags, self._continuation_count = block, stream_id, flags, 0
        return None

    def _continue_block(self, flags: int, payload: bytes) -> Frame | None:
        if not self._block_id:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "CONTINUATION without HEADERS")
        self._continuation_count += 1
        self._block += payload
        if len(self._block) > self._limits.header_bytes or self._continuation_count > self._limits.continuation_count:
            raise ConnectionFault(frames.ENHANCE_YOUR_CALM, "endless headers")
        if not flags & frames.END_HEADERS:
            return None
        whole = (frames.HEADERS, self._block_flags, self._block_id, self._block)
        self._block, self._block_id = b"", 0
        return whole
