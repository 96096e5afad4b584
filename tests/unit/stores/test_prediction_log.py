"""What only a folder can show of the observation log: torn and foreign files, power cuts, full disks, many writers."""

from __future__ import annotations

import errno
import os
import threading
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.observation_log import LogWindow, ObservedRows, RowLabel
from fairlead.errors import CorruptError, NoSpaceError, NotFoundError
from fairlead.stores.prediction_log import PredictionLog
from fairlead.stores.prediction_log_columns import LogReader
from fairlead.stores.prediction_log_folder import LogFolder
from fairlead.stores.prediction_log_names import name_labels, name_rows, read_name

NOON = 1_795_348_800.0


def rows(count: int = 4, at: float = NOON, **more) -> ObservedRows:
    ids = np.array([f"r{place}" for place in range(count)], object)
    facts = {"at": at + np.arange(count), "request_id": ids, "own_id": np.full(count, "", object), "row": np.zeros(count, np.int32)}
    return ObservedRows("m", 1, facts | more)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "observations"


@pytest.fixture
def log(folder):
    return PredictionLog(LogFolder(folder))


def files(folder) -> list:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def count(log) -> int:
    return sum(len(piece["at"]) for piece in log.scan(LogWindow("m"), ("at",)))


def test_files_lie_by_model_and_day_and_are_their_owners_alone(log, folder) -> None:
    log.append(rows())
    (path,) = files(folder)
    assert path.parent == folder / "m" / "2026-11-22"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_torn_file_is_left_out_and_named(log, folder) -> None:
    log.append(rows(3))
    log.append(rows(4, NOON + 100))
    torn = files(folder)[0]
    torn.write_bytes(torn.read_bytes()[:-20])
    for one in (log, PredictionLog(LogFolder(folder))):
        assert count(one) == 4
        assert one.size(LogWindow("m")).unreadable == (torn.relative_to(folder).as_posix(),)


def test_bytes_that_the_disk_turned_around_are_found_by_their_checksum(log, folder) -> None:
    log.append(rows(200, **{"input:a": np.arange(200, dtype=np.float64)}))
    (path,) = files(folder)
    content = bytearray(path.read_bytes())
    column = pq.ParquetFile(path).metadata.row_group(0).column(0)
    content[column.data_page_offset + column.total_compressed_size - 3] ^= 1
    path.write_bytes(content)
    fresh = PredictionLog(LogFolder(folder))
    assert count(fresh) == 0
    assert fresh.size(LogWindow("m")).unreadable


def test_what_belongs_to_somebody_else_is_left_out_and_named(log, folder) -> None:
    log.append(rows(3))
    foreign = files(folder)[0].with_name(f"v1-{int(NOON)}000-{int(NOON)}999-0123abcd-1.parquet")
    pq.write_table(pa.table({"at": [NOON], "request_id": ["theirs"]}), foreign)
    (folder / "m" / "notes.txt").write_text("mine")
    assert count(log) == 3
    assert set(log.size(LogWindow("m")).unreadable) == {foreign.relative_to(folder).as_posix(), "m/notes.txt"}


def test_a_link_out_of_the_folder_is_not_followed(log, folder, tmp_path) -> None:
    log.append(rows(3))
    real = files(folder)[0]
    elsewhere = tmp_path / "elsewhere.parquet"
    real.rename(elsewhere)
    real.symlink_to(elsewhere)
    assert count(log) == 0


def test_a_file_that_goes_while_others_are_read_is_no_error(log, folder) -> None:
    log.append(rows(3))
    log.append(rows(2, NOON + 100))
    pieces = log.scan(LogWindow("m"), ("at",))
    next(pieces)
    files(folder)[1].unlink()
    assert list(pieces) == []
    with pytest.raises(NotFoundError):
        LogFolder(folder).open("m/gone.parquet")


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_a_disk_that_fills_leaves_nothing_half_written(log, folder, monkeypatch, call) -> None:
    log.append(rows(3))
    before = files(folder)

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    if call == "write":
        monkeypatch.setattr("os.open", full)
    elif call == "fsync":
        monkeypatch.setattr("os.fsync", full)
    else:
        monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(NoSpaceError):
        log.append(rows(3, NOON + 60))
    monkeypatch.undo()
    assert files(folder) == before
    log.append(rows(3, NOON + 60))
    assert count(log) == 6


