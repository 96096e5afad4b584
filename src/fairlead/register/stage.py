"""Step 6: a green Verdict and the files it is about become a version that never changes.

Takes a Registration, a RecordStore, a BlobStore and a clock; gives the Version. Raises RejectedError for a verdict that is red, empty or
about another model (nothing is recorded), SpecError and InputError for names, StorageError where a store fails. Killed at any moment it
leaves a whole version or none: blobs first, each durable, then the record in one transaction. Never moves an alias.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fairlead.core.fact import Traits
from fairlead.core.manifest import FileEntry, Manifest
from fairlead.core.ports import BlobStore, Clock, RecordStore
from fairlead.core.verdict import Verdict
from fairlead.core.version import Version, check_name
from fairlead.errors import InputError, RejectedError, StorageError


@dataclass(frozen=True)
class Registration:
    """What becomes the next version of `name`: `files` by their names in it; one of them is the model that `verdict` is about. `traits` are
    what a search knows of it.
    """

    name: str
    files: Mapping[str, Path]
    verdict: Verdict
    traits: Traits = field(default_factory=dict)


def register(registration: Registration, *, records: RecordStore, blobs: BlobStore, clock: Clock) -> Version:
    """Return the new version; or the latest one where it has exactly these files, so that a repeated registration does no harm."""
    # 1. Refuse before anything is written.
    check_name(registration.name)
    _check_verdict(registration.verdict)
    if not registration.files:
        raise InputError(f"There are no files to register as '{registration.name}'.")
    # 2. Blobs. Without a record they mean nothing; a sweep removes them.
    manifest = Manifest(tuple(_store(name, path, blobs) for name, path in sorted(registration.files.items())))
    # 3. What was stored is what was proven.
    if not manifest.is_bare:
        raise InputError(f"The files of '{registration.name}' need plain names: letters, digits, '.', '_' and '-'.")
    if registration.verdict.model_digest not in {entry.digest for entry in manifest.files}:
        raise RejectedError(
            f"The verdict is about another model ({registration.verdict.model_digest[:12]}) than the files to register.",
            hint="Verify the very file that is to be registered.",
        )
    # 4. The record.
    latest = records.latest(registration.name)
    if latest is not None and latest.digest == manifest.digest:
        return latest
    return records.add_version(registration.name, manifest, clock(), registration.traits)


def _check_verdict(verdict: Verdict) -> None:
    if verdict.failures:
        failed = "; ".join(f"{check.name}: measured {check.measured:.6g}, bound {check.bound}" for check in verdict.failures)
        raise RejectedError(f"The verdict is red, nothing was registered. {failed}.", hint="Relax the requirement or improve the model.")
    if not verdict.checks:
        raise RejectedError("The verdict holds no check, so it proves nothing.", hint="Run the verification.")


def _store(name: str, path: Path, blobs: BlobStore) -> FileEntry:
    try:
        source = path.open("rb")
    except OSError as error:
        raise StorageError(f"The file '{name}' cannot be read for registration: {error.strerror}.", hint=f"It should be {path}.") from error
    with source:
        digest = blobs.put(source)
        return FileEntry(name, source.tell(), digest)
