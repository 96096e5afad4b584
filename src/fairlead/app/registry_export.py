"""A version as one file that another registry takes: a zip archive of an index and the version's blobs, stored as they are.

`export_file` takes a reference and a path, gives Exported. Equal versions with equal tags and notes give equal bytes: members are in order,
uncompressed, and carry no time. Raises SpecError where the file is there already, CorruptError where a blob is not what was registered,
NoSpaceError, StorageError. Killed at any moment it leaves the old file, or the whole new one.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import zipfile
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from fairlead.app.registry_tags import read_note, split_tags
from fairlead.app.wiring import House
from fairlead.core.bundle import BLOBS, FORMAT, INDEX, Bundle
from fairlead.core.version import Version, parse_reference
from fairlead.errors import CorruptError, SpecError
from fairlead.register.resolve import resolve
from fairlead.security.digests import chunks, digest_file
from fairlead.stores.document import dump
from fairlead.stores.durable_files import sync_folder, typed_errors
from fairlead.stores.leases import hold
from fairlead.stores.version_files import materialize

_ZIP64_FROM_BYTES = 2**31 - 1
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that zip knows


@dataclass(frozen=True)
class Exported:
    """`digest` is the version's, `sha256` the file's."""

    version: str
    path: str
    digest: str
    size_bytes: int
    sha256: str


def export_file(reference: str, path: Path, house: House, *, may_replace: bool = False) -> Exported:
    """Write the version that `reference` names to `path`."""
    version = resolve(parse_reference(reference), records=house.records)
    if not path.parent.is_dir() or path.is_dir():
        said = f"'{path}' is a folder." if path.is_dir() else f"There is no folder '{path.parent}'."
        raise SpecError(said, hint="Give a file in a folder that is there, like digits-3.fairlead.")
    if path.exists() and not may_replace:
        raise SpecError(f"'{path}' is there already.", hint="Give another name, or --force to replace it.")
    bundle = describe(version, house)
    with ExitStack() as keep, typed_errors("the exported version", path.parent), ExitStack() as undo:
        keep.callback(hold(version.digest, house.loaded))  # so that no server removes it as unused meanwhile
        files = materialize(version, house.blobs, house.loaded)
        handle, name = tempfile.mkstemp(prefix=".", suffix=".part", dir=path.parent)
        undo.callback(_remove, Path(name))
        with os.fdopen(handle, "w+b") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
                archive.writestr(_member(INDEX), dump(bundle))
                for entry in sorted({entry.digest: entry for entry in version.manifest.files}.values(), key=lambda entry: entry.digest):
                    _add(archive, entry.digest, entry.size_bytes, files[entry.name], version)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
        Path(name).replace(path)
        sync_folder(path.parent)
        undo.pop_all()
        return Exported(version.label, str(path), version.digest, path.stat().st_size, digest_file(path))


def describe(version: Version, house: House) -> Bundle:
    """Return what the file says of the version."""
    known = house.records.traits(version.name, version.number)
    tags, stage = split_tags(known)
    pointing = sorted(alias for alias, number in house.records.aliases(version.name).items() if number == version.number)
    return Bundle(
        FORMAT,
        version.name,
        version.number,
        version.digest,
        version.created_at,
        version.manifest,
        {key: value for key, value in known.items() if ":" not in key},
        tags,
        stage,
        read_note(version.label, house).text,
        tuple(pointing),
    )


def _member(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.create_system = 3  # Unix, wherever it is written
    info.external_attr = 0o100644 << 16
    return info


def _add(archive: zipfile.ZipFile, digest: str, size_bytes: int, path: Path, version: Version) -> None:
    """Copy one file into the archive; what went in has to be what the manifest says."""
    info, hasher = _member(BLOBS + digest), hashlib.sha256()
    info.file_size = size_bytes
    with path.open("rb") as source, archive.open(info, "w", force_zip64=size_bytes > _ZIP64_FROM_BYTES) as target:
        for piece in chunks(source):
            hasher.update(piece)
            target.write(piece)
    if hasher.hexdigest() != digest:
        raise CorruptError(f"A file of {version.label} changed while it was exported.", hint="Do it again.")


def _remove(part: Path) -> None:
    with suppress(OSError):  # the error that led here is the one to tell
        part.unlink()
