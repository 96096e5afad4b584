"""The stores that sit the exam of RecordStore, each opened as often as a test likes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from fairlead.core.manifest import FileEntry, Manifest
from fairlead.core.ports import RecordStore
from fairlead.stores.sqlite_records import SqliteRecords
from memory_records import MemoryRecords

ADAPTERS = ("memory", "sqlite")


def reopener(kind: str, folder: Path) -> Callable[[], RecordStore]:
    """Return what opens the same store again, as another process would."""
    if kind == "memory":
        store = MemoryRecords()
        return lambda: store
    return lambda: SqliteRecords(folder / "registry.sqlite")


def manifest(content: str = "weights") -> Manifest:
    """Return the list of a version's one file."""
    return Manifest((FileEntry("model.onnx", len(content), hashlib.sha256(content.encode()).hexdigest()),))
