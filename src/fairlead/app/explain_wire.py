"""What travels between a server and the process that explains for it: words (JSON) and tensors (raw bytes), over a socket pair.

Both ends are Fairlead's own. Raises EOFError where the other end is closed, TimeoutError where nothing came in time. Never unpickles.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any

import msgspec
import numpy as np

from fairlead.core.interface import Array, Tensors
from fairlead.errors import FairleadError
from fairlead.security.resident_frames import HEADER_BYTES, Kind, pack, read_header, read_places, unpack
from fairlead.security.sandbox_answers import rebuild

_MOST_BYTES = 2**30
_NOTHING: Tensors = {}


class Wire:
    """One end. Belongs to one thread at a time."""

    def __init__(self, descriptor: int) -> None:
        self._connection = Connection(descriptor)

    def send(self, words: Mapping[str, Any], tensors: Tensors = _NOTHING) -> None:
        """Send words, and tensors beside them."""
        try:
            self._connection.send_bytes(msgspec.json.encode(words))
            self._connection.send_bytes(b"".join(pack(Kind.ASK, 0, tensors)))
        except OSError as error:  # a pipe that is broken, or was closed
            raise EOFError from error

    def receive(self, timeout_s: float | None = None) -> tuple[dict[str, Any], dict[str, Array]]:
        """Return the words and tensors that come next."""
        try:
            if timeout_s is not None and not self._connection.poll(max(timeout_s, 0.0)):
                raise TimeoutError
            words = msgspec.json.decode(self._connection.recv_bytes(_MOST_BYTES), type=dict[str, Any])
            return words, _unpacked(self._connection.recv_bytes(_MOST_BYTES))
        except ConnectionError as error:
            raise EOFError from error

    def close(self) -> None:
        """Close this end. Idempotent."""
        self._connection.close()


def open_wire() -> tuple[Wire, socket.socket]:
    """Return this process's end, and the other one, for a process to be started with."""
    ours, theirs = socket.socketpair()
    return Wire(ours.detach()), theirs


def error_of(words: Mapping[str, Any]) -> FairleadError:
    """Return the error that words tell of, as `security.sandbox_failures` writes them."""
    return rebuild(words["error"], "The process that explains")


def _unpacked(data: bytes) -> dict[str, Array]:
    header = read_header(data[:HEADER_BYTES], limit_bytes=_MOST_BYTES)
    body = HEADER_BYTES + header.head_bytes
    places = read_places(data[HEADER_BYTES:body], header.body_bytes)
    return {name: tensor.copy() for name, tensor in unpack(places, np.frombuffer(data, np.uint8)[body:]).items()}
