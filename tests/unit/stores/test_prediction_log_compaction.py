"""Making few files of many: killed at any moment, with others at the same work, with clocks that jump; each row is read once by all."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.core.observation_log import LogWindow, ObservedRows, RowLabel
from fairlead.errors import NoSpaceError, StorageError
from fairlead.stores.prediction_log import PredictionLog
from fairlead.stores.prediction_log_compaction import Compacted, Compactor
from fairlead.stores.prediction_log_folder import LogFolder
from fairlead.stores.prediction_log_merging import GRACE_S, groups, hidden, is_due
from fairlead.stores.prediction_log_names import LogFile, name_merged, name_rows, read_name

NOON = 1_795_348_800.0
LATER = NOON + 2 * 3600.0
WINDOW = LogWindow("m")


class Killed(BaseException):
    """The process is gone."""


class Fragile:
    """Files of a folder; before, or after, the change with that number everything ends. `looks` is called after each change."""

    def __init__(self, folder, *, dies_at: int = -1, is_after: bool = False, looks=lambda: None) -> None:
        self._files, self._dies_at, self._is_after, self._looks = LogFolder(folder), dies_at, is_after, looks
        self.changes = 0
        self.list, self.open, self.sweep = self._files.list, self._files.open, self._files.sweep

    def _change(self, act) -> None:
        self.changes += 1
        if self.changes == self._dies_at and not self._is_after:
            raise Killed
        act()
        self._looks()
        if self.changes == self._dies_at:
            raise Killed

    def write(self, path, *parts) -> None:
        self._change(lambda: self._files.write(path, *parts))

    def remove(self, path) -> None:
        self._change(lambda: self._files.remove(path))


def rows(first: int, count: int, at: float, version: int = 1, **more) -> ObservedRows:
    ids = np.array([f"r{place}" for place in range(first, first + count)], object)
    facts = {"at": at + np.arange(count), "request_id": ids, "own_id": np.full(count, "", object), "row": np.zeros(count, np.int32)}
    return ObservedRows("m", version, facts | more)


def fill(folder, files: int = 5) -> list[str]:
    log = PredictionLog(LogFolder(folder))
    for place in range(files):
        log.append(rows(2 * place, 2, NOON + 30 * place))
        log.add_labels("m", [RowLabel(f"r{2 * place}", 0, place, NOON + 30 * place)])
    return sorted(f"r{place}" for place in range(2 * files))


def ids(folder, window: LogWindow = WINDOW) -> list[str]:
    log = PredictionLog(LogFolder(folder))
    return sorted(identity for piece in log.scan(window, ("request_id",)) for identity in piece["request_id"].tolist())


def label_count(folder) -> int:
    return sum(
        label is not None for piece in PredictionLog(LogFolder(folder)).scan(WINDOW, ("label",)) for label in piece["label"].tolist()
    )


def compact(files, at: float = LATER) -> Compacted:
    return Compactor(files, lambda: at, lambda: False).compact("m")


@pytest.mark.parametrize("is_after", [False, True])
@pytest.mark.parametrize("at", [LATER, LATER + GRACE_S + 1])
def test_a_kill_at_any_moment_loses_no_row_and_doubles_none(tmp_path, is_after, at) -> None:
    for dies_at in itertools.count(1):
        folder = tmp_path / f"{dies_at}"
        everything = fill(folder)
        if at > LATER:
            compact(LogFolder(folder))
        files = Fragile(folder, dies_at=dies_at, is_after=is_after)
        try:
            compact(files, at)
        except Killed:
            pass
        else:
            assert files.changes
            break
        assert ids(folder) == everything
        assert label_count(folder) == 5
        compact(LogFolder(folder), at + 1)
        compact(LogFolder(folder), at + 2 * GRACE_S)
        assert ids(folder) == everything
        assert label_count(folder) == 5
        assert len([path for path, _ in LogFolder(folder).list("m")]) == 2


def test_whoever_reads_after_any_change_sees_every_row_once(tmp_path) -> None:
    everything, seen = fill(tmp_path), []
    files = Fragile(tmp_path, looks=lambda: seen.append(ids(tmp_path)))
    compact(files)
    compact(files, LATER + GRACE_S + 1)
    assert len(seen) == 12
    assert all(one == everything for one in seen)


def test_whoever_began_to_read_before_reads_on(tmp_path) -> None:
    everything = fill(tmp_path)
    pieces = PredictionLog(LogFolder(tmp_path)).scan(WINDOW, ("request_id",))
    found = next(pieces)["request_id"].tolist()
    compact(LogFolder(tmp_path))
    found += [identity for piece in pieces for identity in piece["request_id"].tolist()]
    assert sorted(found) == everything


def test_two_that_are_at_it_at_once_double_nothing(tmp_path) -> None:
    everything = fill(tmp_path)
    inner = []

    class Meeting(Fragile):
        def write(self, path, *parts):
            if not inner:  # between the last look of the one and its file, the other makes its own
                inner.append(compact(LogFolder(tmp_path), LATER + 1))
            super().write(path, *parts)

    compact(Meeting(tmp_path))
    assert inner[0].made_count == 2
    assert ids(tmp_path) == everything
    compact(LogFolder(tmp_path), LATER + GRACE_S + 2)
    assert ids(tmp_path) == everything
    assert sum("labels" not in path for path, _ in LogFolder(tmp_path).list("m")) == 1


def test_two_that_saw_different_files_double_nothing_also_once_the_many_are_gone(tmp_path) -> None:
    log, inner = PredictionLog(LogFolder(tmp_path)), []
    for place in range(2):
        log.append(rows(place, 1, NOON + 60 + place))

    class Meeting(Fragile):
        def write(self, path, *parts):
            if not inner:  # rows from before these arrive, and the other sees them, too
                log.append(rows(2, 1, NOON))
                inner.append(compact(LogFolder(tmp_path), LATER + 1))
            super().write(path, *parts)

    compact(Meeting(tmp_path))
    assert inner[0].source_count == 3
    for at in (LATER + GRACE_S + 0.5, LATER + GRACE_S + 2, LATER + 2 * GRACE_S + 3, LATER + 4 * GRACE_S):
        compact(LogFolder(tmp_path), at)
        assert ids(tmp_path) == ["r0", "r1", "r2"]


def test_a_file_that_came_late_joins_its_hour_and_only_once(tmp_path) -> None:
    fill(tmp_path)
    compact(LogFolder(tmp_path))
    PredictionLog(LogFolder(tmp_path)).append(rows(50, 1, NOON + 45))
    for at in (LATER + 1, LATER + GRACE_S + 2, LATER + 3 * GRACE_S):
        compact(LogFolder(tmp_path), at)
        assert ids(tmp_path) == sorted([f"r{place}" for place in range(10)] + ["r50"])
    listed = [read_name(path, size) for path, size in LogFolder(tmp_path).list("m")]
    assert all(file.merged_at for file in listed)
    assert not is_due(listed, LATER + 9 * GRACE_S)
    assert compact(LogFolder(tmp_path), LATER + 9 * GRACE_S) == Compacted()


def test_files_with_other_columns_become_files_of_their_own(tmp_path) -> None:
    log = PredictionLog(LogFolder(tmp_path))
    image = np.zeros((1, 2, 3), np.float32)
    given_ = [
        {},
        {"input:a": np.array([1])},
        {"input:a": np.array([1.5])},
        {},
        {"input:i": image},
        {"input:i": image},
        {"input:a": np.array([2])},
    ]
    for place, more in enumerate(given_):
        log.append(rows(place, 1, NOON + place, **more))
    before = list(log.scan(WINDOW, ("request_id", "input:a")))
    assert compact(LogFolder(tmp_path)) == Compacted(made_count=4, source_count=7)
    after = list(PredictionLog(LogFolder(tmp_path)).scan(WINDOW, ("request_id", "input:a")))

    def told(pieces):
        return sorted(zip(*(np.concatenate([piece[name] for piece in pieces]).tolist() for name in ("request_id", "input:a")), strict=True))

    assert str(told(before)) == str(told(after))
    (shown,) = {piece["input:i"].shape[1:] for piece in log.scan(WINDOW, ("input:i",)) if piece["input:i"].ndim > 1}
    assert shown == (2, 3)


def test_what_cannot_be_read_stays_as_it_is_and_named(tmp_path) -> None:
    fill(tmp_path)
    torn = min(tmp_path.rglob("m/2026*/*.parquet"))
    torn.write_bytes(torn.read_bytes()[:-9])
    compact(LogFolder(tmp_path))
    compact(LogFolder(tmp_path), LATER + GRACE_S + 1)
    assert torn.exists()
    assert len(ids(tmp_path)) == 8
    assert PredictionLog(LogFolder(tmp_path)).size(WINDOW).unreadable


def test_a_merged_file_that_is_torn_hides_nothing(tmp_path) -> None:
    everything = fill(tmp_path)
    compact(LogFolder(tmp_path))
    (merged,) = tmp_path.rglob("m/2026*/*-m*.parquet")
    merged.write_bytes(merged.read_bytes()[:-9])
    assert ids(tmp_path) == everything
    compact(LogFolder(tmp_path), LATER + GRACE_S + 1)
    assert ids(tmp_path) == everything


def test_a_file_that_does_not_come_back_as_it_was_written_goes_again(tmp_path) -> None:
    everything = fill(tmp_path)

    class Lying(Fragile):
        def write(self, path, *parts):
            super().write(path, b"".join(parts)[:-20])

    with pytest.raises(StorageError):
        compact(Lying(tmp_path))
    assert not list(tmp_path.rglob("*-m*.parquet"))
    assert ids(tmp_path) == everything


def test_a_disk_that_is_full_leaves_the_many(tmp_path) -> None:
    everything = fill(tmp_path)

    class Full(Fragile):
        def write(self, path, *parts):
            raise NoSpaceError("No space is left.")

    with pytest.raises(NoSpaceError):
        compact(Full(tmp_path))
    assert ids(tmp_path) == everything
    assert compact(LogFolder(tmp_path)).made_count == 2


def test_it_stops_with_a_whole_file_when_the_time_is_up(tmp_path) -> None:
    everything = fill(tmp_path)
    asked = iter([False, True])
    done = Compactor(LogFolder(tmp_path), lambda: LATER, lambda: next(asked)).compact("m")
    assert done == Compacted(1, 5, 0, has_ended=False)
    assert ids(tmp_path) == everything


@pytest.mark.parametrize("clock", [NOON - 86_400.0, 0.0, NOON + 400 * 86_400.0])
def test_a_clock_that_jumps_loses_nothing(tmp_path, clock) -> None:
    everything = fill(tmp_path)
    compact(LogFolder(tmp_path), clock)
    assert ids(tmp_path) == everything
    compact(LogFolder(tmp_path), LATER)
    assert ids(tmp_path) == everything
    compact(LogFolder(tmp_path), clock)
    assert ids(tmp_path) == everything


def plain(place: int, at: float, size: int = 1000, version: int = 1) -> LogFile:
    return read_name(name_rows("m", version, (at, at + 1), "0123abcd", place), size)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 7200), st.integers(1, 2), st.sampled_from([1000, 2**21])), max_size=40))
def test_what_is_put_together_is_small_of_one_version_and_hour_and_each_file_once(given_) -> None:
    files = [plain(place + 1, NOON + at, size, version) for place, (at, version, size) in enumerate(given_)]
    found = groups(files, NOON + 86_400)
    merged = [file for group in found for file in group]
    assert len(set(merged)) == len(merged)
    for group in found:
        assert len({(file.version, int(file.first_at // 3600)) for file in group}) == 1
        assert len(group) > 1
        assert all(file.size_bytes < 2**20 for file in group)
    assert is_due(files, NOON + 86_400) == bool(found)
    made = [read_name(name_merged(group, NOON + 9e4, "0123abcd", place + 1), 5000) for place, group in enumerate(found)]
    names = {file: frozenset(one.path for one in group) for file, group in zip(made, found, strict=True)}
    gone = hidden([*files, *made], names.__getitem__)
    assert {file for file in files if file.path in gone} == set(merged)
    assert not any(file.path in gone for file in made)
    left = [file for file in [*files, *made] if file.path not in gone]
    assert groups(left, NOON + 2e5) == []
    assert not is_due(left, NOON + 2e5) or any(not file.merged_at and file.size_bytes < 2**20 for file in left)


def test_large_groups_are_made_into_several_files() -> None:
    files = [plain(place, NOON + place, 2**20 - 1) for place in range(1, 40)]
    assert [len(group) for group in groups(files, LATER)] == [16, 16, 7]
    assert [len(group) for group in groups([plain(place, NOON + place, 10) for place in range(1, 1500)], LATER)] == [1024, 475]
