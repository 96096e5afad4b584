"""What is kept of answered requests: their rows as columns, the windows in which they are asked for, labels that came later; and the port.

Pure values, one rule (which columns a tensor becomes) and a Protocol. No clock, no I/O; what a column holds is redacted already.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from fairlead.core.dtype import DType
from fairlead.core.interface import Array, Label, TensorSpec

INPUT, OUTPUT = "input:", "output:"
LABEL = "label"
SPLIT_LIMIT = 256  # a tensor with more values in a row is one column of lists, unless its columns have names
NAMED_LIMIT = 4096
# What every row has beside its inputs and outputs: name -> what it holds.
ROW_COLUMNS = {
    "at": "when the request was received, Unix seconds",
    "request_id": "the id that the answer bore, `x-request-id`",
    "own_id": "what the caller calls the request in its body; empty for nothing",
    "row": "place of the row in its request, from 0",
    "version": "number of the version that answered",
    "arm": "arm of the release that answered; empty for none",
    "latency_s": "what the request waited and computed, seconds",
    "route": "http, grpc, or collected",
    "status": "ok, or the code of the error",
    "share": "share of the requests that was kept when this one was: a row stands for 1 / share rows",
}


@dataclass(frozen=True)
class ObservedRows:
    """Rows of answered requests to one version: columns of equal length by name (see ROW_COLUMNS and `columns_of`).

    Texts are object arrays of str, None for a missing one. A column of lists is (rows, values), or an object array of arrays where their
    length differs.
    """

    model: str
    version: int
    columns: Mapping[str, Array]

    @property
    def row_count(self) -> int:
        """How many rows there are."""
        return len(self.columns["at"])


@dataclass(frozen=True)
class LogWindow:
    """What of a log is asked for: a model, its versions (none: all), and the time of receipt in Unix seconds, `until` not included."""

    model: str
    versions: tuple[int, ...] = ()
    since: float = -math.inf
    until: float = math.inf


class RowLabel(NamedTuple):
    """The right answer to one row, told at `at` (Unix seconds): by the request's id (either one) and the row's place in it."""

    request_id: str
    row: int
    label: Label
    at: float


@dataclass(frozen=True)
class LabelMatch:
    """What labels mean to a log: rows that they belong to; labels of a request that is not there; of one whose id several requests had;
    labels of a row that was labelled before, the same way or another one.
    """

    joined: int = 0
    unknown: int = 0
    ambiguous: int = 0
    duplicate: int = 0
    contradicting: int = 0


@dataclass(frozen=True)
class LogSize:
    """How much of a log there is. `unreadable` are the names of files that are torn or of somebody else: they are left out."""

    file_count: int = 0
    row_count: int = 0
    size_bytes: int = 0
    first_at: float = math.nan
    last_at: float = math.nan
    unreadable: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pruned:
    """What was removed, and what the rest takes."""

    file_count: int = 0
    size_bytes: int = 0
    left_bytes: int = 0


class RecordCounts(NamedTuple):
    """What became of the answers of a model, in requests: offered; of those not drawn; dropped for want of room; written; lost because
    the store did not take them.
    """

    observed: int = 0
    unsampled: int = 0
    dropped: int = 0
    written: int = 0
    failed: int = 0


@dataclass(frozen=True)
class RecordReading:
    """For metrics: the counts by model, what waits to be written in bytes, and what the log takes on its disk (NaN: not known)."""

    counts: Mapping[str, RecordCounts] = field(default_factory=dict)
    waiting_bytes: int = 0
    log_bytes: float = math.nan


class ObservationWriter(Protocol):
    """Where rows of answered requests are kept, in files, for whoever only writes them. Safe for several threads and processes.

    Raises StorageError where the store fails.
    """

    def models(self) -> tuple[str, ...]:
        """Return the names of the models of which something is kept."""
        ...

    def append(self, rows: ObservedRows) -> int:
        """Keep rows, durably when it returns, and return the bytes that they take. Ids may be fixed-width ASCII, too."""
        ...

    def add_labels(self, model: str, labels: Sequence[RowLabel]) -> None:
        """Keep labels, durably when it returns, whether their rows are there or not. Of several for a row the newest counts."""
        ...

    def prune(self, *, before: float = -math.inf, keep_bytes: float = math.inf, model: str = "") -> Pruned:
        """Remove files whose rows are all older than `before`, and then the oldest ones until at most `keep_bytes` are left."""
        ...


class ObservationLog(ObservationWriter, Protocol):
    """Rows of answered requests, to be written and read. A file that is torn, or of somebody else, is left out and named in `size`."""

    def columns(self, window: LogWindow) -> Mapping[str, str]:
        """Return the columns of the window's rows, `label` included: name -> flag, whole, number, text or list."""
        ...

    def scan(self, window: LogWindow, columns: Sequence[str] = ()) -> Iterator[Mapping[str, Array]]:
        """Yield the window's rows in pieces of at most some ten thousand, with the columns that are named (none: all).

        Numbers are arrays of their type, float64 with NaN where some are missing; texts and labels object arrays with None for a missing
        one; lists as in ObservedRows. A column that no row has is missing throughout. The order within the window is by file, not by time.
        """
        ...

    def sources(self, window: LogWindow) -> Mapping[str, tuple[float, float]]:
        """Return the files in which rows of the window can be: name -> first and last time of receipt. A file never changes; opens none."""
        ...

    def size(self, window: LogWindow) -> LogSize:
        """Return how much there is; rows are counted in the files that touch the window, whole."""
        ...

    def match(self, model: str, labels: Sequence[RowLabel]) -> LabelMatch:
        """Say what labels, not yet added, would mean to what is kept of the model."""
        ...


def columns_of(spec: TensorSpec, side: str) -> tuple[str, ...]:
    """Return the columns that a tensor becomes: `side` is INPUT or OUTPUT.

    A tensor with one value a row is a column of its name; one whose columns have names (up to NAMED_LIMIT) is a column for each of them;
    one with up to SPLIT_LIMIT values a row is `name[0]`, `name[1]`, ... (row-major); any other is one column of lists.
    """
    width = row_width(spec)
    if width is not None and len(spec.columns) == width <= NAMED_LIMIT:
        return tuple(side + column for column in spec.columns)
    if width is None or width > SPLIT_LIMIT:
        return (side + spec.name,)
    return (side + spec.name,) if width == 1 else tuple(f"{side}{spec.name}[{place}]" for place in range(width))


def row_width(spec: TensorSpec) -> int | None:
    """Return how many values a row of the tensor has; None where that is not fixed."""
    return None if None in spec.shape[1:] else math.prod(size or 0 for size in spec.shape[1:])


def is_text(spec: TensorSpec) -> bool:
    """Whether the tensor holds texts."""
    return spec.dtype is DType.BYTES
