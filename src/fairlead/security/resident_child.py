"""The worker's side of a resident process: reads asks, calls the function that the entry returned, writes answers or errors.

Takes that function and two inherited descriptors; gives nothing back and returns when the parent has closed its end. Called by
`security.sandbox_child` once the process is locked and the model is open. Never opens, sends or keeps anything between two asks.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable

import numpy as np

from fairlead.core.interface import Array, Tensors
from fairlead.security.resident_frames import HEADER_BYTES, Buffer, Kind, pack, pack_words, read_header, read_places, unpack
from fairlead.security.sandbox_failures import describe_failure

_NO_LIMIT = 1 << 62  # the parent's frames are ours; this process's memory limit bounds them


def answer_asks(function: Callable[[Tensors], Tensors], asks: int, answers: int) -> None:
    """Answer one ask after the other until there are no more."""
    while (head := _read(asks, HEADER_BYTES)) is not None:
        header = read_header(head.data, limit_bytes=_NO_LIMIT)
        _write(answers, _answer(function, asks, header.sequence, header.head_bytes, header.body_bytes))


def _answer(function: Callable[[Tensors], Tensors], asks: int, sequence: int, head_bytes: int, body_bytes: int) -> list[Buffer]:
    try:
        places = read_places(_read_whole(asks, head_bytes).data, body_bytes)
        return pack(Kind.ANSWER, sequence, function(unpack(places, _read_whole(asks, body_bytes))))
    except BaseException as error:  # noqa: BLE001 - a library may raise anything; the parent decides what to say
        return pack_words(Kind.ERROR, sequence, json.dumps(describe_failure(error)).encode())


def _read_whole(descriptor: int, size: int) -> Array:
    data = _read(descriptor, size)
    if data is None:
        os._exit(0)  # the parent has gone in the middle of an ask
    return data


def _read(descriptor: int, size: int) -> Array | None:
    """Return `size` bytes; None where the other end is closed."""
    data = np.empty(size, dtype=np.uint8)
    view, done = data.data, 0
    while done < size:
        count = os.readv(descriptor, [view[done:]])
        if count == 0:
            return None
        done += count
    return data


def _write(descriptor: int, buffers: list[Buffer]) -> None:
    for buffer in buffers if sum(map(len, buffers)) > 1 << 16 else [b"".join(buffers)]:
        rest = memoryview(buffer)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
