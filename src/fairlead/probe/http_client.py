"""Plain HTTP/1.1, one connection per exchange, and able to say what no good client says.

Takes a server's URL; gives Exchanges. Raises SpecError for a URL that is none, UnavailableError (from `require`) where nothing answers. A
connection that breaks is an Exchange with status 0. It follows no redirects, keeps no cookies and trusts the system's certificates only.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, urlsplit

from fairlead.errors import SpecError, UnavailableError

_SHOWN = 300
_BODY_LIMIT = 256 * 2**20


@dataclass(frozen=True)
class Exchange:
    """What was sent, in words, and what came. `status` 0: the connection ended without an answer, `reason` says how."""

    sent: str
    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    reason: str = ""

    @property
    def content(self) -> Any:
        """The JSON of the body; None where it holds none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    @property
    def came(self) -> str:
        """The answer in a line."""
        if not self.status:
            return f"no answer ({self.reason})"
        text = self.body[:_SHOWN].decode("utf-8", "replace") if self.body else "(no body)"
        text = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
        return f"{self.status} {text}{'...' if len(self.body) > _SHOWN else ''}"


def split_url(url: str) -> SplitResult:
    """Return the parts of a server's URL, "http" where it names no scheme; raises SpecError where the host or the port is none."""
    parts = urlsplit(url if "://" in url else f"http://{url}")
    try:
        is_sound = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 0) >= 0
    except ValueError:  # the port is no number, or out of range
        is_sound = False
    if not is_sound:
        raise SpecError(f"'{url[:100]}' is not the URL of a server.", hint="Write it like http://127.0.0.1:8080")
    return parts


class HttpClient:
    """Speaks to one server. `watch` is told every Exchange."""

    def __init__(self, url: str, *, timeout_s: float = 10.0, watch: Callable[[Exchange], None] | None = None) -> None:
        parts = split_url(url)
        self.is_secure = parts.scheme == "https"
        self.host, self.port = parts.hostname or "", parts.port or (443 if self.is_secure else 80)
        self.base = parts.path.rstrip("/")
        self.url = f"{parts.scheme}://{parts.netloc}{self.base}"
        self._timeout_s, self._watch = timeout_s, watch

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Exchange:
        """GET `path`."""
        return self.ask("GET", path, None, headers)

    def post(self, path: str, body: object, headers: Mapping[str, str] | None = None) -> Exchange:
        """POST `body` as JSON."""
        return self.ask("POST", path, json.dumps(body).encode(), {"Content-Type": "application/json", **(headers or {})})

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None,
        headers: Mapping[str, str] | None = None,
        *,
        length: int | None = None,
    ) -> Exchange:
        """Send one request; a body in parts goes out chunked. `length` is what Content-Length says where that is not the truth."""
        sent = _describe(method, self.base + path, body, headers or {})
        connection = self._connection()
        try:
            exchange = self._exchange(connection, sent, method, path, body, headers or {}, length)
        except (OSError, http.client.HTTPException) as error:
            exchange = Exchange(sent, 0, reason=why(error))
        finally:
            connection.close()
        if self._watch is not None:
            self._watch(exchange)
        return exchange

    def require(self, exchange: Exchange) -> Exchange:
        """Return `exchange`; raises UnavailableError where nothing answered."""
        if not exchange.status:
            raise UnavailableError(f"Nothing answers at {self.url} ({exchange.reason}).", hint="Is the server running, and the port right?")
        return exchange

    def _connection(self) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self.is_secure else http.client.HTTPConnection
        return kind(self.host, self.port, timeout=self._timeout_s)

    def _exchange(
        self,
        connection: http.client.HTTPConnection,
        sent: str,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None,
        headers: Mapping[str, str],
        length: int | None,
    ) -> Exchange:
        connection.putrequest(method, self.base + path, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.putheader("Connection", "close")
        is_whole = body is None or isinstance(body, bytes)
        if isinstance(body, bytes):
            connection.putheader("Content-Length", str(len(body) if length is None else length))
        elif body is not None:
            connection.putheader("Transfer-Encoding", "chunked")
        # A server may refuse early and close: what it said counts, not that the rest of the body could not be sent.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.endheaders(None if body is None or isinstance(body, bytes) else body, encode_chunked=not is_whole)
            if isinstance(body, bytes):
                connection.send(body)
            if length is not None and connection.sock is not None and not self.is_secure:
                connection.sock.shutdown(socket.SHUT_WR)
        answer = connection.getresponse()
        return Exchange(sent, answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read(_BODY_LIMIT))


def why(error: OSError | http.client.HTTPException) -> str:
    """Return why there was no answer, in the words of the system."""
    said = (error.strerror if isinstance(error, OSError) else "") or str(error)
    return (said or type(error).__name__)[:200]


def _describe(method: str, path: str, body: bytes | Iterable[bytes] | None, headers: Mapping[str, str]) -> str:
    said = "".join(f"; {name}: {value}" for name, value in headers.items() if value != "application/json")
    if body is None:
        return f"{method} {path}{said}"
    if not isinstance(body, bytes):
        return f"{method} {path}{said} with a chunked body"
    text = body.decode("utf-8", "replace") if len(body) <= _SHOWN else f"{_part(body[: _SHOWN // 2])} ... {_part(body[-_SHOWN // 2 :])}"
    return f"{method} {path}{said} {text if text.isprintable() else f'{len(body)} bytes'}"


def _part(data: bytes) -> str:
    return data.decode("utf-8", "replace")
