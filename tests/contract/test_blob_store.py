"""The exam that every BlobStore sits: bytes by digest, whole or absent, idempotent, and discarded only by age."""

from __future__ import annotations

import errno
import hashlib
import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairlead.core.ports import BlobStore
from fairlead.errors import InputError, NotFoundError, StorageError
from fairlead.stores.folder_blobs import FolderBlobs


class MovableClock:
    """The real time plus what a test adds."""

    ahead_s = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead_s


class MemoryBlobs:
    """The fake: what the port says, in a dictionary."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._blobs: dict[str, tuple[bytes, float]] = {}

    def put(self, source: BinaryIO) -> str:
        try:
            data = source.read()
        except OSError as error:
            raise StorageError("The source cannot be read.") from error
        digest = hashlib.sha256(data).hexdigest()
        self._blobs[digest] = (data, self._clock())
        return digest

    @contextmanager
    def open(self, digest: str) -> Iterator[BinaryIO]:
        yield io.BytesIO(self._at(digest)[0])

    def _at(self, digest: str) -> tuple[bytes, float]:
        if not self.has(digest):
            raise NotFoundError(f"There is no blob {digest[:12]}.")
        return self._blobs[digest]

    def has(self, digest: str) -> bool:
        if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
            raise InputError("not a digest")
        return digest in self._blobs

    def delete(self, digest: str) -> None:
        if self.has(digest):
            del self._blobs[digest]

    def list(self) -> Iterator[str]:
        return iter(sorted(self._blobs))

    def age_s(self, digest: str) -> float:
        return self._clock() - self._at(digest)[1]

    def discard(self, digest: str, *, older_than_s: float) -> bool:
        is_old = self.has(digest) and self.age_s(digest) > older_than_s
        if is_old:
            self.delete(digest)
        return is_old

    def discard_unfinished(self, *, older_than_s: float) -> int:
        return 0


@dataclass
class Place:
    """One store under examination and its clock."""

    store: BlobStore
    clock: MovableClock = field(default_factory=MovableClock)


@pytest.fixture(params=["memory", "folder", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    clock = MovableClock()
    if request.param == "memory":
        yield Place(MemoryBlobs(clock), clock)
    elif request.param == "folder":
        yield Place(FolderBlobs(tmp_path / "new" / "blobs", clock=clock), clock)
    else:
        server = request.getfixturevalue("s3")
        from fairlead.stores.s3_blobs import S3Blobs

        store = S3Blobs(f"s3://{server.new_bucket()}/team/a", endpoint=server.endpoint, clock=clock)
        yield Place(store, clock)
        store.close()


def content(blobs: BlobStore, digest: str) -> bytes:
    with blobs.open(digest) as file:
        return file.read()


def test_an_empty_store_has_nothing(place):
    digest = "0" * 64
    assert (list(place.store.list()), place.store.has(digest)) == ([], False)
    assert not place.store.discard(digest, older_than_s=0.0)
    assert place.store.discard_unfinished(older_than_s=0.0) == 0
    place.store.delete(digest)
    for call in (content, lambda blobs, digest: blobs.age_s(digest)):
        with pytest.raises(NotFoundError, match=digest[:12]):
            call(place.store, digest)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=12, deadline=None)
@given(data=st.binary(max_size=300))
def test_bytes_come_back_under_their_digest(place, data):
    digest = place.store.put(io.BytesIO(data))
    assert digest == hashlib.sha256(data).hexdigest()
    assert content(place.store, digest) == data
    assert digest in list(place.store.list())


def test_large_content_is_stored_in_pieces(place):
    data = bytes(range(256)) * 10_000
    source = io.BytesIO(data)
    digest = place.store.put(source)
    assert source.tell() == len(data)
    assert content(place.store, digest) == data


def test_a_second_put_of_the_same_bytes_is_the_same_blob(place):
    assert place.store.put(io.BytesIO(b"weights")) == place.store.put(io.BytesIO(b"weights"))
    assert len(list(place.store.list())) == 1


def test_a_deleted_blob_is_gone(place):
    digest, other = place.store.put(io.BytesIO(b"a")), place.store.put(io.BytesIO(b"b"))
    place.store.delete(digest)
    assert list(place.store.list()) == [other]
    assert not place.store.has(digest)


@pytest.mark.parametrize("digest", ["", "0" * 63, "0" * 65, "../" + "0" * 61, "G" * 64, "A" * 64, "0" * 64 + "\n", "ab/" + "0" * 61])
def test_what_is_not_a_digest_reaches_no_file(place, digest):
    for call in (place.store.has, place.store.delete, place.store.age_s, lambda digest: content(place.store, digest)):
        with pytest.raises(InputError):
            call(digest)


class BrokenSource(io.RawIOBase):
    """Gives some bytes, then fails."""

    def __init__(self) -> None:
        self.calls = 0

    def read(self, size: int = -1) -> bytes:
        self.calls += 1
        if self.calls > 2 or size < 0:
            raise OSError(errno.EIO, "Input/output error")
        return b"x" * 1000


def test_a_source_that_breaks_leaves_nothing(place):
    with pytest.raises(StorageError):
        place.store.put(BrokenSource())
    assert list(place.store.list()) == []
    assert place.store.discard_unfinished(older_than_s=-1.0) == 0


def test_only_old_blobs_are_discarded_and_a_put_makes_them_new(place):
    digest = place.store.put(io.BytesIO(b"weights"))
    assert not place.store.discard(digest, older_than_s=3600.0)
    place.clock.ahead_s = 7200.0
    assert 7100 < place.store.age_s(digest) < 7300
    place.clock.ahead_s = 0.0
    time.sleep(0.2)
    began_at = time.monotonic()
    place.store.put(io.BytesIO(b"weights"))
    assert place.store.age_s(digest) < time.monotonic() - began_at + 0.1
    place.clock.ahead_s = 7200.0
    assert place.store.discard(digest, older_than_s=3600.0)
    assert not place.store.has(digest)


def test_threads_that_put_the_same_and_other_bytes_all_succeed(place):
    digests: list[str] = []

    def write(own: int) -> None:
        digests.extend(place.store.put(io.BytesIO(data)) for data in (b"shared", str(own).encode(), b"shared"))

    threads = [threading.Thread(target=write, args=(own,)) for own in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(digests) == 24
    assert sorted(set(digests)) == list(place.store.list())
    assert content(place.store, hashlib.sha256(b"shared").hexdigest()) == b"shared"


def test_a_blob_that_is_put_while_old_ones_are_discarded_stays(place):
    """The race of a registration with a sweep: whatever the order, what was put last is there."""
    data, digest = b"weights", hashlib.sha256(b"weights").hexdigest()
    stop = threading.Event()

    def sweep() -> None:
        while not stop.wait(0.0002):
            place.store.discard(digest, older_than_s=0.05)

    sweeper = threading.Thread(target=sweep)
    sweeper.start()
    try:
        for _ in range(12):
            began_at = time.monotonic()
            try:
                place.store.put(io.BytesIO(data))
                is_there = place.store.has(digest)
            except NotFoundError:
                is_there = False
            # Had the machine paused us before the look, the blob would rightly be old.
            assert is_there or time.monotonic() - began_at > 0.03
            time.sleep(0.06)
    finally:
        stop.set()
        sweeper.join()
