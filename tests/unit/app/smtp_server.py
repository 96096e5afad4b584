"""A mail server on loopback, as much of RFC 5321 as a client needs: keeps what it got, refuses as it is told."""

from __future__ import annotations

import socketserver
import ssl
import threading
from typing import Self


class MailServer:
    """`replies` answers a command (by its first word, or all of it) otherwise than usual, e.g. {"DATA": "554 no"}; `tls` is what STARTTLS
    begins. A dripping one greets, line after line, and never comes to an end.
    """

    def __init__(
        self,
        replies: dict[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
        *,
        is_silent: bool = False,
        is_dripping: bool = False,
        greeting: str = "220 here",
    ) -> None:
        self.replies, self.tls, self.is_silent = replies or {}, tls, is_silent
        self.letters: list[str] = []
        self.commands: list[str] = []
        self.let_go = threading.Event()
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                if outer.is_silent:
                    outer.let_go.wait(30)
                    return
                while is_dripping and not outer.let_go.wait(0.02):
                    try:
                        self._say("220-there is more")
                    except OSError:
                        return
                self._say(greeting)
                while line := self.rfile.readline():
                    word = line.decode("ascii", "replace").strip()
                    outer.commands.append(word)
                    if word.lower() in outer.replies:
                        self._say(outer.replies[word.lower()])
                    elif not self._serve(word.split(" ")[0].upper()):
                        return

            def _serve(self, word: str) -> bool:
                if word in outer.replies:
                    self._say(outer.replies[word])
                elif word == "EHLO":
                    extensions = (
                        ["STARTTLS"] if outer.tls is not None and not isinstance(self.connection, ssl.SSLSocket) else ["AUTH PLAIN"]
                    )
                    self._say("250-here\r\n250 " + extensions[0])
                elif word == "STARTTLS" and outer.tls is not None:
                    self._say("220 go on")
                    self.connection = outer.tls.wrap_socket(self.connection, server_side=True)
                    self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb")
                elif word == "AUTH":
                    self._say("235 welcome")
                elif word == "DATA":
                    self._say("354 go on")
                    lines = []
                    while (line := self.rfile.readline()).rstrip() != b".":
                        lines.append(line.decode("utf-8", "replace"))
                    outer.letters.append("".join(lines))
                    self._say("250 kept")
                elif word == "QUIT":
                    self._say("221 bye")
                    return False
                else:
                    self._say("250 ok")
                return True

            def _say(self, text: str) -> None:
                self.wfile.write(f"{text}\r\n".encode())
                self.wfile.flush()

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = False
        self._server.block_on_close = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        self.port = self._server.server_address[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.let_go.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
