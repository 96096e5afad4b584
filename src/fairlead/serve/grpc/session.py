"""The streams of one connection: which are open, what each frame means for them, and what a peer may not do.

Takes frames from the reader; opens calls, hands their data on, cancels them, keeps the windows. Raises ConnectionFault for what ends the
connection, floods included: cancelled streams, frames that carry nothing. A fault within one stream ends that stream only. Priorities are
ignored. Rules by section number are those of RFC 9113.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from fairlead.serve.grpc import frames
from fairlead.serve.grpc.exchange import Exchange
from fairlead.serve.grpc.frames import ConnectionFault
from fairlead.serve.grpc.head import HeadReader, StreamFault
from fairlead.serve.grpc.outbound import Outbound
from fairlead.serve.grpc.stream import Stream

if TYPE_CHECKING:
    from fairlead.serve.grpc.gate import Gate

_FOREVER = float("inf")
_DROPPED_LIMIT = 1000
_CHORES_PER_ANSWER = 16  # the window updates, pings and settings that go with an answer


class Session:
    """`out` is where answers go; `on_ping` is told of acknowledged pings, `on_change` that the last stream is gone or the peer leaves."""

    def __init__(self, gate: Gate, out: Outbound, on_ping: Callable[[bytes], None], on_change: Callable[[], None]) -> None:
        self._gate = gate
        self._limits = gate.limits
        self._out = out
        self._on_ack = on_ping
        self._on_change = on_change
        self._heads = HeadReader(gate.limits)
        self._exchange = Exchange(gate, out, self.forget)
        out.on_taken = self._exchange.go_on
        self._dropped: dict[int, None] = {}  # streams that we ended first: what the peer still sends for them is ignored
        self._window = gate.limits.connection_window_bytes
        self._chore_count = self._reset_count = self._opened_count = 0
        self.streams: dict[int, Stream] = {}
        self.last_id = 0
        self.last_served_id = frames.MAX_WINDOW
        self.is_peer_leaving = False

    def on_frame(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        """Do what a frame says."""
        try:
            if kind == frames.DATA:
                self._on_data(flags, stream_id, payload)
            elif kind == frames.HEADERS:
                self._on_headers(flags, stream_id, payload)
            else:
                self._on_other(kind, flags, stream_id, payload)
        except StreamFault as fault:
            self._reset(stream_id, fault.code)

    def start_second(self) -> None:
        """Count floods anew."""
        self._chore_count = self._reset_count = self._opened_count = 0

    def sweep(self, now: float, monotonic: float) -> None:
        """End calls whose time has passed; `now` is the loop's time, `monotonic` that of deadlines."""
        for stream in tuple(self.streams.values()):
            if stream.deadline + len(stream.buffer) / 2**20 <= now:
                self._exchange.expire(stream, "The message did not arrive in time.")
            elif stream.call.deadline < monotonic:
                self._exchange.expire(stream, "The time for the answer has passed.")

    def end_quiet(self) -> None:
        """The server stops: end the calls whose every message is answered, and which could stay open for ever."""
        for stream in tuple(self.streams.values()):
            self._exchange.end_quiet(stream)

    def forget(self, stream: Stream) -> None:
        """It is over: answered, cancelled or refused."""
        if self.streams.pop(stream.id, None) is None:
            return
        self._out.drop(stream)
        self._exchange.release(stream)
        if self._chore_count:
            self._chore_count = max(0, self._chore_count - _CHORES_PER_ANSWER)
        if not stream.is_ended:
            self._drop(stream.id)
        if not self.streams:
            self._on_change()

    def cancel_all(self) -> None:
        """Nobody waits for anything any more."""
        for stream in tuple(self.streams.values()):
            self.forget(stream)

    def close(self) -> None:
        """The connection is lost: cancel everything, and let go of what refers back to this, else each connection leaves a cycle to the
        collector of garbage. No frame may come afterwards.
        """
        self.cancel_all()
        self._out.close()
        del self._exchange, self._on_ack, self._on_change

    # Frames of streams.

    def _on_data(self, flags: int, stream_id: int, payload: bytes) -> None:
        size = len(payload)
        self._take_window(size)
        if flags & frames.PADDED:
            payload = frames.without_padding(payload)
        is_last = bool(flags & frames.END_STREAM)
        if not payload and not is_last:
            self._count_chore()
        stream = self.streams.get(stream_id)
        if stream is None:
            self._check_closed(stream_id)
            return
        if stream.is_ended:
            raise StreamFault(frames.STREAM_CLOSED)
        stream.receive_window -= size
        if stream.receive_window < 0:
            raise StreamFault(frames.FLOW_CONTROL_ERROR)
        stream.received += len(payload)
        if is_last:
            _end(stream)
        self._exchange.take(stream, payload)

    def _on_headers(self, flags: int, stream_id: int, block: bytes) -> None:
        """Whatever becomes of the stream, the block has to be read: the next ones build on it (RFC 7541, 2.2)."""
        stream = self.streams.get(stream_id)
        is_last = bool(flags & frames.END_STREAM)
        if stream is not None:
            self._heads.read_trailers(block)
            if stream.is_ended or not is_last:
                raise StreamFault(frames.STREAM_CLOSED if stream.is_ended else frames.PROTOCOL_ERROR)
            _end(stream)
            self._exchange.take(stream, b"")
        elif stream_id <= self.last_id:
            self._heads.decode(block)
            self._check_closed(stream_id)
        else:
            self.last_id = stream_id
            self._open(stream_id, block, is_last=is_last)

    def _open(self, stream_id: int, block: bytes, *, is_last: bool) -> None:
        head = self._heads.read(block)
        limits, out = self._limits, self._out
        self._opened_count += 1
        if stream_id > self.last_served_id:
            return  # the peer knows by GOAWAY that this one is not served (6.8)
        if len(self.streams) >= limits.stream_count or out.pending_bytes > limits.pending_bytes:
            raise StreamFault(frames.REFUSED_STREAM)
        stream = Stream(stream_id, head, limits.stream_window_bytes, out.initial, self._gate.swept_at + limits.body_deadline_s)
        self.streams[stream_id] = stream
        if is_last:
            _end(stream)
        self._exchange.open(stream)

    def _on_rst_stream(self, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFault(frames.FRAME_SIZE_ERROR, "an RST_STREAM of a wrong size")
        self._check_not_idle(stream_id)
        stream = self.streams.get(stream_id)
        if stream is not None:
            stream.is_ended = True
            self._reset_count += 1
            self.forget(stream)
            if self._reset_count > self._limits.reset_count and self._reset_count * 2 > self._opened_count:
                raise ConnectionFault(frames.ENHANCE_YOUR_CALM, "most streams are cancelled")

    def _on_window_update(self, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFault(frames.FRAME_SIZE_ERROR, "a WINDOW_UPDATE of a wrong size")
        size = frames.read_word(payload)
        if stream_id:
            self._check_not_idle(stream_id)
        if not size:
            if stream_id:
                raise StreamFault
            raise ConnectionFault(frames.PROTOCOL_ERROR, "a WINDOW_UPDATE of nothing")
        stream = self.streams.get(stream_id)
        if stream is not None or not stream_id:
            self._out.open_window(stream, size)

    # Frames of the connection.

    def _on_other(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        self._count_chore()
        if kind == frames.RST_STREAM:
            self._on_rst_stream(stream_id, payload)
        elif kind == frames.WINDOW_UPDATE:
            self._on_window_update(stream_id, payload)
        elif kind == frames.PRIORITY:
            if not stream_id:
                raise ConnectionFault(frames.PROTOCOL_ERROR, "PRIORITY of the connection")
            if len(payload) != 5:
                raise StreamFault(frames.FRAME_SIZE_ERROR)
        elif kind == frames.PUSH_PROMISE:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "clients do not push")
        elif kind in (frames.SETTINGS, frames.PING, frames.GOAWAY):
            if stream_id:
                raise ConnectionFault(frames.PROTOCOL_ERROR, "a frame of the connection on a stream")
            if kind == frames.SETTINGS:
                self._on_settings(flags, payload)
            elif kind == frames.PING:
                self._on_ping(flags, payload)
            else:
                self.is_peer_leaving = True
                self._on_change()

    def _on_settings(self, flags: int, payload: bytes) -> None:
        if flags & frames.ACK:
            if payload:
                raise ConnectionFault(frames.FRAME_SIZE_ERROR, "an acknowledgement with content")
            return
        for key, value in frames.read_settings(payload):
            if key == frames.INITIAL_WINDOW_SIZE:
                change, self._out.initial = value - self._out.initial, value
                for stream in self.streams.values():
                    stream.send_window += change
                    if stream.send_window > frames.MAX_WINDOW:
                        raise ConnectionFault(frames.FLOW_CONTROL_ERROR, "a stream's window is too large")
            elif key == frames.MAX_FRAME_SIZE:
                self._out.frame_limit = value
        self._out.send(frames.frame(frames.SETTINGS, frames.ACK, 0))
        self._out.pump()

    def _on_ping(self, flags: int, payload: bytes) -> None:
        if len(payload) != 8:
            raise ConnectionFault(frames.FRAME_SIZE_ERROR, "a PING of a wrong size")
        if flags & frames.ACK:
            self._on_ack(payload)
        else:
            self._out.send(frames.frame(frames.PING, frames.ACK, 0, payload))

    def _take_window(self, size: int) -> None:
        """What has come counts against the connection's window, whatever becomes of it; it is opened again in good time."""
        self._window -= size
        if self._window < 0:
            raise ConnectionFault(frames.FLOW_CONTROL_ERROR, "more than the connection's window")
        room = self._limits.connection_window_bytes
        if self._window < room >> 1:
            self._out.send(frames.window_update(0, room - self._window))
            self._window = room

    # What a peer may not do.

    def _reset(self, stream_id: int, code: int) -> None:
        stream = self.streams.get(stream_id)
        self._drop(stream_id)
        if stream is not None:
            self.forget(stream)
        self._count_chore()
        self._out.send(frames.rst_stream(stream_id, code))

    def _drop(self, stream_id: int) -> None:
        self._dropped[stream_id] = None
        if len(self._dropped) > _DROPPED_LIMIT:
            del self._dropped[next(iter(self._dropped))]

    def _check_not_idle(self, stream_id: int) -> None:
        if not stream_id & 1 or stream_id > self.last_id:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "a frame on a stream that was never opened")

    def _check_closed(self, stream_id: int) -> None:
        """Frames are to be expected on streams that we ended first, not on those that the peer has ended (5.1)."""
        self._check_not_idle(stream_id)
        if stream_id not in self._dropped and stream_id <= self.last_served_id:
            raise ConnectionFault(frames.STREAM_CLOSED, "a frame on a closed stream")

    def _count_chore(self) -> None:
        self._chore_count += 1
        if self._chore_count > self._limits.chore_count:
            raise ConnectionFault(frames.ENHANCE_YOUR_CALM, "too many frames that carry nothing")


def _end(stream: Stream) -> None:
    """The peer has sent all of it (8.1.1)."""
    stream.is_ended = True
    stream.deadline = _FOREVER
    if 0 <= stream.head.content_length != stream.received:
        raise StreamFault
