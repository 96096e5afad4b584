"""One HTTP/2 connection (RFC 9113) of the gRPC transport: its beginning, its deadlines and its end.

Takes what the socket gives; hands frames to the session. Ends with GOAWAY for what breaks the protocol or floods; a peer that does not send
what it began, does not read what it asked for, or is silently gone is cut off. It never raises into the event loop.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from fairlead.serve.grpc import frames
from fairlead.serve.grpc.frames import ConnectionFault
from fairlead.serve.grpc.outbound import Outbound
from fairlead.serve.grpc.reader import FrameReader
from fairlead.serve.grpc.session import Session

if TYPE_CHECKING:
    from fairlead.serve.grpc.gate import Gate

_FOREVER = float("inf")
_LINGER_BYTES = 2**20  # how much of a refused connection is read and dropped, so that the peer sees why
_DRAIN_PING = b"draining"
_ALIVE_PING = b"alive?  "
_WORDS = b"This port speaks gRPC over HTTP/2 only.\n"
_OTHER_PROTOCOL = b"HTTP/1.1 426 Upgrade Required\r\nconnection: close\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n%b" % (
    len(_WORDS),
    _WORDS,
)


class Connection(asyncio.Protocol):
    """The gate calls `sweep` every quarter of a second, `drain` when the server stops."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._transport: asyncio.Transport | None = None
        self._reader = FrameReader(gate.limits)
        self._phase_deadline = gate.now() + gate.limits.header_deadline_s  # when what has begun to come has to be complete
        self._ping_deadline = _FOREVER
        self._heard_at = self._second_began = gate.swept_at
        self._discarded = 0
        self._is_refused = self._is_leaving = False

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let the peer in, unless the house is full, and say what we take."""
        self._transport = transport  # type: ignore[assignment]
        limits = self._gate.limits
        self._out = Outbound(transport, self._forget, limits.write_deadline_s, self._gate.now)  # type: ignore[arg-type]
        self._session = Session(self._gate, self._out, self._on_ping_ack, self._leave_if_empty)
        chosen = {
            frames.MAX_CONCURRENT_STREAMS: limits.stream_count,
            frames.INITIAL_WINDOW_SIZE: limits.stream_window_bytes,
            frames.MAX_HEADER_LIST_SIZE: limits.header_bytes,
        }
        self._out.send(frames.settings(chosen) + frames.window_update(0, limits.connection_window_bytes - frames.DEFAULT_WINDOW))
        if not self._gate.admit(self):
            self._refuse(ConnectionFault(frames.ENHANCE_YOUR_CALM, "too many connections are open"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody waits for what is under way."""
        del exc
        self._transport = None
        self._session.close()
        self._gate.forget(self)

    def data_received(self, data: bytes) -> None:
        """Read frames."""
        if self._is_refused:
            self._discarded += len(data)
            if self._discarded > _LINGER_BYTES:
                self.abort()
            return
        self._heard_at = self._gate.swept_at
        self._ping_deadline = _FOREVER
        on_frame = self._session.on_frame
        try:
            for kind, flags, stream_id, payload in self._reader.read(data):
                on_frame(kind, flags, stream_id, payload)
        except ConnectionFault as fault:
            if not self._reader.is_settled and data[:4] in (b"GET ", b"POST", b"HEAD", b"PUT ", b"OPTI"):
                self._out.send(_OTHER_PROTOCOL)
            self._refuse(fault)
            return
        if not self._reader.is_waiting:
            self._phase_deadline = _FOREVER
        elif self._phase_deadline == _FOREVER:
            self._phase_deadline = self._gate.now() + self._gate.limits.header_deadline_s

    def eof_received(self) -> bool:
        """The peer is gone: no client of HTTP/2 closes its half and waits. What it asked for is given up."""
        return False

    def pause_writing(self) -> None:
        """The peer does not read what it asked for: take nothing more from it."""
        self._out.pause()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """The peer has caught up."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()
        self._heard_at = self._gate.swept_at
        self._out.resume()

    # What the gate calls.

    def sweep(self, now: float) -> None:
        """Hold the peer to its deadlines; `now` is the loop's time."""
        if now - self._second_began >= 1.0:
            self._second_began = now
            self._session.start_second()
        if self._out.deadline <= now or self._ping_deadline <= now or (self._is_refused and self._phase_deadline <= now):
            self.abort()
        elif self._phase_deadline <= now:
            self._refuse(ConnectionFault(frames.PROTOCOL_ERROR, "what was begun did not come in time"))
        elif self._session.streams:
            self._session.sweep(now, time.monotonic())
            if self._is_leaving and self._session.last_served_id != frames.MAX_WINDOW:
                self._session.end_quiet()
            self._ask_whether_alive(now)
        elif now - self._heard_at > self._gate.limits.idle_s:
            self.drain()

    def drain(self) -> None:
        """Ask the peer to open no more streams, answer those that are open, and close (RFC 9113, 6.8)."""
        if self._is_leaving or self._is_refused:
            self._leave_if_empty()
            return
        self._is_leaving = True
        self._out.send(frames.goaway(frames.MAX_WINDOW, frames.NO_ERROR) + frames.frame(frames.PING, 0, 0, _DRAIN_PING))
        asyncio.get_running_loop().call_later(self._gate.limits.linger_s, self._settle_drain)

    def abort(self) -> None:
        """Cut the connection off."""
        if self._transport is not None:
            self._transport.abort()

    # The end.

    def _settle_drain(self) -> None:
        """The peer knows that we leave: what it opens from now on is not served."""
        session = self._session
        if session.last_served_id == frames.MAX_WINDOW and not self._is_refused:
            session.last_served_id = session.last_id
            self._out.send(frames.goaway(session.last_id, frames.NO_ERROR))
            self._leave_if_empty()

    def _leave_if_empty(self) -> None:
        session = self._session
        is_over = session.is_peer_leaving or (self._is_leaving and session.last_served_id != frames.MAX_WINDOW)
        if is_over and not session.streams and not self._is_refused and self._transport is not None:
            self._transport.close()

    def _refuse(self, fault: ConnectionFault) -> None:
        """Say why, stop everything, and read no more than it takes for the peer to see it."""
        self._is_refused = True
        self._out.send(frames.goaway(self._session.last_id, fault.code, fault.reason))
        self._session.cancel_all()
        self._phase_deadline = self._gate.now() + self._gate.limits.linger_s
        transport = self._transport
        if transport is not None and transport.can_write_eof() and not transport.is_closing():
            transport.write_eof()

    def _on_ping_ack(self, payload: bytes) -> None:
        if payload == _DRAIN_PING and self._is_leaving:
            self._settle_drain()

    def _ask_whether_alive(self, now: float) -> None:
        """A peer whose machine is gone never says so; its streams would be kept for ever."""
        limits = self._gate.limits
        if self._ping_deadline == _FOREVER and now - self._heard_at > limits.ping_after_s and self._out.deadline == _FOREVER:
            self._ping_deadline = now + limits.ping_deadline_s
            self._out.send(frames.frame(frames.PING, 0, 0, _ALIVE_PING))

    def _forget(self, stream: object) -> None:
        self._session.forget(stream)  # type: ignore[arg-type]
