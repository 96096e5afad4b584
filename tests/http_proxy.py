"""An HTTP proxy for tests, in front of a real server: passes requests on, or fails them in a chosen way, each counted."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit

FAULTS = ("500", "429", "stall", "cut the request", "cut the answer", "change the request", "change the answer")
_BUSY = b"<?xml version='1.0'?><Error><Code>%s</Code><Message>later</Message></Error>"


class HttpProxy:
    """Listens on a port of its own in front of `target` (a URL). `choose` is asked for each request (number from 0, method, path) which of
    FAULTS befalls it; "" for none.
    """

    def __init__(self, target: str) -> None:
        self.target = urlsplit(target)
        self.choose: Callable[[int, str, str], str] = lambda number, method, path: ""
        self.requests: list[tuple[str, str]] = []
        self.awake = threading.Event()
        proxy = self

        class Handler(_Handler):
            owner = proxy

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.awake.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: HttpProxy
    timeout = 10

    def _pass(self) -> None:
        number = len(self.owner.requests)
        self.owner.requests.append((self.command, self.path))
        fault = self.owner.choose(number, self.command, self.path)
        self.close_connection = True
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if fault == "stall":
            self.owner.awake.wait(timeout=30)
        elif fault in {"500", "429"}:
            code = b"InternalError" if fault == "500" else b"SlowDown"
            self._answer(int(fault), {"Content-Type": "application/xml"}, _BUSY % code)
        else:
            self._forward(fault, body)

    def _forward(self, fault: str, body: bytes) -> None:
        if fault == "change the request" and body:
            body = bytes([body[0] ^ 1]) + body[1:]
        connection = HTTPConnection(self.owner.target.hostname or "", self.owner.target.port, timeout=20)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in {"connection", "expect"}}
            if fault == "cut the request":
                connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in headers.items():
                    connection.putheader(name, value)
                connection.endheaders(body[: len(body) // 2])
                return  # the server waits for the rest, until the connection is closed here
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            content, told = answer.read(), dict(answer.getheaders())
            if fault == "change the answer" and content:
                content = bytes([content[0] ^ 1]) + content[1:]
            self._answer(answer.status, told, content, is_cut=fault == "cut the answer")
        except (OSError, HTTPException):
            pass  # what the server makes of half a request is its business
        finally:
            connection.close()

    def _answer(self, status: int, headers: dict[str, str], content: bytes, *, is_cut: bool = False) -> None:
        self.send_response_only(status)
        size = headers.get("Content-Length", str(len(content))) if self.command == "HEAD" else str(len(content))
        for name, value in headers.items():
            if name.lower() not in {"content-length", "transfer-encoding", "connection"}:
                self.send_header(name, value)
        self.send_header("Content-Length", size)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if is_cut else content)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass  # noqa: N815 - the names that http.server asks for

    def log_message(self, *words: Any) -> None:
        """Say nothing."""
