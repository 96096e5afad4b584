"""Where the data plane leaves what it answered, so that somebody else can write it down: a bounded buffer, and nothing that waits.

Takes answers from the event loop's thread, in about a microsecond each; gives them to one other thread in pieces. What is not drawn is
left, what finds no room is dropped, and both are counted. Raises nothing. Numbers of a fixed shape are copied at once, while they lie in
the processor's caches: looked at a moment later, a request costs several times as much. All else is held by reference.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, TypeAlias

from fairlead.core.interface import Array, Interface, Tensors, TensorSpec
from fairlead.core.observation import Observation
from fairlead.core.observation_log import is_text, row_width
from fairlead.core.version import Version
from fairlead.serve.record_facts import facts_of

if TYPE_CHECKING:
    from fairlead.serve.record_answer import Answer, Answerer

_PIECE = 256  # rows that are handed over together
_PIECE_BYTES = 2**20
_SMALL_BYTES = 2**16  # what is larger is not copied in the loop
_VERSION_LIMIT = 64
_TEXT_BYTES = 56  # what a text takes beside its characters
Entry: TypeAlias = "tuple[Observation, Answer, int]"  # an answer by reference, and the bytes that it counts for


class Lane:
    """The answers of one model: the share of them that is kept, and what became of them so far."""

    __slots__ = ("dropped", "kept", "share", "unsampled")

    def __init__(self, share: float) -> None:
        self.share = share
        self.kept = self.unsampled = self.dropped = 0

    @property
    def observed(self) -> int:
        """How many there were, as far as they were handed over."""
        return self.kept + self.unsampled + self.dropped


class Columns:
    """Small answers of one version whose tensors all have fixed shapes: bytes of each request's tensors by name, and its observation.

    `named` are the id in the body and the arm, by place, of requests that have one. Packed, there are `count` of them, and `facts` instead
    of observations. At most `small_rows` rows of a request are copied; none
    of a version whose tensors have free shapes, or hold texts.
    """

    __slots__ = (
        *("count", "facts", "inputs", "interface", "lane", "named", "observations", "outputs", "row_bytes", "row_count", "row_limit"),
        *("small_rows", "version"),
    )

    def __init__(self, version: Version, interface: Interface, lane: Lane, *, is_free: bool = False) -> None:
        self.version, self.interface, self.lane = version, interface, lane
        specs = (*interface.inputs, *interface.outputs)
        self.row_bytes = max(sum(map(spec_bytes, specs)), 1)
        is_fixed = not is_free and all(row_width(spec) is not None and not is_text(spec) for spec in specs)
        self.small_rows = _SMALL_BYTES // self.row_bytes if is_fixed else 0
        self.row_limit = max(min(_PIECE, _PIECE_BYTES // self.row_bytes), 1)
        self.inputs: tuple[tuple[str, list[bytes]], ...] = tuple((spec.name, []) for spec in interface.inputs)
        self.outputs: tuple[tuple[str, list[bytes]], ...] = tuple((spec.name, []) for spec in interface.outputs)
        self.observations: list[Observation] = []
        self.named: dict[int, tuple[str, str]] = {}
        self.facts: dict[str, Array] = {}
        self.row_count = self.count = 0

    def pack(self) -> None:
        """Make columns of what was copied and observed, while it is in the caches."""
        for _, parts in (*self.inputs, *self.outputs):
            parts[:] = [b"".join(parts)]
        own_ids, arms = [""] * self.count, [""] * self.count
        for place, (own_id, arm) in self.named.items():
            own_ids[place], arms[place] = own_id, arm
        self.facts = facts_of(self.observations, own_ids, arms)
        self.observations = []

    def fits(self, outputs: Tensors) -> bool:
        """Whether answers have the types and shapes of the interface; where not, nothing of the version is copied any more."""
        for spec in self.interface.outputs:
            tensor = outputs.get(spec.name)
            if tensor is None or tensor.dtype != spec.dtype.numpy or tensor.shape[1:] != spec.shape[1:]:
                self.small_rows = 0
                return False
        return True


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
        self._growing: dict[int, Columns] = {}  # by the id of the version
        self._ready: deque[Columns] = deque()
        self._entries: deque[Entry] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._added = self._removed = self._count = self._drained = 0  # each is written by one thread alone
        self._is_watched = True
        self._has_ended = False
        self._came = threading.Event()

    @property
    def waiting_bytes(self) -> int:
        """What the tensors take that wait."""
        return self._added - self._removed

    @property
    def has_any(self) -> bool:
        """Whether answers wait, handed over or not."""
        return self._count > self._drained or any(columns.observations for columns in list(self._growing.values()))

    def take(self, observation: Observation, asked: Answer) -> None:
        """Take one answer, or leave it."""
        served, rows, ticket = asked.served, asked.rows, asked.ticket
        columns = self._growing.get(id(served.version)) or self._begin(served)
        lane = columns.lane
        if lane.share < 1.0 and self._draw() >= lane.share:
            lane.unsampled += 1
            return
        outputs = asked.outputs if ticket is None else ticket.results
        request = asked.request
        if outputs is None or rows > columns.small_rows or request.outputs or not (columns.observations or columns.fits(outputs)):
            self._refer(observation, asked, lane)
            return
        given = request.inputs
        for name, parts in columns.inputs:
            parts.append(given[name].tobytes())
        for name, parts in columns.outputs:
            parts.append(outputs[name].tobytes())
        if request.own_id or asked.draw is not None:
            columns.named[len(columns.observations)] = request.own_id, "" if asked.draw is None else asked.draw.name
        columns.observations.append(observation)
        columns.row_count += rows
        if columns.row_count >= columns.row_limit:
            self._hand_over(columns)
        if not self._is_watched:
            self._came.set()

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

    def _begin(self, served: Answerer) -> Columns:
        """Begin with a version."""
        with suppress(RuntimeError):  # without a loop, whoever takes hands over
            self._loop = asyncio.get_running_loop()
        if len(self._growing) >= _VERSION_LIMIT:
            self.hand_over()
            self._growing.clear()
        version = served.version  # it is held, so its id stays its own
        lane = self._lanes.get(version.name) or self._open(version.name)
        columns = self._growing[id(version)] = Columns(version, served.interface, lane)
        return columns

    def _hand_over(self, columns: Columns) -> None:
        count = len(columns.observations)
        if count:
            is_free = not columns.small_rows
            self._growing[id(columns.version)] = Columns(columns.version, columns.interface, columns.lane, is_free=is_free)
            columns.count = count
            if self._has_room(columns.lane, count, columns.row_count * columns.row_bytes):
                columns.pack()
                self._ready.append(columns)

    def hand_over(self) -> None:
        """Let the other thread have what is not a whole piece, too. Called by the thread that takes."""
        for columns in list(self._growing.values()):
            self._hand_over(columns)

    # The other thread.

    def drain(self, limit: int) -> tuple[list[Columns], list[Entry]]:
        """Return the oldest answers that were handed over, `limit` at most and one piece at least, and ask for the rest to be."""
        taken: list[Columns] = []
        while self._ready and sum(columns.count for columns in taken) < limit:
            taken.append(self._ready.popleft())
        entries = [self._entries.popleft() for _ in range(min(len(self._entries), limit))]
        self._removed += sum([entry[2] for entry in entries]) + sum([columns.row_count * columns.row_bytes for columns in taken])
        self._drained += len(entries) + sum([columns.count for columns in taken])
        return taken, entries

    def collect(self) -> None:
        """Have what is not a whole piece handed over, too: soon, or at once where the loop has ended."""
        if self._loop is None or not any(columns.observations for columns in list(self._growing.values())):
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


def spec_bytes(spec: TensorSpec) -> int:
    """Return what a row of a tensor of fixed shape takes."""
    return (row_width(spec) or 0) * spec.dtype.numpy.itemsize


def _size_bytes(asked: Answer) -> int:
    outputs = asked.outputs if asked.ticket is None else asked.ticket.results
    return _tensor_bytes(asked.request.inputs) + (0 if outputs is None else _tensor_bytes(outputs))


def _tensor_bytes(tensors: Tensors) -> int:
    return sum(tensor.nbytes + (_text_bytes(tensor) if tensor.dtype.hasobject else 0) for tensor in tensors.values())


def _text_bytes(tensor: Array) -> int:
    return _TEXT_BYTES * tensor.size + sum(map(len, tensor.ravel().tolist()))
