"""A worker: a copy of the zygote that answers one ask after the other until the front closes its end.

Takes the way to open the engine, its end of the socket and the page that it beats on; returns when the front is gone. Asks come from the
front and are checked all the same; what an engine raises becomes the answer to that ask. Never keeps anything between two asks.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from typing import NoReturn

import numpy as np

from fairlead.core.interface import Interface
from fairlead.core.ports import Engine
from fairlead.errors import TooLargeError
from fairlead.serve.workers.control import Failed, Opened, encode
from fairlead.serve.workers.frames import (
    LENGTH_BYTES,
    READY,
    Buffer,
    check_laid,
    decode_ask,
    fault_of,
    pack_answer,
    pack_fault,
    pack_words,
    read_length,
    read_tensors,
)  # fmt: skip
from fairlead.serve.workers.pulse import Pulse

BEAT_S = 0.25
_NO_LIMIT = 1 << 62  # the front's frames are bounded where they come in; this process's address space bounds them here
_PIECE_BYTES = 1 << 16


def work(line: socket.socket, pulse: Pulse, interface: Interface, open_engine: Callable[[], tuple[Engine, Opened]]) -> None:
    """Open the engine, say so, and answer until the front is gone."""
    line.setblocking(True)
    with contextlib.suppress(OSError, EOFError):  # the front has gone
        try:
            engine, opened = open_engine()
        except BaseException as error:  # noqa: BLE001 - a library may raise anything; the front says it to whoever waits
            _send(line, pack_words(READY, encode(Failed(fault_of(error)))))
            return
        threading.Thread(target=_beat, args=(pulse,), name="fairlead-beat", daemon=True).start()
        _send(line, pack_words(READY, encode(opened)))
        while True:
            _answer(line, pulse, interface, engine)


def _beat(pulse: Pulse) -> None:
    """Count while Python runs at all: a stopped process, and one whose interpreter is held, stop counting."""
    while True:
        pulse.beat()
        time.sleep(BEAT_S)


def _answer(line: socket.socket, pulse: Pulse, interface: Interface, engine: Engine) -> None:
    sequence, head_bytes, body_bytes = read_length(_receive(line, LENGTH_BYTES).data, limit_bytes=_NO_LIMIT)
    head = _receive(line, head_bytes)
    try:
        body = _receive(line, body_bytes)
        pulse.begin(sequence)
        ask = decode_ask(head.data)
        check_laid(ask.tensors, interface.inputs, body_bytes)
        wanted = [interface.outputs[index] for index in ask.outputs]
        outputs = engine.run(read_tensors(ask.tensors, interface.inputs, body), [spec.name for spec in wanted])
        buffers = pack_answer(sequence, wanted, outputs)
    except MemoryError:
        refusal = TooLargeError("This request and its answer do not fit into a worker's memory.", hint="Send fewer rows at once.")
        buffers = pack_fault(sequence, refusal)
    except BaseException as error:  # noqa: BLE001 - likewise
        buffers = pack_fault(sequence, error)
    _send(line, buffers)


def _receive(line: socket.socket, size: int) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    """Return `size` bytes; raises MemoryError for more than fit, once they have gone by, and EOFError where the front is gone."""
    try:
        data = np.empty(size, dtype=np.uint8)
    except MemoryError:
        while size:
            size -= len(line.recv(min(size, _PIECE_BYTES))) or _end()
        raise
    view, done = data.data, 0
    while done < size:
        count = line.recv_into(view[done:])
        if count == 0:
            _end()
        done += count
    return data


def _end() -> NoReturn:
    raise EOFError


def _send(line: socket.socket, buffers: list[Buffer]) -> None:
    if sum(map(len, buffers)) <= _PIECE_BYTES:
        line.sendall(b"".join(buffers))
        return
    for buffer in buffers:
        line.sendall(buffer)
