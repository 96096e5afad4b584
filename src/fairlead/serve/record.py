"""Where the data plane leaves what it answered, so that somebody else can write it down: a bounded buffer, and nothing that waits.

Takes answers from the event loop's thread, in about a microsecond each; gives them to one other thread in pieces. What is not drawn is
left, what finds no room is dropped, and both are counted. Raises nothing. Numbers of a fixed shape are copied at once, while they lie in
the processor's caches: looked at a moment later, a request costs several times as much. All else is held by reference.
"""

from __future__ import annotations

import asyncio
import random
import threading
from array import array
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, TypeAlias

from fairlead.core.interface import Array, Interface, Tensors, TensorSpec
from fairlead.core.observation import Observation
from fairlead.core.observation_log import is_text, row_width
from fairlead.core.version import Version

if TYPE_CHECKING:
    from fairlead.serve.data_plane import Asked
    from fairlead.serve.model_table import ServedVersion

_PIECE = 256  # answers that are handed over together
_VERSION_LIMIT = 64
_TEXT_BYTES = 56  # what a text takes beside its characters
Entry: TypeAlias = "tuple[Observation, Asked, int]"  # an answer by reference, and the bytes that it counts for


class Lane:
    """The answers of one model: the share of them that is kept, and what became of them so far."""

    __slots__ = ("dropped", "observed", "share", "unsampled")

    def __init__(self, share: float) -> None:
        self.share = share
        self.observed = self.unsampled = self.dropped = 0


class Columns:
    """Answers of one version whose tensors all have fixed shapes, column by column: bytes of tensors by name, and what is known of each
    request. `spent_ms` is what a request waited and computed. A version that `is_free` has tensors of free shapes, or texts: it has none.
    """

    __slots__ = (
        *("_parts", "arms", "at", "ids", "inputs", "interface", "is_free", "outputs", "own_ids", "routes", "row_bytes", "rows"),
        *("size_bytes", "spent_ms", "version"),
    )

    def __init__(self, version: Version, interface: Interface, *, is_free: bool | None = None) -> None:
        self.version, self.interface = version, interface
        specs = (*interface.inputs, *interface.outputs)
        self.is_free = any(row_width(spec) is None or is_text(spec) for spec in specs) if is_free is None else is_free
        self.row_bytes = sum(map(spec_bytes, specs))
        self.inputs = {spec.name: bytearray() for spec in interface.inputs}
        self.outputs = {spec.name: bytearray() for spec in interface.outputs}
        self._parts = (tuple(self.inputs.items()), tuple(self.outputs.items()))
        self.at, self.spent_ms, self.rows = array("d"), array("d"), array("q")
        self.ids: list[str] = []
        self.own_ids: list[str] = []
        self.arms: list[str] = []
        self.routes: list[str] = []
        self.size_bytes = 0

    def add(self, observation: Observation, asked: Asked, outputs: Tensors) -> bool:
        """Take an answer; returns False, and nothing is taken, where a tensor is not as the interface says, or not in one piece."""
        if not self.rows and not _are_as_said(self.interface.outputs, outputs):  # an engine gives the same types every time
            self.is_free = True
            return False
        request = asked.request
        given = request.inputs
        inputs, answers = self._parts
        try:
            for name, part in inputs:
                part.extend(given[name])
            for name, part in answers:
                part.extend(outputs[name])
        except (BufferError, KeyError, TypeError, ValueError):
            self._take_back()
            return False
        draw, rows = asked.draw, observation.rows
        self.at.append(observation.at)
        self.spent_ms.append(observation.queue_ms + observation.compute_ms + observation.cache_ms)
        self.rows.append(rows)
        self.ids.append(observation.request_id)
        self.own_ids.append(request.own_id)
        self.arms.append("" if draw is None else draw.name)
        self.routes.append(observation.transport)
        self.size_bytes += rows * self.row_bytes
        return True

    def _take_back(self) -> None:
        total = sum(self.rows)
        for specs, parts in ((self.interface.inputs, self.inputs), (self.interface.outputs, self.outputs)):
            for spec in specs:
                del parts[spec.name][total * spec_bytes(spec) :]


