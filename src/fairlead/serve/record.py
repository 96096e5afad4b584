"""Where the data plane leaves what it answered, so that somebody else can write it down: a bounded buffer, and nothing that waits.

Takes answers from the event loop's thread, in about a microsecond each; gives them to one other thread in pieces. What is not drawn is
left, what finds no room is dropped, and both are counted. Raises nothing. Numbers of a fixed shape are copied at once, while they lie in
the processor's caches: looked at a moment later, a request costs several times as much. All else is held by reference.
"""

from __future__ import annotations

import asyncio
import random
import threading
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeAlias

import numpy as np

from fairlead.core.interface import Array, Tensors
from fairlead.core.observation import Observation
from fairlead.serve.record_answer import Answer
from fairlead.serve.record_columns import SMALL_ROWS, Columns, Lane

_PACKED = 8  # as many packed answers take as long to work on as one that is not
_GROWING_LIMIT = 128
_TEXT_BYTES = 56  # what a text takes beside its characters
Entry: TypeAlias = tuple[Observation, Answer, int]  # an answer by reference, and the bytes that it counts for


class AnswerBuffer:
    """`share_of` says which share of a model's requests is kept; at most `count_limit` answers and `bytes_limit` bytes of tensors wait.

    `take` is called by one thread, in an event loop; `drain`, `pause` and `wait` by another one; everything else by any.
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
        self._single: dict[int, Columns] = {}  # by the id of the version: requests of one row, as most are
        self._several: dict[tuple[int, int], Columns] = {}  # by the id of the version, and the rows of a request
        self._ready: deque[Columns] = deque()
        self._entries: deque[Entry] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._added = self._removed = self._count = self._drained = 0  # each is written by one thread alone
        self._is_watched = True
        self._has_ended = False
        self._defect = ""
        self._came = threading.Event()

    @property
    def waiting_bytes(self) -> int:
        """What the tensors take that wait."""
        return self._added - self._removed

    @property
    def has_any(self) -> bool:
        """Whether answers wait, handed over or not."""
        return self._count > self._drained or any(columns.observations for columns in self._all_growing())

    def take(self, observation: Observation, asked: Answer) -> None:
        """Take one answer, or leave it. Never raises."""
        try:
            version, rows, ticket = asked.served.version, asked.rows, asked.ticket
            columns = self._single.get(id(version)) if rows == 1 else self._several.get((id(version), _lane_rows(rows)))
            if columns is None:
                columns = self._begin(asked)
            lane = columns.lane
            if lane.share < 1.0 and self._draw() >= lane.share:
                lane.unsampled += 1
                return
            outputs = asked.outputs if ticket is None else ticket.results
            request, observations = asked.request, columns.observations
            if columns.is_free or outputs is None or request.outputs or not (observations or columns.fits(outputs)):
                self._refer(observation, asked, lane)
                return
            record = columns.record(request.inputs, outputs)
            if len(record) != columns.record_bytes:
                self._refer(observation, asked, lane)
                return
            if request.own_id or asked.draw is not None:
                columns.named[len(observations)] = request.own_id, "" if asked.draw is None else asked.draw.name
            columns.records.append(record)
            observations.append(observation)
            if len(observations) >= columns.limit:
                self._hand_over(columns)
            if not self._is_watched:
                self._came.set()
        except Exception:  # noqa: BLE001 - a mistake of ours in keeping an answer must not lose one that is on its way
            self._defect = self._defect or traceback.format_exc()

    def _refer(self, observation: Observation, asked: Answer, lane: Lane) -> None:
        """Take an answer by reference; what was refused has no rows, and is left."""
        if not observation.rows:
            return
        size = _size_bytes(asked)
        if self._has_room(lane, 1, size):
            self._entries.append((observation, asked, size))
        if not self._is_watched:
            self._came.set()

    def _has_room(self, lane: Lane, count: int, size_bytes: int) -> bool:
        """Count answers as kept, or as dropped where there is no room for them."""
        if self._count - self._drained + count > self._count_limit or self._added - self._removed + size_bytes > self._bytes_limit:
            lane.dropped += count
            return False
        lane.kept += count
        self._added += size_bytes
        self._count += count
        if self._added - self._removed > self._bytes_limit // 8:
            self._came.set()
        return True

    def _begin(self, asked: Answer) -> Columns:
        """Begin with a version, or with requests to it that have so many rows."""
        served, rows = asked.served, _lane_rows(asked.rows)
        with suppress(RuntimeError):  # without a loop, whoever takes hands over
            self._loop = asyncio.get_running_loop()
        if len(self._single) + len(self._several) >= _GROWING_LIMIT:
            self.hand_over()
            self._single.clear()
            self._several.clear()
        version = served.version
        lane = self._lanes.get(version.name) or self._open(version.name)
        columns = Columns(version, served.interface, lane, rows)
        self._grow(columns)
        return columns

    def _grow(self, columns: Columns) -> None:
        """Let columns be those that answers are added to. They hold the version, so that its id stays its own."""
        if columns.rows == 1:
            self._single[id(columns.version)] = columns
        else:
            self._several[id(columns.version), columns.rows] = columns

    def _all_growing(self) -> list[Columns]:
        return [*list(self._single.values()), *list(self._several.values())]

    def _hand_over(self, columns: Columns) -> None:
        count = len(columns.observations)
        if count:
            self._grow(columns.again())
            columns.count = count
            if self._has_room(columns.lane, count, count * columns.record_bytes):
                columns.pack()
                self._ready.append(columns)

    def hand_over(self) -> None:
        """Let the other thread have what is not a whole piece, too. Called by the thread that takes."""
        for columns in self._all_growing():
            self._hand_over(columns)

    # The other thread.

    def drain(self, limit: int) -> tuple[list[Columns], list[Entry]]:
        """Return the oldest answers that were handed over: `limit` by reference at most, and eight times as many that are packed."""
        taken: list[Columns] = []
        count = 0
        while self._ready and count < _PACKED * limit:
            taken.append(self._ready.popleft())
            count += taken[-1].count
        entries = [self._entries.popleft() for _ in range(min(len(self._entries), limit))]
        self._removed += sum([entry[2] for entry in entries]) + sum([columns.count * columns.record_bytes for columns in taken])
        self._drained += len(entries) + count
        return taken, entries

    def take_defect(self) -> str:
        """Return the trace of the first mistake of ours since it was asked for last; "" for none."""
        found, self._defect = self._defect, ""
        return found

    def collect(self) -> None:
        """Have what is not a whole piece handed over, too: soon, or at once where the loop has ended."""
        if self._loop is None or not any(columns.observations for columns in self._all_growing()):
            return
        if self._loop.is_closed():
            self.hand_over()
            return
        with suppress(RuntimeError):  # it has closed just now: the next call does it
            self._loop.call_soon_threadsafe(self.hand_over)

    def wait(self, timeout_s: float) -> None:
        """Return when an answer is there, or after the time. Until then nobody looks every few milliseconds."""
        self._came.clear()
        self._is_watched = False
        if not (self.has_any or self._has_ended):  # what came before the line above did not say so
            self._came.wait(timeout_s)
        self._is_watched = True

    def pause(self, timeout_s: float) -> None:
        """Return after the time, or when much waits."""
        self._came.clear()
        self._came.wait(timeout_s)

    def end(self) -> None:
        """Nothing more comes: nobody waits any more."""
        self._has_ended = True
        self._came.set()

    # Any thread.

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


def _lane_rows(rows: int) -> int:
    """Return with how many rows a request is put together with others; 0 for many rows, or none."""
    return rows if rows <= SMALL_ROWS else 0


def _size_bytes(asked: Answer) -> int:
    """Return what an answer holds: its tensors, or the body that its inputs are views of."""
    outputs = asked.outputs if asked.ticket is None else asked.ticket.results
    given = asked.request.inputs
    held = max(_tensor_bytes(given), *map(_body_bytes, given.values())) if given else 0
    return held + (0 if outputs is None else _tensor_bytes(outputs))


def _body_bytes(tensor: Array) -> int:
    """Return what the bytes take that a tensor is a view of."""
    base: Any = tensor.base
    while isinstance(base, np.ndarray):
        base = base.base
    return memoryview(base).nbytes if isinstance(base, bytes | bytearray | memoryview) else 0


def _tensor_bytes(tensors: Tensors) -> int:
    return sum(tensor.nbytes + text_bytes(tensor) for tensor in tensors.values())


def text_bytes(tensor: Array) -> int:
    """Return what texts take beside their references; nothing for numbers."""
    return 0 if not tensor.dtype.hasobject else _TEXT_BYTES * tensor.size + sum(map(len, tensor.ravel().tolist()))
