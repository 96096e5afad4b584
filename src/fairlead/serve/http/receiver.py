"""What one HTTP/1.1 peer sends: bytes in, whole requests out, or the refusal of one, in order.

Takes the bytes of a connection; gives HttpRequests to its owner. Malformed and oversized requests become a refusal (400, 413, 431, ...),
after which nothing more is taken. Every size is counted before the body is given to anybody, and what is held is reserved with the gate.
It writes nothing, decides nothing about the connection, and never raises.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol

import httptools

from fairlead.serve.http.head import check_head, too_large
from fairlead.serve.http.message import HttpRequest, Reply, error_reply

if TYPE_CHECKING:
    from fairlead.serve.http.gate import Gate

_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")
# A second one of these would leave open which counts: the start of request smuggling.
_SINGLE = frozenset({b"host", b"content-length", b"transfer-encoding", b"content-type", b"expect", b"inference-header-content-length"})
_MIB = 2**20


class Owner(Protocol):
    """Who is given what came."""

    def take(self, item: HttpRequest | Reply) -> None:
        """Take a whole request, or the last answer: a refusal."""
        ...

    def invite(self) -> None:
        """The peer waits for leave to send the body."""
        ...


class Receiver:
    """The parser's side of one connection. `is_in_message` while a request has begun and is not whole, `is_in_headers` while its headers
    are not; `is_refused`: nothing is taken any more. `buffered` are the bytes reserved with the gate.
    """

    __slots__ = (
        "_chunk_count",
        "_gate",
        "_header_bytes",
        "_header_count",
        "_owner",
        "_parser",
        "_phase_began",
        "buffered",
        "is_in_headers",
        "is_in_message",
        "is_refused",
        "request",
    )

    def __init__(self, gate: Gate, owner: Owner) -> None:
        self._gate, self._owner = gate, owner
        self._parser = httptools.HttpRequestParser(self)
        self.request = HttpRequest(b"", b"", {})
        self._header_bytes = self._header_count = self._chunk_count = self.buffered = 0
        self._phase_began = 0.0  # when the headers or the body began to be waited for; 0: not yet waited for
        self.is_in_message = self.is_in_headers = self.is_refused = False

    def feed(self, data: bytes) -> bool:
        """Take what came; returns whether more may come."""
        was_in_headers = self.is_in_headers
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.is_refused = True  # we speak nothing else; what follows belongs to the other protocol
        except httptools.HttpParserError:
            self.refuse(error_reply(400, "This is not a well-formed HTTP/1.1 request."))
        if was_in_headers and self.is_in_headers:
            self._count_header(len(data))  # a header line without end is known to nobody but the parser
        return not self.is_refused

    def refuse(self, reply: Reply) -> None:
        """Answer with `reply` after what came before it; the first refusal counts."""
        if not self.is_refused:
            self.is_refused = True
            self._owner.take(reply)

    def due(self) -> float:
        """Return when the rest of the request has to be here, in the gate's time: that never moves for the headers, and for the body with
        its size.
        """
        limits = self._gate.limits
        self._phase_began = self._phase_began or self._gate.now()
        if self.is_in_headers:
            return self._phase_began + limits.header_deadline_s
        return self._phase_began + limits.body_deadline_s + len(self.request.body) / _MIB

    def due_anew(self) -> float:
        """Return the same where the time until now was not the peer's: nothing was read from it."""
        self._phase_began = 0.0
        return self.due()

    def identity(self, headers: dict[bytes, bytes]) -> str:
        """Return the identity that a request came with, or a new one."""
        given = headers.get(b"x-request-id")
        return given.decode("ascii") if given is not None and _REQUEST_ID.fullmatch(given) else self._gate.next_request_id()

    def drop(self) -> None:
        """Let go of everything that is held."""
        self._gate.release(self.buffered)
        self.buffered = 0
        self.request = HttpRequest(b"", b"", {})

    def close(self) -> None:
        """Let go of everything, also of parser and owner, which hold this: else every connection would leave a cycle, and some kilobytes,
        to the collector of garbage. Nothing may be fed afterwards.
        """
        self.drop()
        del self._parser, self._owner

    # What the parser calls.

    def on_message_begin(self) -> None:
        """The first byte of a request, which may stand behind others in one packet."""
        if not self.is_refused:
            self.request = HttpRequest(b"", b"", {})
            self._header_bytes = self._header_count = self._chunk_count = 0
            self.is_in_message = self.is_in_headers = True
            self._phase_began = 0.0

    def on_url(self, url: bytes) -> None:
        """A part of the request target."""
        self.request.target += url
        self._count_header(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header line. Those behind a chunked body are dropped: they come too late to be checked."""
        if self.is_refused or not self.is_in_headers:
            return
        limits = self._gate.limits
        self._header_count += 1
        self._header_bytes += len(name) + len(value) + 4
        if self._header_count > limits.header_count or self._header_bytes > limits.header_bytes:
            self._count_header(0)
        headers, key = self.request.headers, name.lower()
        if key in headers:
            if key in _SINGLE:
                self.refuse(error_reply(400, f"The header '{key.decode('ascii', 'replace')}' may stand only once."))
            headers[key] += b", " + value
        else:
            headers[key] = value

    def on_headers_complete(self) -> None:
        """Decide whether the body may come."""
        self.is_in_headers = False
        if self.is_refused:
            return
        request = self.request
        request.method = self._parser.get_method()
        request.is_old = self._parser.get_http_version() == "1.0"
        request.request_id = self.identity(request.headers)
        refusal = check_head(request, self._gate.limits.body_bytes)
        if refusal is not None:
            self.refuse(refusal)
            return
        self._phase_began = 0.0
        if b"expect" in request.headers:
            self._owner.invite()

    def on_chunk_header(self) -> None:
        """A chunk of a chunked body begins."""
        self._chunk_count += 1
        if self._chunk_count > self._gate.limits.chunk_count:
            self.refuse(error_reply(413, f"The body has more than {self._gate.limits.chunk_count} chunks, the limit."))

    def on_body(self, part: bytes) -> None:
        """A part of the body."""
        if self.is_refused:
            return
        request, limits = self.request, self._gate.limits
        if len(request.body) + len(part) > limits.body_bytes:
            self.refuse(too_large(limits.body_bytes))
            return
        if not self._gate.reserve(len(part)):
            self.refuse(error_reply(503, "The server is receiving too much at once.", (b"retry-after: 1",)))
            return
        self.buffered += len(part)
        if not request.body:
            request.body = part
        else:
            if isinstance(request.body, bytes):
                request.body = bytearray(request.body)
            request.body += part

    def on_message_complete(self) -> None:
        """The request is whole."""
        self.is_in_message = False
        if not self.is_refused:
            self.request.is_keep_alive = self._parser.should_keep_alive()
            self._owner.take(self.request)

    def _count_header(self, size: int) -> None:
        limits = self._gate.limits
        self._header_bytes += size
        if self._header_count > limits.header_count:
            self.refuse(error_reply(431, f"The request has more than {limits.header_count} headers, the limit."))
        elif self._header_bytes > limits.header_bytes:
            self.refuse(error_reply(431, f"The request's headers are larger than {limits.header_bytes} bytes, the limit."))
