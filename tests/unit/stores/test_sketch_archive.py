"""Sketches of a day are there whole or not at all, and the oldest go first."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairlead.core.sketch_window import WindowSketch
from fairlead.errors import CorruptError
from fairlead.stores.prediction_log import PredictionLog
from fairlead.stores.prediction_log_folder import LogFolder
from fairlead.stores.sketch_archive import FOLDER, SketchArchive

DAY = 86_400.0


def window(day: int, rows: int = 1) -> WindowSketch:
    return WindowSketch(day * DAY, day * DAY + 3600.0, rows, float(rows), sources=frozenset({day}))


def test_what_was_kept_of_a_day_comes_back_until_it_is_replaced(tmp_path: Path) -> None:
    archive = SketchArchive(LogFolder(tmp_path))
    assert archive.days("m", 1) == ()
    assert archive.read("m", 1, DAY, "key") == ()
    archive.write("m", 1, DAY, "key", [window(1)])
    archive.write("m", 1, 3 * DAY, "key", [window(3)])
    archive.write("m", 2, 2 * DAY, "key", [window(2)])
    assert archive.days("m", 1) == (DAY, 3 * DAY)
    assert archive.read("m", 1, DAY, "key") == (window(1),)
    assert archive.read("m", 1, DAY, "another profile") == ()
    archive.write("m", 1, DAY, "key", [window(1, 5)])
    assert archive.read("m", 1, DAY, "key")[0].rows == 5


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    archive = SketchArchive(LogFolder(tmp_path))
    archive.write("m", 1, DAY, "key", [window(1)])
    path = next(tmp_path.rglob("v*/*.sketches"))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CorruptError):
        archive.read("m", 1, DAY, "key")


def test_the_oldest_days_of_all_models_go_first(tmp_path: Path) -> None:
    archive = SketchArchive(LogFolder(tmp_path))
    for day, model in ((1, "b"), (2, "a"), (3, "b")):
        archive.write(model, 1, day * DAY, "key", [window(day)])
    size = max(path.stat().st_size for path in tmp_path.rglob("v*/*.sketches"))
    assert archive.prune(10 * size) == 0
    assert archive.prune(2 * size) == 1
    assert (archive.days("a", 1), archive.days("b", 1)) == ((2 * DAY,), (3 * DAY,))


def test_the_log_does_not_take_sketches_for_its_own(tmp_path: Path) -> None:
    SketchArchive(LogFolder(tmp_path)).write("m", 1, DAY, "key", [window(1)])
    log = PredictionLog(LogFolder(tmp_path))
    assert log.models() == ()
    assert log.prune(keep_bytes=0).file_count == 0
    assert next((tmp_path / FOLDER).rglob("v*/*.sketches")).exists()
