"""The stores that sit the exam of RecordStore, each opened as often as a test likes."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fairlead.core.manifest import FileEntry, Manifest
from fairlead.core.ports import RecordStore
from fairlead.stores.sqlite_records import SqliteRecords
from memory_records import MemoryRecords

ADAPTERS = ("memory", "sqlite", "postgres")
_schemas = itertools.count(1)


@contextmanager
def reopener(kind: str, folder: Path, request: pytest.FixtureRequest) -> Iterator[Callable[[], RecordStore]]:
    """Give what opens the same store again, as another process would; what was opened is closed at the end."""
    if kind == "memory":
        store = MemoryRecords()
        yield lambda: store
    elif kind == "sqlite":
        yield lambda: SqliteRecords(folder / "registry.sqlite")
    else:
        with postgres_reopener(request.getfixturevalue("postgres").url(f"exam_{next(_schemas)}")) as reopen:
            yield reopen


@contextmanager
def postgres_reopener(url: str) -> Iterator[Callable[[], RecordStore]]:
    """Give what opens the registry at `url`."""
    from fairlead.stores.postgres_records import PostgresRecords

    opened = []

    def reopen() -> RecordStore:
        opened.append(PostgresRecords(url))
        return opened[-1]

    try:
        yield reopen
    finally:
        for store in opened:
            store.close()


def manifest(content: str = "weights") -> Manifest:
    """Return the list of a version's one file."""
    return Manifest((FileEntry("model.onnx", len(content), hashlib.sha256(content.encode()).hexdigest()),))