def test_what_a_killed_writer_left_is_no_row_and_is_swept(log, folder) -> None:
    log.append(rows(3))
    left = files(folder)[0].with_name(".incoming-abc")
    left.write_bytes(b"PAR1")
    assert count(log) == 3
    assert log.size(LogWindow("m")).unreadable == ()
    log.prune()
    assert left.exists()  # it may still be written
    os.utime(left, (time.time() - 7200,) * 2)
    log.prune()
    assert not left.exists()


def test_several_writers_never_take_each_others_names(folder) -> None:
    logs = [PredictionLog(LogFolder(folder)) for _ in range(4)]
    threads = [threading.Thread(target=lambda log=log: [log.append(rows(2)) for _ in range(5)]) for log in logs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(files(folder)) == 20
    assert count(logs[0]) == 40


def test_lists_are_kept_beside_texts_of_every_kind(log) -> None:
    texts = np.array(["größe", None, "", "z"], object)
    fixed = {"request_id": np.array([b"a", b"bc", b"d", b"e"]), "own_id": np.array([b""] * 4), "route": np.array(["http"] * 4)}
    log.append(rows(4, **fixed, **{"input:image": np.zeros((4, 2, 3), np.float32), "input:t": texts}))  # a server's ids are fixed-width
    (piece,) = log.scan(LogWindow("m"))
    assert piece["request_id"].tolist() == ["a", "bc", "d", "e"]
    assert piece["own_id"].tolist() == [""] * 4
    assert piece["route"].tolist() == ["http"] * 4
    assert piece["input:t"].tolist() == texts.tolist()
    assert piece["input:image"].shape == (4, 2, 3)


@pytest.mark.parametrize("at", [-5.0, 0.0, 1e300, np.nan, np.inf])
def test_a_clock_that_has_lost_its_mind_loses_no_rows(log, at) -> None:
    log.append(ObservedRows("m", 1, dict(rows(1).columns) | {"at": np.array([at])}))
    assert log.size(LogWindow("m")).row_count == 1


@given(st.integers(1, 10**8), st.floats(0, 4e9), st.floats(0, 1e6), st.integers(1, 10**9))
def test_a_name_says_what_was_put_into_it(version: int, first: float, length: float, number: int) -> None:
    path = name_rows("a.b-c", version, (first, first + length), "0123abcd", number)
    file = read_name(path, 7)
    assert (file.model, file.version, file.size_bytes, file.is_labels) == ("a.b-c", version, 7, False)
    assert file.first_at <= first
    assert first + length <= file.last_at < first + length + 0.002
    assert file.touches(LogWindow("a.b-c", (version,), first, first + length + 1))


@pytest.mark.parametrize(
    "path",
    [
        "m/2026-11-22/v0-1-2-0123abcd-1.parquet",
        "m/2026-11-22/v1-1-2-0123abcd-1.parquet.tmp",
        "m/../2026-11-22/v1-1-2-0123abcd-1.parquet",
        "../m/2026-11-22/v1-1-2-0123abcd-1.parquet",
        "M/2026-11-22/v1-1-2-0123abcd-1.parquet",
        "m/v1-1-2-0123abcd-1.parquet",
        "",
    ],
)
def test_other_names_are_nobodys_we_know(path: str) -> None:
    assert read_name(path) is None


def test_a_model_called_labels_is_no_folder_of_labels() -> None:
    assert read_name(name_rows("labels", 1, (NOON, NOON), "0123abcd", 1)).version == 1
    assert read_name(name_labels("labels", (NOON, NOON), "0123abcd", 1)).is_labels


@given(st.binary(max_size=300))
def test_bytes_of_any_kind_are_no_log_and_no_crash(content: bytes) -> None:
    with pytest.raises(CorruptError):
        LogReader(pa.BufferReader(content))


def test_one_label_among_fifty_thousand_of_others_finds_its_row(log) -> None:
    log.append(rows(3))
    log.add_labels("m", [RowLabel(f"other-{place}", 0, place % 7, NOON) for place in range(50_000)] + [RowLabel("r1", 0, "x", NOON)])
    (piece,) = log.scan(LogWindow("m"), ("label",))
    assert piece["label"].tolist() == [None, "x", None]
