"""Opens a data file of any size as a stream of chunks: the other door of this room, for files that need not fit into memory.

Takes a path and which columns a model takes; gives a RowStream. Raises DataError for a file that cannot be read, UnsupportedError where
what is wrong is not one row's fault. It never holds more than a few chunks, and never unpickles. Law: chunk boundaries depend on the file
and the chunk size alone, so reading on from any of them gives the very chunks that reading from the start gives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from fairlead.core.catalog import Catalog, Variant
from fairlead.datasets.data_file import open_data_file
from fairlead.datasets.raw import Raw
from fairlead.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

# suffix -> stream(file, wanted); the bytes that each starts with are those of datasets.catalog
STREAMS = Catalog(
    kind="streamed data format",
    group="fairlead.streams",
    variants={
        ".parquet": Variant("fairlead.datasets.parquet_stream:ParquetStream"),
        ".csv": Variant("fairlead.datasets.csv_stream:CsvStream"),
        ".npz": Variant("fairlead.datasets.array_stream:NpzStream"),
        ".npy": Variant("fairlead.datasets.array_stream:NpyStream"),
        ".jsonl": Variant("fairlead.datasets.json_stream:JsonLinesStream"),
    },
)
_MAGIC = {".npz": b"PK", ".npy": b"\x93NUMPY", ".parquet": b"PAR1"}


@dataclass(frozen=True)
class Wanted:
    """`named` are the columns that the model names, empty where it takes all in their order; `texts` those that it takes as text; `kept`
    those that are passed through. `inputs` are what the model calls its inputs: arrays may have these names. A kept column is no input of
    a model that does not name its columns.
    """

    named: frozenset[str] = frozenset()
    texts: frozenset[str] = frozenset()
    kept: tuple[str, ...] = ()
    inputs: frozenset[str] = frozenset()

    def takes(self, name: str) -> bool:
        """Whether the model takes the column, as far as can be told by its name."""
        return name in self.named if self.named else name not in self.kept


@dataclass(frozen=True)
class Chunk:
    """`rows` rows from number `first` on (from 0). `read(start, stop)` gives some of them for a model, `keep(places)` the kept columns of
    some, or of all of them (None). `fraction` says how much of the file has been read with it.
    """

    first: int
    rows: int
    read: Callable[[int, int], Raw] = field(repr=False)
    keep: Callable[[Sequence[int] | None], pa.Table] = field(repr=False)
    fraction: float = 0.0


class RowStream(Protocol):
    """A data file that is read chunk by chunk. `total_rows` is None where only reading would tell; `is_typed` says that the file records
    what kind of value each column holds.
    """

    total_rows: int | None
    is_typed: bool

    def chunks(self, chunk_rows: int, start: int) -> Iterator[Chunk]:
        """Yield the chunks from row `start` on, which is a multiple of `chunk_rows`. Each chunk stays valid."""
        ...


def open_stream(path: Path, wanted: Wanted) -> tuple[RowStream, BinaryIO]:
    """Return the stream and the file that it reads; the caller closes the file once no chunk is needed any more."""
    file = open_data_file(path, ".parquet, .csv, .npz, .npy or .jsonl")
    try:
        suffix = _format(path, file.read(8))
        file.seek(0)
        stream: RowStream = STREAMS.load(suffix)(file, wanted)
    except BaseException:
        file.close()
        raise
    return stream, file


def _format(path: Path, head: bytes) -> str:
    suffix = path.suffix.lower()
    if suffix not in STREAMS.names():
        raise DataError(f"'{path.name}' is not a data format that can be read in pieces.", hint=f"Known: {', '.join(STREAMS.names())}.")
    if not head:
        raise DataError(f"The data file '{path.name}' is empty.")
    content = next((name for name, magic in _MAGIC.items() if head.startswith(magic)), "")
    if content != suffix and (content or suffix in _MAGIC):
        is_what = f"holds {content} data" if content else f"is no {suffix} file"
        raise DataError(f"'{path.name}' {is_what}.", hint=f"Rename it to {content}." if content else "Is the file damaged?")
    return suffix


def check_kept(kept: Sequence[str], there: Sequence[Any]) -> None:
    """Raise DataError where a column that is to be kept is not there."""
    missing = [name for name in kept if name not in there]
    if missing:
        raise DataError(f"There is no column '{missing[0]}' to keep.", hint=f"There is: {', '.join(map(str, there[:10]))}.")
