"""Cuts a text file into records without parsing them: at the ends of lines, but for those inside of quotes.

Takes an open file; gives bytes with the places where records begin and end. Raises UnsupportedError where a quote is never closed: from
there on nobody could say where a row ends, so no row can be blamed for it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from fairlead.errors import UnsupportedError

_BLOCK_BYTES = 2**22
RECORD_LIMIT_BYTES = 2**26
_NEWLINE, _RETURN, _QUOTE = 10, 13, 34

Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Records:
    """`data[starts[i]:ends[i]]` is record i with its line end; `offset` is how far the file was read."""

    data: bytes
    starts: Places
    ends: Places
    offset: int

    def __len__(self) -> int:
        return len(self.starts)

    def part(self, start: int, stop: int) -> bytes:
        """Return the bytes of records `start` to `stop`."""
        return self.data[int(self.starts[start]) : int(self.ends[stop - 1])] if stop > start else b""


def numbered_records(file: BinaryIO, count: int, start: int, *, has_quotes: bool) -> Iterator[tuple[int, Records, float]]:
    """Yield (number of the first record, records, share of the file that was read) for `count` records at a time, from `start` on.

    `start` is a multiple of `count`; the file stands where its records begin.
    """
    size = max(os.fstat(file.fileno()).st_size, 1)
    first = 0
    for records in split_records(file, count, has_quotes=has_quotes):
        if first >= start:
            yield first, records, min(records.offset / size, 1.0)
        first += len(records)


def split_records(file: BinaryIO, count: int, *, has_quotes: bool) -> Iterator[Records]:
    """Yield `count` records at a time, the last time fewer; blank lines are no records."""
    waiting: list[Records] = []
    waiting_count, rest = 0, b""
    while True:
        block = file.read(_BLOCK_BYTES)
        data = rest + block
        ends = _ends(data, has_quotes=has_quotes)
        if not block and len(data) > (int(ends[-1]) if len(ends) else 0):
            if has_quotes and data.count(b'"', int(ends[-1]) if len(ends) else 0) % 2:
                raise _unclosed()
            ends = np.append(ends, len(data))
        used = int(ends[-1]) if len(ends) else 0
        rest = data[used:]
        if len(rest) > RECORD_LIMIT_BYTES:
            raise _unclosed()
        found = _records(data[:used], ends, file.tell())
        if len(found):
            waiting.append(found)
            waiting_count += len(found)
        while waiting_count >= count:
            joined = _join(waiting)
            yield _cut(joined, 0, count)
            waiting_count -= count
            waiting = [_cut(joined, count, len(joined))] if waiting_count else []
        if not block:
            break
    if waiting_count:
        yield _join(waiting)


def _ends(data: bytes, *, has_quotes: bool) -> Places:
    """Return the places behind the line ends that end a record."""
    values = np.frombuffer(data, np.uint8)
    is_end = values == _NEWLINE
    if has_quotes and b'"' in data:
        # An odd number of quotes before it means that a line end stands inside of a field; a doubled quote changes nothing.
        is_end &= np.cumsum(values == _QUOTE, dtype=np.uint8) % 2 == 0
    return np.flatnonzero(is_end).astype(np.int64) + 1


def _records(data: bytes, ends: Places, offset: int) -> Records:
    starts = np.concatenate([np.zeros(min(len(ends), 1), np.int64), ends[:-1]])
    values = np.frombuffer(data, np.uint8)
    length = ends - starts
    is_blank = (length == 1) & (values[starts] == _NEWLINE)
    is_blank |= (length == 2) & (values[starts] == _RETURN) & (values[np.minimum(starts + 1, len(values) - 1)] == _NEWLINE)
    return Records(data, starts[~is_blank], ends[~is_blank], offset) if is_blank.any() else Records(data, starts, ends, offset)


def _join(parts: list[Records]) -> Records:
    if len(parts) == 1:
        return parts[0]
    shifts = np.cumsum([0, *(len(part.data) for part in parts[:-1])])
    starts = np.concatenate([part.starts + shift for part, shift in zip(parts, shifts, strict=True)])
    ends = np.concatenate([part.ends + shift for part, shift in zip(parts, shifts, strict=True)])
    return Records(b"".join(part.data for part in parts), starts, ends, parts[-1].offset)


def _cut(records: Records, start: int, stop: int) -> Records:
    base = int(records.starts[start])
    data = records.data[base : int(records.ends[stop - 1])]
    return Records(data, records.starts[start:stop] - base, records.ends[start:stop] - base, records.offset)


def _unclosed() -> UnsupportedError:
    return UnsupportedError(
        "A quote in the .csv file is never closed, so that rows cannot be told apart.", hint='Write a quote in a field as "".'
    )
