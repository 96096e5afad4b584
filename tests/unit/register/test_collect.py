from __future__ import annotations

import io
import time
from pathlib import Path

import pytest

from fairlead.core.manifest import FileEntry, Manifest
from fairlead.register.collect import Sweep, referenced, sweep, sweep_unfinished
from fairlead.stores.folder_blobs import FolderBlobs
from fairlead.stores.sqlite_records import SqliteRecords

HOUR_S = 3600.0


class House:
    """A registry whose blobs are two hours old as soon as `age` is called."""

    def __init__(self, folder: Path) -> None:
        self.ahead_s = 0.0
        self.records = SqliteRecords(folder / "registry.sqlite")
        self.blobs = FolderBlobs(folder / "blobs", clock=lambda: time.time() + self.ahead_s)
        self.incoming = folder / "blobs" / "incoming"
        self.kept = self.blobs.put(io.BytesIO(b"kept"))
        self.records.add_version("digits", Manifest((FileEntry("model.onnx", 4, self.kept),)), 1.0)
        self.lost = self.blobs.put(io.BytesIO(b"lost"))
        (self.incoming / "killed.part").write_bytes(b"half")

    def age(self) -> None:
        self.ahead_s = 2 * HOUR_S

    def sweep(self, **options: object) -> Sweep:
        return sweep(records=self.records, blobs=self.blobs, grace_s=HOUR_S, **options)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_what_is_young_stays(house):
    assert house.sweep() == Sweep((), 0)
    assert set(house.blobs.list()) == {house.kept, house.lost}


def test_what_is_old_and_unlisted_goes(house):
    house.age()
    assert house.sweep() == Sweep((house.lost,), 1)
    assert list(house.blobs.list()) == [house.kept]
    assert list(house.incoming.iterdir()) == []
    assert house.sweep() == Sweep((), 0)


def test_a_dry_run_says_the_same_and_removes_nothing(house):
    assert house.sweep(is_dry_run=True).blobs == ()
    house.age()
    assert house.sweep(is_dry_run=True).blobs == (house.lost,)
    assert set(house.blobs.list()) == {house.kept, house.lost}
    assert len(list(house.incoming.iterdir())) == 1


def test_leftovers_alone_can_be_removed(house):
    house.age()
    assert sweep_unfinished(house.blobs, grace_s=HOUR_S) == 1
    assert set(house.blobs.list()) == {house.kept, house.lost}


def test_a_blob_that_a_registration_puts_again_during_the_sweep_stays(house):
    """The sweep has read the records, then a registration puts the old blob anew: it must not go."""
    house.age()

    class PutWhileListing(FolderBlobs):
        def list(self):
            yield from list(super().list())
            house.ahead_s = 0.0  # what is put now is young
            self.put(io.BytesIO(b"lost"))

    blobs = PutWhileListing(house.incoming.parent, clock=lambda: time.time() + house.ahead_s)
    assert sweep(records=house.records, blobs=blobs, grace_s=HOUR_S).blobs == ()
    assert blobs.has(house.lost)


def test_every_listed_blob_is_referenced(house):
    assert referenced(house.records) == {house.kept}
