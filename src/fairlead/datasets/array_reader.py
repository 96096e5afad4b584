"""Reads .npz and .npy: numeric, boolean, text and datetime64 arrays, never pickled objects.

Takes an open file; gives `Raw`. Every array's header is checked against the bytes that are there before memory is taken, so that a small
file cannot ask for a large array. Raises DataError that names the array. It never unpickles.
"""

from __future__ import annotations

import math
import tokenize
import zipfile
import zlib
from collections import Counter
from typing import IO, Any, BinaryIO

import numpy as np
from numpy.lib import format as npy

from fairlead.core.interface import Array, shorten
from fairlead.datasets.raw import MEMBER_LIMIT, Raw, check_size
from fairlead.errors import DataError

_HEADERS: dict[tuple[int, int], Any] = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def read_npz(file: BinaryIO, text_columns: frozenset[str]) -> Raw:
    """Return the archive's arrays by name. `text_columns` has no meaning here."""
    del text_columns
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            check_members(members)
            check_size(sum(member.file_size for member in members), what="The .npz file")
            arrays = {}
            for member in members:
                name = member.filename.removesuffix(".npy")
                with archive.open(member) as stream:
                    arrays[name] = _read_array(stream, member.file_size, f"The array '{shorten(name)}'")
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise DataError(
            f"The .npz file is damaged: {_first_line(error)}.", hint="Save it again with numpy.savez(path, x=..., y=...)."
        ) from error
    return Raw(arrays, is_table=False)


def read_npy(file: BinaryIO, text_columns: frozenset[str]) -> Raw:
    """Return the file's one array under the name "". `text_columns` has no meaning here."""
    del text_columns
    size_bytes = file.seek(0, 2)
    file.seek(0)
    return Raw({"": _read_array(file, size_bytes, "The array")}, is_table=False)


def check_members(members: list[zipfile.ZipInfo]) -> None:
    """Raise DataError where an archive has too many members, none, or one of them twice."""
    if len(members) > MEMBER_LIMIT:
        raise DataError(f"The .npz file has {len(members)} members; the limit is {MEMBER_LIMIT}.")
    if not members:
        raise DataError("The .npz file is empty.", hint="Save it with numpy.savez(path, x=..., y=...).")
    name, count = Counter(member.filename for member in members).most_common(1)[0]
    if count > 1:
        raise DataError(f"The .npz file holds '{shorten(name)}' {count} times.", hint="Save each array once.")


def _read_array(stream: IO[bytes], size_bytes: int, what: str) -> Array:
    """Return the array in `stream`, whose header may claim no more than the `size_bytes` that follow."""
    shape, is_fortran, dtype = read_header(stream, size_bytes, what)
    count = math.prod(shape)
    check_size(count * dtype.itemsize, what=what)
    data = stream.read(count * dtype.itemsize)
    if len(data) != count * dtype.itemsize:
        raise DataError(f"{what} is truncated.", hint="Save the file again.")
    array = np.frombuffer(data, dtype=dtype).reshape(shape[::-1] if is_fortran else shape)
    return np.asarray(array.T if is_fortran else array, dtype=dtype.newbyteorder("="))


def read_header(stream: IO[bytes], size_bytes: int, what: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, whether it is stored column by column, and type of the array in `stream`, which may claim no more than `size_bytes`."""
    try:
        read = _HEADERS.get(npy.read_magic(stream), npy.read_array_header_2_0)
        shape, is_fortran, dtype = read(stream)
    except (ValueError, EOFError, SyntaxError, tokenize.TokenError) as error:
        raise DataError(f"{what} is not a .npy array: {_first_line(error)}.", hint="Save it with numpy.save or numpy.savez.") from error
    if dtype.hasobject:
        raise DataError(
            f"{what} holds pickled Python objects, which could run code when opened.",
            hint="Save numbers, or text as array(..., dtype=str); ragged rows have to be padded.",
        )
    if dtype.kind not in "biufUSM":
        raise DataError(f"{what} has the type {dtype}.", hint="Save numbers, booleans, text or dates (datetime64).")
    claimed = math.prod(shape) * dtype.itemsize
    if claimed > size_bytes:
        raise DataError(f"{what} is truncated: its header claims {claimed} bytes.", hint="Save the file again.")
    return shape, is_fortran, dtype


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
