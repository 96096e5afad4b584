"""One HTTP/1.1 connection: requests of one peer to a handler, replies out in order.

Takes what the socket gives; has a Receiver make requests of it, gives them to the gate's handler, one at a time, and writes its replies. A
peer that is refused is answered, and the connection is closed; one that is slow to send is answered 408, and one that does not read what it
asked for is cut off. It never raises into the event loop and knows nothing of routes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from fairlead.serve.http.message import HttpRequest, Reply, error_reply, to_bytes
from fairlead.serve.http.receiver import Receiver
from fairlead.serve.http.repeat import Repeat, repeat_of

if TYPE_CHECKING:
    from fairlead.serve.http.gate import Gate, Going

_FOREVER = float("inf")
_LINGER_BYTES = 64 * 2**20  # how much of a refused body is read and dropped, so that the peer sees the refusal
_GATHER_BYTES = 65_536  # a smaller body is sent in one piece with its head


class Connection(asyncio.Protocol):
    """The state of one connection. `deadline` is when the gate calls `expire`, in the loop's time."""

    __slots__ = (
        "_discarded",
        "_gate",
        "_going",
        "_is_busy",
        "_is_closing",
        "_is_discarding",
        "_is_pumping",
        "_is_read_paused",
        "_is_write_paused",
        "_queue",
        "_receiver",
        "_repeat",
        "_transport",
        "deadline",
    )

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._transport: asyncio.Transport | None = None
        self._receiver = Receiver(gate, self)
        self._queue: deque[HttpRequest | Reply] = deque()
        self._going: Going | None = None  # the request in flight, while it waits
        self._repeat: Repeat | None = None  # the head that this peer sent last
        self._discarded = 0
        self._is_busy = self._is_pumping = self._is_closing = self._is_discarding = False
        self._is_read_paused = self._is_write_paused = False
        self.deadline = gate.now() + gate.limits.header_deadline_s

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let the peer in, unless the house is full."""
        self._transport = transport  # type: ignore[assignment]
        if not self._gate.admit(self):
            self._send(error_reply(503, "Too many connections are open.", (b"retry-after: 1",)), None, is_last=True)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget everything; nobody waits for the request in flight any more."""
        del exc
        self._transport = None
        if self._going is not None:
            self._going.cancel()
            self._going = None
        self._queue.clear()
        self._gate.forget(self)
        self._receiver.close()

    def data_received(self, data: bytes) -> None:
        """Have it received; then answer whatever is complete."""
        receiver = self._receiver
        if self._repeat is not None and not (receiver.is_in_message or self._is_closing) and self._take_repeated(self._repeat, data):
            return
        if receiver.is_refused:
            self._discard(len(data))
            return
        is_start = not receiver.is_in_message
        if not receiver.feed(data):
            self._is_closing = True
        if receiver.is_in_message:
            self.deadline = receiver.due()
        if self._queue:
            if is_start and not (receiver.is_in_message or self._is_closing):
                self._repeat = repeat_of(data, receiver.request)
            self._pump()

    def eof_received(self) -> bool:
        """The peer sends no more: answer what it sent, then close.

        It may have gone altogether, which looks the same, so what takes longer than a moment is given up.
        """
        self._is_closing = True
        if self._is_busy:
            self.deadline = self._gate.now() + self._gate.limits.linger_s
        if self._receiver.is_in_message and not self._receiver.is_refused:
            self._receiver.refuse(error_reply(400, "The request ended before it was complete."))
            self._pump()
        return self._is_busy or bool(self._queue)

    def pause_writing(self) -> None:
        """The peer does not read what it asked for: take nothing more from it."""
        self._is_write_paused = True
        self.deadline = self._gate.now() + self._gate.limits.write_deadline_s
        self._throttle()

    def resume_writing(self) -> None:
        """The peer has caught up."""
        self._is_write_paused = False
        self.deadline = _FOREVER
        if self._receiver.is_in_message:
            self.deadline = self._receiver.due_anew()  # reading was paused
        self._rest()
        self._pump()

    def _take_repeated(self, repeat: Repeat, data: bytes) -> bool:
        """Take a request whose head is the one before; returns False where the parser has to look."""
        gate, receiver = self._gate, self._receiver
        request = repeat.read(data, gate.limits.body_bytes)
        if request is None or not gate.reserve(len(request.body)):
            return False
        receiver.buffered += len(request.body)
        request.request_id = receiver.identity(request.headers) if b"x-request-id" in request.headers else gate.next_request_id()
        self.deadline = _FOREVER
        if self._queue or self._is_busy or self._is_write_paused or self._transport is None:
            self._queue.append(request)
            self._pump()
        else:
            self._begin(request)
        return True

    # What the receiver calls.

    def take(self, item: HttpRequest | Reply) -> None:
        """Answer a request, or close with a refusal, once those before it are answered."""
        self._queue.append(item)
        if isinstance(item, Reply):
            self._is_closing = True
        else:
            self.deadline = _FOREVER

    def invite(self) -> None:
        """Ask for the body of a request whose peer waits for that, unless others are to be answered first."""
        if self._transport is not None and not self._queue and not self._is_busy:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    # The life of the connection.

    def expire(self) -> None:
        """The deadline has passed: say so where somebody may be listening, and close."""
        if self._transport is None:
            return
        if self._is_write_paused or self._is_discarding:
            self._transport.abort()
        elif not self._receiver.is_in_message:
            self._transport.close()
        else:
            what = "headers" if self._receiver.is_in_headers else "body"
            self._receiver.refuse(error_reply(408, f"The request's {what} did not arrive in time."))
            self.deadline = _FOREVER
            self._pump()

    def abort(self) -> None:
        """Cut the connection off."""
        if self._transport is not None:
            self._transport.abort()

    def drain(self) -> None:
        """Answer what has begun, then close; an idle connection gets a moment for what is already on its way."""
        self._is_closing = True
        if not self._is_write_paused:
            self._rest()

    def _pump(self) -> None:
        """Answer the next requests, if the last one is answered and the peer reads."""
        self._is_pumping = True
        for _ in range(self._gate.limits.pipelined_count):
            if not self._queue or self._is_busy or self._is_write_paused or self._transport is None:
                break
            item = self._queue.popleft()
            if isinstance(item, Reply):
                self._send(item, None, is_last=True)
                break
            self._begin(item)
        self._is_pumping = False
        if self._queue and not self._is_busy:
            self._pump_soon()
        self._throttle()

    def _pump_soon(self) -> None:
        """A long line of pipelined requests must not keep other connections waiting."""
        asyncio.get_running_loop().call_soon(self._pump)

    def _begin(self, request: HttpRequest) -> None:
        self._is_busy = True
        going = self._gate.begin(request, self._finish)
        if self._is_busy:
            self._going = going

    def _finish(self, request: HttpRequest, reply: Reply) -> None:
        """The request in flight is answered."""
        self._is_busy = False
        self._going = None
        if self._transport is None:
            return
        size = len(request.body)
        self._receiver.buffered -= size
        self._gate.release(size)
        is_last = not request.is_keep_alive or (self._is_closing and not (self._queue or self._receiver.is_in_message))
        self._send(reply, request, is_last=is_last)
        if self._queue and not self._is_pumping:
            self._pump_soon()

    def _send(self, reply: Reply, request: HttpRequest | None, *, is_last: bool) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if reply.status < 400:
            self._gate.status_counts[reply.status] += 1
        else:
            self._gate.answered(reply, request)
        head, body = to_bytes(reply, request, date=self._gate.date, is_closing=is_last)
        if len(body) < _GATHER_BYTES:
            transport.write(head + body)
        else:
            transport.writelines((head, body))
        if not is_last:
            if not self._is_write_paused:
                self._rest()
        elif self._receiver.is_refused:
            self._linger(transport)
        else:
            self._queue.clear()
            transport.close()

    def _rest(self) -> None:
        """Wait for the next request, if there is none yet."""
        if not (self._receiver.is_in_message or self._queue or self._is_busy):
            limits = self._gate.limits
            self.deadline = self._gate.swept_at + (limits.linger_s if self._is_closing else limits.idle_s)

    def _linger(self, transport: asyncio.Transport) -> None:
        """Read and drop what the peer still sends: closing at once would reset the connection before it has read the refusal."""
        self._is_discarding = True
        self.deadline = self._gate.now() + self._gate.limits.linger_s
        self._receiver.drop()
        if transport.can_write_eof():
            transport.write_eof()

    def _discard(self, size: int) -> None:
        self._discarded += size
        if self._discarded > _LINGER_BYTES:
            self.abort()

    def _throttle(self) -> None:
        """Read no more while many requests of this peer wait, or it does not read."""
        transport = self._transport
        is_full = self._is_write_paused or len(self._queue) >= self._gate.limits.pipelined_count
        if transport is not None and is_full != self._is_read_paused and not transport.is_closing():
            self._is_read_paused = is_full
            (transport.pause_reading if is_full else transport.resume_reading)()
