"""HDF5 files of Keras, opened so that nothing in them reaches outside: arrays and texts only, within budgets.

Takes a path in the sandbox, gives attributes and arrays by path. Raises SourceError for a damaged file, UnsafeContentError for links to
other files, external storage, virtual data sets and filters that would load a plug-in. Never follows a soft or external link. A crash of
the HDF5 library ends the sandboxed worker and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from fairlead.core.interface import Array, shorten
from fairlead.errors import SourceError, UnsafeContentError

OBJECT_LIMIT = 100_000
RATIO_LIMIT = 200  # decoded bytes / bytes of the file; Keras compresses nothing, so that 1 is what its files have
_RATIO_FLOOR_BYTES = 16 * 2**20
_TEXT_LIMIT_BYTES = 64 * 2**20
_SAFE_FILTERS = frozenset({1, 2, 3, 4, 32000})  # deflate, shuffle, fletcher32, szip, lzf: built into h5py
_DAMAGED = "The file is damaged. Copy or save it again."
_OUTSIDE = "A model file has to hold everything itself. Save the model again with Keras."


class Hdf5Folder:
    """One group of an open file with everything below it, listed and checked when it is made: before any attribute is read, since the
    HDF5 library can search a damaged heap of strings without end where a damaged listing would have told it at once.
    """

    def __init__(self, group: Any, file_bytes: int) -> None:
        self._file_bytes = file_bytes
        self._decoded_bytes = 0
        self.datasets: dict[str, Any] = {}
        self.groups: dict[str, Any] = {"": group}
        for path, item in _walk(group):
            if isinstance(item, h5py.Dataset):
                _check_storage(path, item)
                self.datasets[path] = item
            else:
                self.groups[path] = item

    def array(self, path: str) -> Array:
        """Return the data set at `path` in native byte order."""
        dataset = self.datasets[path]
        self._decoded_bytes += _size_bytes(dataset)
        if self._decoded_bytes > max(RATIO_LIMIT * self._file_bytes, _RATIO_FLOOR_BYTES):
            raise UnsafeContentError(
                f"The arrays of the file grow to more than {RATIO_LIMIT} times its size.", hint="Save the model without compression."
            )
        array = np.empty(dataset.shape, dataset.dtype.newbyteorder("="))
        if array.size:
            dataset.read_direct(array)
        return array

    def texts(self, path: str, name: str) -> list[str] | None:
        """Return the list of strings in attribute `name`, also where Keras had to split it; None where there is none."""
        whole = self._attribute(path, name)
        if whole is not None:
            return whole
        parts: list[str] = []
        for number in range(OBJECT_LIMIT):
            part = self._attribute(path, f"{name}{number}")
            if part is None:
                return parts if number else None
            parts += part
        raise SourceError(f"The attribute '{name}' has too many parts.", hint=_DAMAGED)

    def text(self, path: str, name: str) -> str | None:
        """Return the string in attribute `name`; None where there is none."""
        texts = self._attribute(path, name)
        return texts[0] if texts else None

    def _attribute(self, path: str, name: str) -> list[str] | None:
        attributes = self.groups[path].attrs
        if name not in attributes:
            return None
        kind = attributes.get_id(name)
        if kind.get_space().get_simple_extent_npoints() == 0:  # an empty list, written as numbers or as no text at all
            return []
        if kind.dtype.kind not in "SOU" or kind.get_storage_size() > _TEXT_LIMIT_BYTES:
            raise SourceError(f"The attribute '{name}' is not text.", hint=_DAMAGED)
        if kind.dtype.kind == "O" and h5py.check_string_dtype(kind.dtype) is None:
            raise UnsafeContentError(f"The attribute '{name}' holds references.", hint=_OUTSIDE)
        values = np.asarray(attributes[name]).reshape(-1).tolist()
        return [value.decode("utf-8") if isinstance(value, bytes) else str(value) for value in values]

    def size_bytes(self, prefix: str) -> int:
        """Return the bytes of all data sets whose path starts with `prefix`."""
        return sum(_size_bytes(item) for path, item in self.datasets.items() if path.startswith(prefix))


@contextmanager
def open_hdf5(path: Path) -> Iterator[Hdf5Folder]:
    """Open the file at `path`. What the HDF5 library reports as damage, here or while arrays are read, is a SourceError."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            yield Hdf5Folder(file, path.stat().st_size)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, UnicodeDecodeError, OverflowError, MemoryError) as error:
        raise SourceError(f"The HDF5 data cannot be read: {shorten(str(error), 120)}.", hint=_DAMAGED) from error


def _walk(root: Any) -> Iterator[tuple[str, Any]]:
    stack = [("", root)]
    seen = {_address(root)}
    while stack:
        prefix, group = stack.pop()
        for name in list(group):
            path = f"{prefix}/{name}" if prefix else name
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise UnsafeContentError(f"'{shorten(path)}' is a link to another place or file.", hint=_OUTSIDE)
            item = group[name]
            if not isinstance(item, h5py.Dataset | h5py.Group):
                raise UnsafeContentError(f"'{shorten(path)}' is neither an array nor a group.", hint=_OUTSIDE)
            if (address := _address(item)) in seen:
                raise UnsafeContentError(f"'{shorten(path)}' is there under two names.", hint=_OUTSIDE)
            seen.add(address)
            if len(seen) > OBJECT_LIMIT:
                raise UnsafeContentError(f"The file holds more than {OBJECT_LIMIT} objects.", hint=_OUTSIDE)
            yield path, item
            if isinstance(item, h5py.Group):
                stack.append((path, item))


def _address(item: Any) -> Any:
    return h5py.h5o.get_info(item.id).addr


def _check_storage(path: str, dataset: Any) -> None:
    plan = dataset.id.get_create_plist()
    if plan.get_layout() == h5py.h5d.VIRTUAL or plan.get_external_count():
        raise UnsafeContentError(f"The array '{shorten(path)}' takes its data from another file.", hint=_OUTSIDE)
    for number in range(plan.get_nfilters()):
        if plan.get_filter(number)[0] not in _SAFE_FILTERS:
            raise UnsafeContentError(f"The array '{shorten(path)}' needs a filter that is not built in.", hint=_OUTSIDE)
    if dataset.shape is None:
        raise SourceError(f"The array '{shorten(path)}' is empty.", hint=_DAMAGED)


def _size_bytes(dataset: Any) -> int:
    return int(math.prod(dataset.shape)) * int(dataset.dtype.itemsize)
