"""Members of a foreign zip file, read by budget: what the file says about itself is checked first and never believed afterwards.

Takes a path, gives names and bytes. Raises UnsafeContentError for what no honest writer makes (links, encryption, names that leave the
folder, two members of one name or in one place, bombs), SourceError for damage and for other kinds of archives (tar, 7z, rar). Never
extracts by name: the caller says where bytes go.
"""

from __future__ import annotations

import contextlib
import os
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from fairlead.core.interface import shorten
from fairlead.errors import SourceError, UnsafeContentError
from fairlead.security.digests import CHUNK_BYTES

_LOCAL_HEADER = struct.Struct("<4s22xHH")
_COMPRESSIONS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_OTHERS = ((0, b"7z\xbc\xaf\x27\x1c", "7z"), (0, b"Rar!", "rar"), (0, b"\x1f\x8b", "gzip"), (257, b"ustar", "tar"))
_HARM = "No program that saves models writes this; do not use the file."
_DAMAGED = "The file is damaged. Copy or save it again."


@dataclass(frozen=True)
class Budget:
    """What an archive may hold. Unpacked bytes may be `ratio` times the file's size, but `ratio_floor_bytes` are always allowed."""

    member_count: int = 4096
    unpacked_bytes: int = 4 * 2**30
    ratio: int = 100
    ratio_floor_bytes: int = 64 * 2**20


class ZipMembers:
    """The members of one open archive, checked when it is made. Bytes are counted over all reads."""

    def __init__(self, file: zipfile.ZipFile, stream: BinaryIO, size_bytes: int, budget: Budget) -> None:
        self._file = file
        self._left = min(budget.unpacked_bytes, max(budget.ratio * size_bytes, budget.ratio_floor_bytes))
        infos = file.infolist()
        if len(infos) > budget.member_count:
            raise UnsafeContentError(f"The archive has {len(infos)} members; the limit is {budget.member_count}.", hint=_HARM)
        for info in infos:
            _check_info(info)
        _check_names(infos)
        _check_places(infos, stream, file.start_dir)
        if sum(info.file_size for info in infos) > self._left:
            raise UnsafeContentError(f"The archive unpacks to more than {self._left} bytes.", hint=_HARM)
        if file.comment:
            raise UnsafeContentError("The archive carries a comment, which could hide another file.", hint=_HARM)
        self._infos = {info.filename: info for info in infos if not info.is_dir()}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all members that are files, in the archive's order."""
        return tuple(self._infos)

    def read(self, name: str, *, limit_bytes: int) -> bytes:
        """Return the bytes of one member; raises SourceError where there is none, UnsafeContentError above the limit."""
        return b"".join(self._stream(name, limit_bytes))

    def copy(self, name: str, target: Path, *, limit_bytes: int = 4 * 2**30) -> None:
        """Write one member to the new file `target`."""
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as writer:
            for piece in self._stream(name, limit_bytes):
                writer.write(piece)

    def _stream(self, name: str, limit_bytes: int) -> Iterator[bytes]:
        info = self._infos.get(name)
        if info is None:
            raise SourceError(f"The archive has no member '{shorten(name)}'.", hint=_DAMAGED)
        size = 0
        try:
            with self._file.open(info) as reader:
                while piece := reader.read(CHUNK_BYTES):
                    size += len(piece)
                    self._left -= len(piece)
                    if size > min(limit_bytes, info.file_size) or self._left < 0:
                        raise UnsafeContentError(f"Member '{shorten(name)}' is larger than it says or than is allowed.", hint=_HARM)
                    yield piece
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError) as error:
            raise SourceError(f"Member '{shorten(name)}' is damaged: {shorten(str(error), 100)}.", hint=_DAMAGED) from None


@contextlib.contextmanager
def open_zip(path: Path, budget: Budget | None = None) -> Iterator[ZipMembers]:
    """Open a zip file whose structure is sound, for reading its members within the budget (the default one where None is given)."""
    with path.open("rb") as stream:
        head = stream.read(512)
        for offset, magic, name in _OTHERS:
            if head[offset : offset + len(magic)] == magic:
                raise SourceError(f"This is a {name} archive, not a zip.", hint="Unpack it and give the model file itself.")
        try:
            file = zipfile.ZipFile(stream)
        except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError, struct.error, UnicodeError) as error:
            raise SourceError(f"The zip archive is damaged: {shorten(str(error), 100)}.", hint=_DAMAGED) from None
        with file:
            yield ZipMembers(file, stream, path.stat().st_size, budget or Budget())


def _check_info(info: zipfile.ZipInfo) -> None:
    name = shorten(info.filename)
    if info.flag_bits & 0x41:
        raise UnsafeContentError(f"Member '{name}' is encrypted.", hint="Save the model without a password.")
    if info.compress_type not in _COMPRESSIONS:
        raise SourceError(f"Member '{name}' is compressed by an unusual method.", hint="Save the model again with the default compression.")
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR) or (kind == stat.S_IFDIR) > info.is_dir():
        raise UnsafeContentError(f"Member '{name}' is a link or a device.", hint=_HARM)
    if info.is_dir() and info.file_size:
        raise UnsafeContentError(f"Member '{name}' is a folder with content.", hint=_HARM)


def _check_names(infos: list[zipfile.ZipInfo]) -> None:
    seen = set()
    for info in infos:
        # zipfile cuts names at a NUL and turns the system's separator into '/': the original is what counts
        name = info.orig_filename
        parts = name.rstrip("/").split("/")
        bad = any(part in ("", ".", "..") for part in parts) or any(char in name for char in "\\:\0") or len(name) > 512
        if bad or not name.isprintable() or unicodedata.normalize("NFC", name) != name:
            raise UnsafeContentError(f"A member is called '{shorten(name)}', which does not name a file in the archive.", hint=_HARM)
        folded = name.rstrip("/").casefold()
        if folded in seen:
            raise UnsafeContentError(f"Two members are called '{shorten(name)}'.", hint=_HARM)
        seen.add(folded)


def _check_places(infos: list[zipfile.ZipInfo], stream: BinaryIO, end: int) -> None:
    """Each member has its own bytes, from the first byte on: no overlaps (CVE-2024-0450), nothing before them."""
    place = 0
    for info in sorted(infos, key=lambda item: item.header_offset):
        stream.seek(info.header_offset)
        header = stream.read(_LOCAL_HEADER.size)
        if len(header) < _LOCAL_HEADER.size or header[:4] != b"PK\x03\x04":
            raise SourceError(f"Member '{shorten(info.filename)}' is not where the archive says.", hint=_DAMAGED)
        if info.header_offset < place or (place == 0 and info.header_offset):
            raise UnsafeContentError(f"Member '{shorten(info.filename)}' shares bytes with another.", hint=_HARM)
        _, name_length, extra_length = _LOCAL_HEADER.unpack(header)
        place = info.header_offset + _LOCAL_HEADER.size + name_length + extra_length + info.compress_size
    if place > end:
        raise UnsafeContentError("The last member reaches into the archive's index.", hint=_HARM)
