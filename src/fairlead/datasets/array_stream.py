"""Reads .npy and .npz in chunks, array by array side by side; compressed members too.

Takes an open file; gives chunks. Raises DataError that names the array: a header that claims more than is there, arrays of different
lengths, pickled objects, arrays that are stored column by column. It never unpickles.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import IO, BinaryIO

import numpy as np
import pyarrow as pa

from fairlead.core.interface import Array, shorten
from fairlead.datasets.array_reader import check_members, read_header
from fairlead.datasets.bind import ROW_NAMES, TARGET_NAMES, TRAINING_NAMES
from fairlead.datasets.raw import Raw
from fairlead.datasets.stream import Chunk, Wanted, check_kept
from fairlead.errors import DataError

_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError)


class _Header:
    """What an array's header says: how many rows of which shape and type."""

    def __init__(self, stream: IO[bytes], size_bytes: int, what: str) -> None:
        shape, is_fortran, self.dtype = read_header(stream, size_bytes, what)
        if is_fortran and len(shape) > 1:
            raise DataError(f"{what} is stored column by column.", hint="Save it with numpy.ascontiguousarray(array).")
        if not shape:
            raise DataError(f"{what} is a single value.", hint="Save one row per answer.")
        self.rows, self.shape = shape[0], shape[1:]
        self.row_bytes = self.dtype.itemsize * int(np.prod(self.shape, dtype=np.int64))

    def read(self, stream: IO[bytes], rows: int, what: str) -> Array:
        data = stream.read(rows * self.row_bytes)
        if len(data) != rows * self.row_bytes:
            raise DataError(f"{what} is truncated.", hint="Save the file again.")
        return np.frombuffer(data, self.dtype).reshape((rows, *self.shape)).astype(self.dtype.newbyteorder("="), copy=False)


class NpyStream:
    """The rows of a .npy file."""

    is_typed = True

    def __init__(self, file: BinaryIO, wanted: Wanted) -> None:
        check_kept(wanted.kept, ())
        self._file = file
        size = file.seek(0, 2)
        file.seek(0)
        self._header = _Header(file, size, "The array")
        self._begin = file.tell()
        self.total_rows: int | None = self._header.rows

    def chunks(self, chunk_rows: int, start: int) -> Iterator[Chunk]:
        """See RowStream."""
        self._file.seek(self._begin + start * self._header.row_bytes)
        for first in range(start, self._header.rows, chunk_rows):
            rows = min(chunk_rows, self._header.rows - first)
            arrays = {"": self._header.read(self._file, rows, "The array")}
            yield _chunk(arrays, {}, first, rows, self._header.rows)


class NpzStream:
    """The rows of the arrays in a .npz file that a model takes, or that are kept."""

    is_typed = True

    def __init__(self, file: BinaryIO, wanted: Wanted) -> None:
        self._file, self._wanted = file, wanted
        try:
            with zipfile.ZipFile(file) as archive:
                members = archive.infolist()
                check_members(members)
                sizes = {member.filename.removesuffix(".npy"): member for member in members}
                check_kept(wanted.kept, list(sizes))
                self._members = {name: member.filename for name, member in sizes.items()}
                self._inputs = _inputs(list(sizes), wanted)
                self._headers = {}
                for name in dict.fromkeys((*self._inputs, *wanted.kept)):
                    with archive.open(sizes[name]) as stream:
                        self._headers[name] = _Header(stream, sizes[name].file_size, _what(name))
        except _DAMAGED as error:
            raise _damaged(error) from error
        lengths = {name: header.rows for name, header in self._headers.items()}
        if len(set(lengths.values())) > 1:
            shown = ", ".join(f"{shorten(name)} {rows}" for name, rows in lengths.items())
            raise DataError(f"The arrays have different numbers of rows: {shown}.", hint="Each row needs a value in every array.")
        for name in wanted.kept:
            if self._headers[name].shape:
                raise DataError(f"{_what(name)} has more than one value per row and cannot be kept.", hint="Keep one value per row.")
        self.total_rows: int | None = next(iter(lengths.values()))

    def chunks(self, chunk_rows: int, start: int) -> Iterator[Chunk]:
        """See RowStream."""
        total = self.total_rows or 0
        try:
            with zipfile.ZipFile(self._file) as archive, ExitStack() as opened:
                streams = {}
                for name, header in self._headers.items():
                    streams[name] = opened.enter_context(archive.open(self._members[name]))
                    _Header(streams[name], header.rows * header.row_bytes, _what(name))
                    for first in range(0, start, chunk_rows):
                        streams[name].read(min(chunk_rows, start - first) * header.row_bytes)
                for first in range(start, total, chunk_rows):
                    rows = min(chunk_rows, total - first)
                    arrays = {name: header.read(streams[name], rows, _what(name)) for name, header in self._headers.items()}
                    inputs = {name: arrays[name] for name in self._inputs}
                    yield _chunk(inputs, {name: arrays[name] for name in self._wanted.kept}, first, rows, total)
        except _DAMAGED as error:
            raise _damaged(error) from error


def _inputs(names: Sequence[str], wanted: Wanted) -> list[str]:
    """Return the arrays that may be inputs: those that the model names, else the first that is known to hold rows, else what is left."""
    named = [name for name in names if name in wanted.inputs]
    if named:
        return named
    known = [name for name in ROW_NAMES if name in names]
    return known[:1] or [name for name in names if name not in (*TARGET_NAMES, *TRAINING_NAMES, *wanted.kept)]


def _chunk(arrays: Mapping[str, Array], kept: Mapping[str, Array], first: int, rows: int, total: int) -> Chunk:
    return Chunk(first, rows, partial(_read, arrays), partial(_keep, kept), (first + rows) / total)


def _read(arrays: Mapping[str, Array], start: int, stop: int) -> Raw:
    return Raw({name: array[start:stop] for name, array in arrays.items()}, is_table=False)


def _keep(kept: Mapping[str, Array], places: Sequence[int] | None) -> pa.Table:
    taken = {name: array if places is None else array[list(places)] for name, array in kept.items()}
    return pa.table({name: pa.array(array.tolist() if array.dtype.kind in "US" else array) for name, array in taken.items()})


def _what(name: str) -> str:
    return f"The array '{shorten(name)}'"


def _damaged(error: Exception) -> DataError:
    reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
    return DataError(f"The .npz file is damaged: {reason}.", hint="Save it again with numpy.savez(path, x=...).")
