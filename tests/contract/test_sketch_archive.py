"""Sketches of days lie wherever the observation log does: in a folder, and in a store that speaks S3."""

from __future__ import annotations

import pytest

from fairlead.core.sketch_window import WindowSketch, to_bytes
from fairlead.stores.prediction_log_folder import LogFolder
from fairlead.stores.sketch_archive import SketchArchive

DAY = 86_400.0


@pytest.fixture(params=["folder", "s3"])
def archive(request, tmp_path):
    if request.param == "folder":
        yield SketchArchive(LogFolder(tmp_path))
        return
    server = request.getfixturevalue("s3")
    from fairlead.stores.prediction_log_s3 import LogBucket

    bucket = LogBucket(f"s3://{server.new_bucket()}/team/log", endpoint=server.endpoint)
    yield SketchArchive(bucket)
    bucket.close()


def window(day: int, rows: int) -> WindowSketch:
    return WindowSketch(day * DAY, day * DAY + 3600.0, rows, float(rows), sources=frozenset({day}))


def test_days_are_kept_replaced_told_and_removed_oldest_first(archive) -> None:
    assert archive.days("m", 1) == ()
    assert archive.read("m", 1, DAY, "key") == ()
    for day in (3, 1, 2):
        archive.write("m", 1, day * DAY, "key", [window(day, day)])
    archive.write("m", 1, DAY, "key", [window(1, 9)])
    assert archive.days("m", 1) == (DAY, 2 * DAY, 3 * DAY)
    assert archive.days("m", 2) == ()
    assert archive.read("m", 1, DAY, "key") == (window(1, 9),)
    left_bytes = sum(len(to_bytes("key", [window(day, day)])) for day in (2, 3))
    assert (archive.prune(left_bytes), archive.days("m", 1)) == (1, (2 * DAY, 3 * DAY))
    assert archive.prune(0) == 2
    assert archive.days("m", 1) == ()
