"""The bytes of a pickle or joblib file as one seekable stream: compression (gzip, zlib, bz2, xz, lzma) taken off by budget.

Takes a path, gives an open binary file. Raises SourceError for damage, UnsafeContentError for bombs and for bytes after the end. Writes
only to an unnamed temporary file.
"""

from __future__ import annotations

import bz2
import contextlib
import lzma
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from fairlead.errors import SourceError, UnsafeContentError, UnsupportedError
from fairlead.security.digests import chunks

RATIO_LIMIT = 100
_RATIO_FLOOR_BYTES = 64 * 2**20
_LIMIT_BYTES = 4 * 2**30
_PIECE_BYTES = 1 << 20


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...


@contextlib.contextmanager
def open_pickle_stream(path: Path) -> Iterator[BinaryIO]:
    """Open `path` for reading from the first byte of the pickle."""
    with path.open("rb") as source:
        head = source.read(6)
        source.seek(0)
        if head[:4] == b"\x04\x22\x4d\x18":
            raise UnsupportedError("The file is compressed with LZ4.", hint="Save it with joblib.dump(model, path) or compress='zlib'.")
        decompressor = _decompressor(head)
        if decompressor is None:
            yield source
            return
        limit = min(_LIMIT_BYTES, max(_RATIO_FLOOR_BYTES, RATIO_LIMIT * path.stat().st_size))
        with tempfile.TemporaryFile() as target:
            try:
                _unpack(source, decompressor, target, limit)
            except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
                raise SourceError(f"The compressed data is damaged: {error}.", hint="Copy or save the file again.") from None
            target.seek(0)
            yield target


def _decompressor(head: bytes) -> _Decompressor | None:
    if head[:2] == b"\x1f\x8b":
        return zlib.decompressobj(zlib.MAX_WBITS | 16)
    if head[:1] == b"\x78" and int.from_bytes(head[:2], "big") % 31 == 0:  # RFC 1950, 2.2: the header is a multiple of 31
        return zlib.decompressobj()
    if head[:3] == b"BZh":
        return bz2.BZ2Decompressor()
    if head[:6] == b"\xfd7zXZ\x00" or head[:3] == b"\x5d\x00\x00":
        return lzma.LZMADecompressor(memlimit=256 * 2**20)
    return None


def _unpack(source: BinaryIO, decompressor: _Decompressor, target: BinaryIO, limit: int) -> None:
    size = 0
    for packed in chunks(source):
        for piece in _pieces(decompressor, packed):
            size += len(piece)
            if size > limit:
                raise UnsafeContentError(
                    f"The compressed data grows to more than {limit} bytes.", hint="Save the model without compression."
                )
            target.write(piece)
        if decompressor.eof:
            if decompressor.unused_data or source.read(1):
                raise UnsafeContentError("Something follows after the compressed data.", hint="Save the model again from its source.")
            return
    raise EOFError("it breaks off")


def _pieces(decompressor: _Decompressor, packed: bytes) -> Iterator[bytes]:
    """Yield what `packed` unpacks to in pieces that are never larger than the limit of one."""
    if isinstance(decompressor, bz2.BZ2Decompressor | lzma.LZMADecompressor):
        yield decompressor.decompress(packed, _PIECE_BYTES)
        while not decompressor.eof and not decompressor.needs_input:
            yield decompressor.decompress(b"", _PIECE_BYTES)
        return
    rest = packed
    while rest and not decompressor.eof:
        yield decompressor.decompress(rest, _PIECE_BYTES)  # type: ignore[attr-defined] # zlib names no public type for it
        rest = decompressor.unconsumed_tail  # type: ignore[attr-defined]
