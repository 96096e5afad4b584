"""Where the files of an observation log are: a folder, or a bucket. A port."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import pyarrow as pa


class LogFiles(Protocol):
    """Files by path: each is there whole or not at all, and never changes. Raises StorageError where the store fails."""

    def list(self, beginning: str = "") -> Iterator[tuple[str, int]]:
        """Yield the path and size of every file below `beginning`, in order."""
        ...

    def open(self, path: str) -> pa.NativeFile:
        """Open a file for reading. Raises NotFoundError."""
        ...

    def write(self, path: str, *parts: bytes | memoryview) -> None:
        """Write a file of the parts, whole or not at all, durably when it returns."""
        ...

    def remove(self, path: str) -> None:
        """Remove a file; no error where it is absent."""
        ...

    def sweep(self, *, older_than_s: float) -> int:
        """Remove what killed writers left, and return how much that was."""
        ...
