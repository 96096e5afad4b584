"""A list of files by name, size and SHA-256: the identity of a source and of a registered version. Pure values.

Law: two manifests have the same digest if and only if they list the same names with the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from functools import cached_property

from fairlead.errors import InputError

_DIGEST = re.compile(r"^[0-9a-f]{64}$")
_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")


@dataclass(frozen=True)
class FileEntry:
    """One file: a bare name (no folders), its size and the SHA-256 of its bytes in hex."""

    name: str
    size_bytes: int
    digest: str

    def __post_init__(self) -> None:
        if not _DIGEST.fullmatch(self.digest):
            raise InputError(f"'{self.digest[:80]}' is not a SHA-256 digest.")
        if self.size_bytes < 0:
            raise InputError(f"File '{self.name}' has a negative size.")


@dataclass(frozen=True)
class Manifest:
    """Files in order of name. Names are unique; a version's names are bare (`is_bare`), a source's may be what the user called them."""

    files: tuple[FileEntry, ...]

    def __post_init__(self) -> None:
        names = [entry.name for entry in self.files]
        if names != sorted(set(names)):
            raise InputError("A manifest lists each file once, in order of name.")

    @property
    def is_bare(self) -> bool:
        """Whether every name is a plain file name that is safe on every file system."""
        return all(_NAME.fullmatch(entry.name) for entry in self.files)

    @property
    def size_bytes(self) -> int:
        """Sum of all sizes."""
        return sum(entry.size_bytes for entry in self.files)

    @cached_property  # the response cache asks for it with every request
    def digest(self) -> str:
        """SHA-256 in hex over the canonical JSON of the list."""
        listed = [[entry.name, entry.size_bytes, entry.digest] for entry in self.files]
        return hashlib.sha256(json.dumps(listed, ensure_ascii=True, separators=(",", ":")).encode("ascii")).hexdigest()

    def entry(self, name: str) -> FileEntry:
        """Return the entry called `name`; raises InputError."""
        for entry in self.files:
            if entry.name == name:
                return entry
        raise InputError(f"The manifest lists no file '{name}'.")


def readable_size(size_bytes: int) -> str:
    """Return a size for a person, in decimal units as requirements use them: 71 kB, 1.39 MB."""
    if size_bytes < 1_000_000:
        return f"{size_bytes / 1e3:.3g} kB" if size_bytes >= 1000 else f"{size_bytes} bytes"
    return f"{size_bytes / 1e6:,.2f} MB" if size_bytes < 10**9 else f"{size_bytes / 1e9:,.2f} GB"