def _are_as_said(specs: Sequence[TensorSpec], tensors: Tensors) -> bool:
    """Whether answers have the types and shapes of the interface."""
    return all(
        (tensor := tensors.get(spec.name)) is not None and tensor.dtype == spec.dtype.numpy and tensor.shape[1:] == spec.shape[1:]
        for spec in specs
    )


class AnswerBuffer:
    """`share_of` says which share of a model's requests is kept; at most `count_limit` answers and `bytes_limit` bytes of tensors wait.

    `take` is called by one thread, in an event loop; `drain` and `wait` by another one; everything else by any.
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
    def waiting_count(self) -> int:
        """How many answers wait."""
        return self._count - self._drained

    def take(self, observation: Observation, asked: Asked) -> None:
        """Take one answer, or leave it."""
        lane = self._lanes.get(observation.model) or self._open(observation.model)
        lane.observed += 1
        if lane.share < 1.0 and self._draw() >= lane.share:
            lane.unsampled += 1
            return
        rows, served, ticket = observation.rows, asked.served, asked.ticket
        if not rows:  # it was refused
            return
        columns = self._growing.get(id(served.version)) or self._begin(served)
        outputs = asked.outputs if ticket is None else ticket.results
        is_plain = not (columns.is_free or outputs is None or observation.error_code or asked.request.outputs)
        size = rows * columns.row_bytes if is_plain else _size_bytes(asked)
        if self._count - self._drained >= self._count_limit or self._added - self._removed + size > self._bytes_limit:
            lane.dropped += 1
            return
        if not is_plain or outputs is None or not columns.add(observation, asked, outputs):
            self._entries.append((observation, asked, size))
        elif len(columns.rows) >= _PIECE:
            self._hand_over(columns)
        self._added += size
        self._count += 1
        if not self._is_watched:
            self._came.set()

    def _begin(self, served: ServedVersion) -> Columns:
        """Begin with a version."""
        with suppress(RuntimeError):  # without a loop, whoever takes hands over
            self._loop = asyncio.get_running_loop()
        if len(self._growing) >= _VERSION_LIMIT:
            self.hand_over()
            self._growing.clear()
        columns = self._growing[id(served.version)] = Columns(
            served.version, served.interface
        )  # it holds the version: the id stays its own
        return columns

    def _hand_over(self, columns: Columns) -> None:
        if columns.rows:
            self._ready.append(columns)
            self._growing[id(columns.version)] = Columns(columns.version, columns.interface, is_free=columns.is_free)

    def hand_over(self) -> None:
        """Let the other thread have what is not a whole piece, too. Called by the thread that takes."""
        for columns in list(self._growing.values()):
            self._hand_over(columns)

    # The other thread.

    def drain(self, limit: int) -> tuple[list[Columns], list[Entry]]:
        """Return the oldest answers that were handed over, `limit` at most and one piece at least, and ask for the rest to be."""
        taken: list[Columns] = []
        while self._ready and sum(len(columns.rows) for columns in taken) < limit:
            taken.append(self._ready.popleft())
        entries = [self._entries.popleft() for _ in range(min(len(self._entries), limit))]
        self._removed += sum([entry[2] for entry in entries]) + sum([columns.size_bytes for columns in taken])
        self._drained += len(entries) + sum([len(columns.rows) for columns in taken])
        return taken, entries

    def collect(self) -> None:
        """Have what is not a whole piece handed over, too: soon, or at once where the loop has ended."""
        if self._loop is None or self._count == self._drained:
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
        if self._count == self._drained and not self._has_ended:  # what came before the line above did not say so
            self._came.wait(timeout_s)
        self._is_watched = True

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


def _size_bytes(asked: Asked) -> int:
    outputs = asked.outputs if asked.ticket is None else asked.ticket.results
    return _tensor_bytes(asked.request.inputs) + (0 if outputs is None else _tensor_bytes(outputs))


def _tensor_bytes(tensors: Tensors) -> int:
    return sum(tensor.nbytes + (_text_bytes(tensor) if tensor.dtype.hasobject else 0) for tensor in tensors.values())


def _text_bytes(tensor: Array) -> int:
    return _TEXT_BYTES * tensor.size + sum(map(len, tensor.ravel().tolist()))
