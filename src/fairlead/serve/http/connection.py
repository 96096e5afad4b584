"""One HTTP/1.1 connection: bytes in, requests to a handler, replies out in order.

Takes what the socket gives; calls the gate's handler with whole requests, one at a time; writes its replies. Malformed, oversized and slow
requests are answered (400, 408, 413, 431, ...) and the connection is closed. Every size is counted before the body is given to anybody, and
a peer that does not read what it asked for is cut off. It never raises into the event loop and knows nothing of routes.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from typing import TYPE_CHECKING

import httptools

from fairlead.serve.http.head import check_head, too_large
from fairlead.serve.http.message import HttpRequest, Reply, error_reply, to_bytes
from fairlead.serve.http.repeat import Repeat, repeat_of

if TYPE_CHECKING:
    from fairlead.serve.http.gate import Gate, Going

_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")
# A second one of these would leave open which counts: the start of request smuggling.
_SINGLE = frozenset({b"host", b"content-length", b"transfer-encoding", b"content-type", b"expect", b"inference-header-content-length"})
_MIB = 2**20
_FOREVER = float("inf")
_LINGER_BYTES = 64 * _MIB  # how much of a refused body is read and dropped, so that the peer sees the refusal
_GATHER_BYTES = 65_536  # a smaller body is sent in one piece with its head


class Connection(asyncio.Protocol):
    """The state of one connection. `deadline` is when the gate calls `expire`, in the loop's time."""

    __slots__ = (
        "_buffered",
        "_chunk_count",
        "_discarded",
        "_gate",
        "_going",
        "_header_bytes",
        "_header_count",
        "_is_busy",
        "_is_closing",
        "_is_discarding",
        "_is_in_headers",
        "_is_in_message",
        "_is_pumping",
        "_is_read_paused",
        "_is_refused",
        "_is_write_paused",
        "_parser",
        "_phase_began",
        "_queue",
        "_repeat",
        "_request",
        "_transport",
        "deadline",
    )

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._queue: deque[HttpRequest | Reply] = deque()
        self._request = HttpRequest(b"", b"", {})
        self._going: Going | None = None  # the request in flight, while it waits
        self._repeat: Repeat | None = None  # the head that this peer sent last
        self._header_bytes = self._header_count = self._chunk_count = self._buffered = self._discarded = 0
        self._phase_began = 0.0  # when the headers or the body began to be waited for; 0: not yet waited for
        self._is_in_message = self._is_in_headers = self._is_busy = self._is_pumping = False
        self._is_closing = self._is_refused = self._is_discarding = False
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
        self._release(self._buffered)

    def data_received(self, data: bytes) -> None:
        """Feed the parser; then answer whatever is complete."""
        if self._repeat is not None and not (self._is_in_message or self._is_closing) and self._take_repeated(self._repeat, data):
            return
        if self._is_refused:
            self._discard(len(data))
            return
        is_start = not self._is_in_message
        was_in_headers = self._is_in_headers
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._is_closing = self._is_refused = True  # we speak nothing else; what follows belongs to the other protocol
        except httptools.HttpParserError:
            self._refuse(error_reply(400, "This is not a well-formed HTTP/1.1 request."))
        if was_in_headers and self._is_in_headers:
            self._count_header(len(data))  # a header line without end is known to nobody but the parser
        if self._is_in_message:
            self._await_rest()
        if self._queue:
            if is_start and not (self._is_in_message or self._is_closing):
                self._repeat = repeat_of(data, self._request)
            self._pump()

    def eof_received(self) -> bool:
        """The peer sends no more: answer what it sent, then close.

        It may have gone altogether, which looks the same, so what takes longer than a moment is given up.
        """
        self._is_closing = True
        if self._is_busy:
            self.deadline = self._gate.now() + self._gate.limits.linger_s
        if self._is_in_message and not self._is_refused:
            self._refuse(error_reply(400, "The request ended before it was complete."))
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
        if self._is_in_message:
            self._phase_began = 0.0  # reading was paused: the time in between was not the peer's
            self._await_rest()
        self._rest()
        self._pump()

    def _take_repeated(self, repeat: Repeat, data: bytes) -> bool:
        """Take a request whose head is the one before; returns False where the parser has to look."""
        gate = self._gate
        request = repeat.read(data, gate.limits.body_bytes)
        if request is None or not gate.reserve(len(request.body)):
            return False
        self._buffered += len(request.body)
        request.request_id = self._identity(request.headers) if b"x-request-id" in request.headers else gate.next_request_id()
        self.deadline = _FOREVER
        if self._queue or self._is_busy or self._is_write_paused or self._transport is None:
            self._queue.append(request)
            self._pump()
        else:
            self._begin(request)
        return True

    # What the parser calls.

    def on_message_begin(self) -> None:
        """The first byte of a request, which may stand behind others in one packet."""
        if not self._is_refused:
            self._request = HttpRequest(b"", b"", {})
            self._header_bytes = self._header_count = self._chunk_count = 0
            self._is_in_message = self._is_in_headers = True
            self._phase_began = 0.0

    def on_url(self, url: bytes) -> None:
        """A part of the request target."""
        self._request.target += url
        self._count_header(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header line. Those behind a chunked body are dropped: they come too late to be checked."""
        if self._is_refused or not self._is_in_headers:
            return
        limits = self._gate.limits
        self._header_count += 1
        self._header_bytes += len(name) + len(value) + 4
        if self._header_count > limits.header_count or self._header_bytes > limits.header_bytes:
            self._count_header(0)
        headers, key = self._request.headers, name.lower()
        if key in headers:
            if key in _SINGLE:
                self._refuse(error_reply(400, f"The header '{key.decode('ascii', 'replace')}' may stand only once."))
            headers[key] += b", " + value
        else:
            headers[key] = value

    def on_headers_complete(self) -> None:
        """Decide whether the body may come."""
        self._is_in_headers = False
        if self._is_refused:
            return
        request, limits = self._request, self._gate.limits
        request.method = self._parser.get_method()
        request.is_old = self._parser.get_http_version() == "1.0"
        request.request_id = self._identity(request.headers)
        refusal = check_head(request, limits.body_bytes)
        if refusal is not None:
            self._refuse(refusal)
            return
        self._phase_began = 0.0
        if b"expect" in request.headers and self._transport is not None and not self._queue and not self._is_busy:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_chunk_header(self) -> None:
        """A chunk of a chunked body begins."""
        self._chunk_count += 1
        if self._chunk_count > self._gate.limits.chunk_count:
            self._refuse(error_reply(413, f"The body has more than {self._gate.limits.chunk_count} chunks, the limit."))

    def on_body(self, part: bytes) -> None:
        """A part of the body."""
        if self._is_refused:
            return
        request, limits = self._request, self._gate.limits
        size = len(request.body) + len(part)
        if size > limits.body_bytes:
            self._refuse(too_large(limits.body_bytes))
            return
        if not self._gate.reserve(len(part)):
            self._refuse(error_reply(503, "The server is receiving too much at once.", (b"retry-after: 1",)))
            return
        self._buffered += len(part)
        if not request.body:
            request.body = part
        else:
            if isinstance(request.body, bytes):
                request.body = bytearray(request.body)
            request.body += part

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._is_in_message = False
        if not self._is_refused:
            self._request.is_keep_alive = self._parser.should_keep_alive()
            self._queue.append(self._request)
            self.deadline = _FOREVER

    # The life of the connection.

    def expire(self) -> None:
        """The deadline has passed: say so where somebody may be listening, and close."""
        if self._transport is None:
            return
        if self._is_write_paused or self._is_discarding:
            self._transport.abort()
        elif not self._is_in_message:
            self._transport.close()
        else:
            what = "headers" if self._is_in_headers else "body"
            self._refuse(error_reply(408, f"The request's {what} did not arrive in time."))
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

    def _await_rest(self) -> None:
        """Set the deadline of a request that has begun and is not whole: it never moves for the headers, and for the body with its size."""
        limits = self._gate.limits
        self._phase_began = self._phase_began or self._gate.now()
        if self._is_in_headers:
            self.deadline = self._phase_began + limits.header_deadline_s
        else:
            self.deadline = self._phase_began + limits.body_deadline_s + len(self._request.body) / _MIB

    def _count_header(self, size: int) -> None:
        limits = self._gate.limits
        self._header_bytes += size
        if self._header_count > limits.header_count:
            self._refuse(error_reply(431, f"The request has more than {limits.header_count} headers, the limit."))
        elif self._header_bytes > limits.header_bytes:
            self._refuse(error_reply(431, f"The request's headers are larger than {limits.header_bytes} bytes, the limit."))

    def _refuse(self, reply: Reply) -> None:
        """Answer with `reply` after what came before it, then close."""
        if not self._is_refused:
            self._is_refused = self._is_closing = True
            self._queue.append(reply)

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
        self._buffered -= size
        self._gate.release(size)
        is_last = not request.is_keep_alive or (self._is_closing and not (self._queue or self._is_in_message))
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
        elif self._is_refused:
            self._linger(transport)
        else:
            self._queue.clear()
            transport.close()

    def _rest(self) -> None:
        """Wait for the next request, if there is none yet."""
        if not (self._is_in_message or self._queue or self._is_busy):
            limits = self._gate.limits
            self.deadline = self._gate.swept_at + (limits.linger_s if self._is_closing else limits.idle_s)

    def _linger(self, transport: asyncio.Transport) -> None:
        """Read and drop what the peer still sends: closing at once would reset the connection before it has read the refusal."""
        self._is_discarding = True
        self.deadline = self._gate.now() + self._gate.limits.linger_s
        self._release(self._buffered)
        self._request = HttpRequest(b"", b"", {})
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

    def _identity(self, headers: dict[bytes, bytes]) -> str:
        """Return the identity that a request came with, or a new one."""
        given = headers.get(b"x-request-id")
        return given.decode("ascii") if given is not None and _REQUEST_ID.fullmatch(given) else self._gate.next_request_id()

    def _release(self, size: int) -> None:
        self._buffered -= size
        self._gate.release(size)
