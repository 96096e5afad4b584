"""Clean-up: blobs that no version lists, and what interrupted puts left behind.

Takes both stores; gives what was (or would be) removed. Raises StorageError. Never removes what a version lists, nor anything younger
than the grace time: a registration puts all of its blobs anew before it records them, so what is in the making is always young.
"""

from __future__ import annotations

from dataclasses import dataclass

from fairlead.core.ports import BlobStore, RecordStore

GRACE_S = 86_400.0


@dataclass(frozen=True)
class Sweep:
    """`blobs` are the digests that were removed (or would be, in a dry run); `unfinished_count` counts remains of interrupted puts."""

    blobs: tuple[str, ...]
    unfinished_count: int


def sweep_unfinished(blobs: BlobStore, *, grace_s: float = GRACE_S) -> int:
    """Remove what interrupted puts left behind, and return how many. Cheap: it does not look at the blobs."""
    return blobs.discard_unfinished(older_than_s=grace_s)


def sweep(*, records: RecordStore, blobs: BlobStore, grace_s: float = GRACE_S, is_dry_run: bool = False) -> Sweep:
    """Remove every blob older than `grace_s` that no version lists, and what interrupted puts left. Reads every version."""
    listed = referenced(records)
    unlisted = [digest for digest in blobs.list() if digest not in listed]
    if is_dry_run:
        return Sweep(tuple(digest for digest in unlisted if blobs.age_s(digest) > grace_s), 0)
    removed = tuple(digest for digest in unlisted if blobs.discard(digest, older_than_s=grace_s))
    return Sweep(removed, sweep_unfinished(blobs, grace_s=grace_s))


def referenced(records: RecordStore) -> frozenset[str]:
    """Return the digest of every blob that some version lists."""
    return frozenset(entry.digest for name in records.names() for version in records.versions(name) for entry in version.manifest.files)
