"""SHA-256 of files and streams, read in pieces. Takes bytes, gives hex; raises OSError; never follows or resolves a path."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

CHUNK_BYTES = 1 << 20


def chunks(stream: BinaryIO) -> Iterator[bytes]:
    """Yield what is left of `stream` in pieces of at most CHUNK_BYTES."""
    while piece := stream.read(CHUNK_BYTES):
        yield piece


def digest_stream(stream: BinaryIO) -> tuple[str, int]:
    """Return SHA-256 in hex and the number of bytes of what is left of `stream`."""
    state = hashlib.sha256()
    size = 0
    for piece in chunks(stream):
        state.update(piece)
        size += len(piece)
    return state.hexdigest(), size


def digest_file(path: Path) -> str:
    """Return the SHA-256 in hex of the file's bytes."""
    with path.open("rb") as stream:
        return digest_stream(stream)[0]
