"""A TCP proxy for tests, between a client and a real server: passes bytes on, late, not at all, or until it resets the connection."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Self

_RESET = struct.pack("ii", 1, 0)  # closing sends RST in place of FIN


class TcpProxy:
    """Listens on a port of its own in front of `target` (host, port). Change its attributes at any time.

    `delay_s` passes bytes on late, `is_silent` not at all while it is set; `on_bytes` sees what the client sends and may cut the
    connection by returning True, before the server gets it.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self.delay_s = 0.0
        self.is_silent = False
        self.on_bytes: Callable[[bytes], bool] = lambda data: False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._is_closed = False

    def __enter__(self) -> Self:
        self._begin(self._accept)
        return self

    def __exit__(self, *error: object) -> None:
        self._is_closed = True
        self.is_silent = False
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.reset_all()
        for thread in self._threads:
            thread.join(timeout=30)

    def reset_all(self) -> None:
        """End every connection at once, as a machine that lost its memory does."""
        for end in list(self._open):
            with suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                end.shutdown(socket.SHUT_RDWR)

    def _begin(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._target, 10)
            except OSError:
                client.close()
                continue
            self._open |= {client, server}
            ended = threading.Barrier(2)
            self._begin(self._pump, client, server, ended, True)
            self._begin(self._pump, server, client, ended, False)

    def _pump(self, source: socket.socket, target: socket.socket, ended: threading.Barrier, is_asking: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                time.sleep(self.delay_s)
                while self.is_silent:
                    time.sleep(0.01)
                if is_asking and self.on_bytes(data):
                    break
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        ended.wait(timeout=60)
        self._open.discard(source)
        source.close()
