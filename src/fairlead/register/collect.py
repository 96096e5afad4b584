"""Clean-up: blobs that no version lists, and what interrupted puts left behind.

Takes both stores; gives what was (or would be) removed. Raises StorageError. Never removes what a version lists, nor anything younger
than the grace time: a registration puts all of its blobs anew before it records them, so what is in the making is always young.
"""

from __future__ import annotations

import io
from collections.abc import Collection
from dataclasses import dataclass, field

from fairlead.core.ports import BlobStore, RecordStore
from fairlead.errors import NotFoundError

GRACE_S = 86_400.0


@dataclass(frozen=True)
class Sweep:
    """`blobs` are the digests that were removed (or would be, in a dry run), `size_bytes` what they held, as far as the store tells;
    `unlisted` are these and the others that no version lists; `unfinished_count` counts remains of interrupted puts.
    """

    blobs: tuple[str, ...]
    unfinished_count: int
    size_bytes: int = field(default=0, compare=False)
    unlisted: frozenset[str] = field(default=frozenset(), compare=False)


def sweep_unfinished(blobs: BlobStore, *, grace_s: float = GRACE_S) -> int:
    """Remove what interrupted puts left behind, and return how many. Cheap: it does not look at the blobs."""
    return blobs.discard_unfinished(older_than_s=grace_s)


def sweep(
    *,
    records: RecordStore,
    blobs: BlobStore,
    grace_s: float = GRACE_S,
    is_dry_run: bool = False,
    without: Collection[tuple[str, int]] = (),
) -> Sweep:
    """Remove every blob older than `grace_s` that no version lists, and what interrupted puts left. Reads every version.

    `without` are versions (name, number) that a dry run takes as gone already.
    """
    listed = referenced(records, without=without if is_dry_run else ())
    unlisted = [digest for digest in blobs.list() if digest not in listed]
    removed, size_bytes = [], 0
    for digest in unlisted:
        held_bytes = _size_if_old(digest, blobs, grace_s)
        if held_bytes is not None and (is_dry_run or blobs.discard(digest, older_than_s=grace_s)):
            removed.append(digest)
            size_bytes += held_bytes
    unfinished_count = 0 if is_dry_run else sweep_unfinished(blobs, grace_s=grace_s)
    return Sweep(tuple(removed), unfinished_count, size_bytes, frozenset(unlisted))


def _size_if_old(digest: str, blobs: BlobStore, grace_s: float) -> int | None:
    """Return how much the blob holds (0 where the store would have to read all of it to know); None where it is young, or gone."""
    try:
        if blobs.age_s(digest) <= grace_s:
            return None
        with blobs.open(digest) as stream:
            return stream.seek(0, io.SEEK_END) if stream.seekable() else 0
    except NotFoundError:
        return None


def referenced(records: RecordStore, *, without: Collection[tuple[str, int]] = ()) -> frozenset[str]:
    """Return the digest of every blob that some version lists, but for those of `without`."""
    return frozenset(
        entry.digest
        for name in records.names()
        for version in records.versions(name)
        if (name, version.number) not in without
        for entry in version.manifest.files
    )
