"""Where the data plane leaves what it answered, so that somebody else can write it down: a bounded buffer, and nothing that waits.

Takes answers from the event loop's thread, in about half a microsecond each; gives them to one other thread. What is not drawn is left,
what finds no room is dropped, and both are counted. Raises nothing. Tensors are held by reference, and counted by what they take.
"""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias

from fairlead.core.interface import Interface, Tensors
from fairlead.core.observation import Observation
from fairlead.core.observation_log import is_text, row_width

if TYPE_CHECKING:
    from fairlead.serve.data_plane import Asked

_TEXT_BYTES = 56  # what a text takes beside its characters
Entry: TypeAlias = "tuple[Observation, Asked, int]"  # an answer, and the bytes that it counts for


class Lane:
    """The answers of one model: the share of them that is kept, and what became of them so far."""

    __slots__ = ("dropped", "interface", "observed", "row_bytes", "share", "unsampled")

    def __init__(self, share: float) -> None:
        self.share = share
        self.observed = self.unsampled = self.dropped = 0
        self.interface: Interface | None = None
        self.row_bytes: int | None = None


class AnswerBuffer:
    """`share_of` says which share of a model's requests is kept; at most `count_limit` answers and `bytes_limit` bytes of tensors wait.

    `take` is called by one thread, `drain` and `wait` by another one, everything else by any.
    """

    def __init__(
        self,
        share_of: Callable[[str], float],
        *,
        count_limit: int = 16_384,
        bytes_limit: int = 64 * 2**20,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._share_of, self._draw = share_of, draw
        self._count_limit, self._bytes_limit = count_limit, bytes_limit
        self._lanes: dict[str, Lane] = {}
        self._entries: deque[Entry] = deque()
        self._added = self._removed = 0  # bytes; each is written by one thread alone
        self._is_watched = True
        self._has_ended = False
        self._came = threading.Event()

    @property
    def waiting_bytes(self) -> int:
        """What the tensors take that wait."""
        return self._added - self._removed

    def take(self, observation: Observation, asked: Asked) -> None:
        """Take one answer, or leave it."""
        lane = self._lanes.get(observation.model) or self._open(observation.model)
        lane.observed += 1
        if lane.share < 1.0 and self._draw() >= lane.share:
            lane.unsampled += 1
            return
        interface = asked.served.interface
        if interface is not lane.interface:
            lane.interface, lane.row_bytes = interface, _row_bytes(interface)
        size = _size_bytes(asked) if lane.row_bytes is None else lane.row_bytes * observation.rows
        entries = self._entries
        if len(entries) >= self._count_limit or self._added - self._removed + size > self._bytes_limit:
            lane.dropped += 1
            return
        self._added += size
        entries.append((observation, asked, size))
        if not self._is_watched:
            self._came.set()

    def drain(self, limit: int) -> list[Entry]:
        """Return the oldest answers that wait, `limit` at most, and let go of them."""
        entries = self._entries
        taken = [entries.popleft() for _ in range(min(len(entries), limit))]
        self._removed += sum([entry[2] for entry in taken])
        return taken

    def wait(self, timeout_s: float) -> None:
        """Return when an answer is there, or after the time. Until then nobody looks every few milliseconds."""
        self._came.clear()
        self._is_watched = False
        if not (self._entries or self._has_ended):  # what came before the line above did not say so
            self._came.wait(timeout_s)
        self._is_watched = True

    def end(self) -> None:
        """Nothing more comes: nobody waits any more."""
        self._has_ended = True
        self._came.set()

    def refresh(self) -> None:
        """Ask anew which shares are kept."""
        for name, lane in self.lanes().items():
            lane.share = self._share_of(name)

    def lanes(self) -> Mapping[str, Lane]:
        """Return model -> what became of its answers."""
        return dict(self._lanes)

    def _open(self, name: str) -> Lane:
        lane = self._lanes[name] = Lane(self._share_of(name))
        return lane


def _row_bytes(interface: Interface) -> int | None:
    """Return what a row takes, input and answer; None where that differs from row to row."""
    size = 0
    for spec in (*interface.inputs, *interface.outputs):
        width = row_width(spec)
        if width is None or is_text(spec):
            return None
        size += width * spec.dtype.numpy.itemsize
    return size


def _size_bytes(asked: Asked) -> int:
    outputs = asked.outputs if asked.ticket is None else asked.ticket.results
    return _tensor_bytes(asked.request.inputs) + (0 if outputs is None else _tensor_bytes(outputs))


def _tensor_bytes(tensors: Tensors) -> int:
    size = 0
    for tensor in tensors.values():
        size += tensor.nbytes
        if tensor.dtype.hasobject:
            size += _TEXT_BYTES * tensor.size + sum(map(len, tensor.ravel().tolist()))
    return size
