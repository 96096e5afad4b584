"""Small answers of one version that wait together: bytes of their tensors, and what is known of their requests. Pure.

Takes tensors of one request after the other; gives columns when it is packed. Raises nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from fairlead.core.interface import Array, Interface, Tensors, TensorSpec
from fairlead.core.observation import Observation
from fairlead.core.observation_log import is_text, row_width
from fairlead.core.version import Version
from fairlead.serve.record_facts import facts_of

SMALL_ROWS = 8  # a request of more rows is not copied in the loop
_PIECE = 256  # rows that are handed over together
_PIECE_BYTES = 2**20
_SMALL_BYTES = 2**16  # what is larger is not copied in the loop


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
    """Small answers of one version, each of `rows` rows, whose tensors all have fixed shapes: the bytes of each request's tensors, one
    after the other, and its observation.

    `named` are the id in the body and the arm, by place, of requests that have one. Packed, there are `count` requests, their bytes are
    `content`, and there are `facts` instead of observations. `is_free`: nothing is copied, since the version's tensors have free shapes,
    hold texts, or are large.
    """

    __slots__ = (
        "_join",
        "content",
        "count",
        "facts",
        "interface",
        "is_free",
        "lane",
        "limit",
        "named",
        "observations",
        "record_bytes",
        "records",
        "rows",
        "version",
    )

    def __init__(self, version: Version, interface: Interface, lane: Lane, rows: int, *, is_free: bool = False) -> None:
        self.version, self.interface, self.lane, self.rows = version, interface, lane, rows
        specs = (*interface.inputs, *interface.outputs)
        self.record_bytes = rows * sum(map(spec_bytes, specs))
        is_fixed = all(row_width(spec) is not None and not is_text(spec) for spec in specs)
        self.is_free = is_free or not is_fixed or not 0 < self.record_bytes <= _SMALL_BYTES
        self.limit = max(min(_PIECE // max(rows, 1), _PIECE_BYTES // max(self.record_bytes, 1)), 1)
        self._join = _joiner(interface)
        self.records: list[bytes] = []
        self.observations: list[Observation] = []
        self.named: dict[int, tuple[str, str]] = {}
        self.facts: dict[str, Array] = {}
        self.content = b""
        self.count = 0

    def again(self) -> Columns:
        """Return empty ones of the same kind."""
        return Columns(self.version, self.interface, self.lane, self.rows, is_free=self.is_free)

    def record(self, inputs: Tensors, outputs: Tensors) -> bytes:
        """Return a request's tensors as one run of bytes; none where they cannot be."""
        try:
            return self._join(inputs, outputs)
        except (TypeError, ValueError, BufferError, KeyError):  # in several pieces of memory, or not there
            return b""

    def pack(self) -> None:
        """Make columns of what was copied and observed, while it is in the caches."""
        self.content = b"".join(self.records)
        self.facts = facts_of(self.observations, self.named)
        self.records, self.observations = [], []

    def fits(self, outputs: Tensors) -> bool:
        """Whether answers have the types and shapes of the interface; where not, nothing of the version is copied any more."""
        for spec in self.interface.outputs:
            tensor = outputs.get(spec.name)
            if tensor is None or tensor.dtype != spec.dtype.numpy or tensor.shape[1:] != spec.shape[1:]:
                self.is_free = True
                return False
        return True


def _joiner(interface: Interface) -> Callable[[Tensors, Tensors], bytes]:
    """Return what makes one run of bytes of a request's inputs and outputs, in the interface's order."""
    inputs, outputs = tuple(spec.name for spec in interface.inputs), tuple(spec.name for spec in interface.outputs)
    join: Callable[[Iterable[Any]], bytes] = b"".join
    if len(inputs) == 1 and len(outputs) == 2:  # as classifiers have them: a third faster
        given, first, second = *inputs, *outputs
        return lambda asked, answered: join((asked[given], answered[first], answered[second]))
    if len(inputs) == len(outputs) == 1:
        given, first = *inputs, *outputs
        return lambda asked, answered: join((asked[given], answered[first]))
    return lambda asked, answered: join([*map(asked.__getitem__, inputs), *map(answered.__getitem__, outputs)])


def spec_bytes(spec: TensorSpec) -> int:
    """Return what a row of a tensor of fixed shape takes."""
    return (row_width(spec) or 0) * spec.dtype.numpy.itemsize
