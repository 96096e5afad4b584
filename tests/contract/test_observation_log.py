"""The exam that every ObservationLog sits: rows in, rows out, by window and version; labels whenever they come; what is old goes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fairlead.core.observation_log import ROW_COLUMNS, LabelMatch, LogWindow, ObservedRows, RowLabel
from fairlead.stores.prediction_log import PredictionLog
from fairlead.stores.prediction_log_compaction import Compacted, Compactor
from fairlead.stores.prediction_log_folder import LogFolder

DAY = 86_400.0
NOON = 1_795_348_800.0


def objects(*items) -> np.ndarray:
    array = np.empty(len(items), object)
    for place, item in enumerate(items):
        array[place] = item
    return array


def rows(count: int, at: float, *, model: str = "m", version: int = 1, ids=None, own=None, places=None, **more) -> ObservedRows:
    """Rows of as many requests, a second apart."""
    facts = {
        "at": at + np.arange(count, dtype=np.float64),
        "request_id": objects(*(ids or [f"{at:.0f}-{place}" for place in range(count)])),
        "own_id": objects(*(own or [""] * count)),
        "row": np.array(places or [0] * count, np.int32),
        "version": np.full(count, version, np.int32),
        "arm": objects(*[""] * count),
        "latency_s": np.full(count, 0.001),
        "route": objects(*["http"] * count),
        "status": objects(*["ok"] * count),
        "share": np.ones(count, np.float32),
    }
    return ObservedRows(model, version, facts | {"input:a": np.arange(count, dtype=np.float32)} | more)


@pytest.fixture(params=["folder", "s3"])
def make_files(request, tmp_path):
    """Opens the place of the same log's files as often as a test likes."""
    if request.param == "folder":
        yield lambda: LogFolder(tmp_path / "log")
        return
    server = request.getfixturevalue("s3")
    from fairlead.stores.prediction_log_s3 import LogBucket

    url, opened = f"s3://{server.new_bucket()}/team/log", []

    def open_files():
        opened.append(LogBucket(url, endpoint=server.endpoint))
        return opened[-1]

    yield open_files
    for bucket in opened:
        bucket.close()


@pytest.fixture
def make_log(make_files):
    """Opens the same log as often as a test likes."""
    return lambda: PredictionLog(make_files())


@pytest.fixture
def log(make_log):
    return make_log()


def read(log, window, *columns) -> dict[str, list]:
    found: dict[str, list] = {}
    for piece in log.scan(window, columns):
        assert len({len(column) for column in piece.values()}) == 1
        for name, column in piece.items():
            found.setdefault(name, []).extend(column.tolist())
    return found


def test_the_files_of_a_window_are_told_with_their_times(log) -> None:
    log.append(rows(3, NOON))
    log.append(rows(1, NOON + DAY))
    log.append(rows(1, NOON, version=2))
    found = log.sources(LogWindow("m", (1,), NOON - 60, NOON + 60))
    assert list(found.values()) == [(NOON, NOON + 2)]
    assert len(log.sources(LogWindow("m"))) == 3
    assert log.sources(LogWindow("other")) == {}


def test_an_empty_log_has_nothing_and_is_no_error(log) -> None:
    window = LogWindow("m")
    assert (log.models(), dict(log.columns(window)), read(log, window)) == ((), {}, {})
    assert log.size(window).file_count == 0
    assert log.prune(before=math.inf).file_count == 0


def test_what_was_appended_comes_back_also_to_others(make_log) -> None:
    make_log().append(rows(3, NOON, **{"input:city": objects("Rome", None, "Ōsaka")}))
    found = read(make_log(), LogWindow("m"))
    assert set(found) == {*ROW_COLUMNS, "input:a", "input:city", "label"}
    assert found["input:a"] == [0.0, 1.0, 2.0]
    assert found["input:city"] == ["Rome", None, "Ōsaka"]
    assert found["label"] == [None] * 3
    assert make_log().models() == ("m",)


def test_a_window_takes_only_its_rows_and_not_its_end(log) -> None:
    log.append(rows(10, NOON))
    log.append(rows(2, NOON, version=2))
    log.append(rows(2, NOON, model="m2"))
    assert read(log, LogWindow("m", (1,), NOON + 3, NOON + 6), "input:a") == {"input:a": [3.0, 4.0, 5.0]}
    assert read(log, LogWindow("m", (2,)), "version") == {"version": [2, 2]}
    assert read(log, LogWindow("m", since=NOON + 100), "at") == {}


def test_a_column_that_some_rows_lack_is_missing_there_in_its_own_kind(log) -> None:
    log.append(rows(1, NOON, **{"input:n": np.array([7]), "input:t": objects("x"), "input:f": np.array([True])}))
    log.append(rows(1, NOON + 60))
    found = read(log, LogWindow("m"), "input:n", "input:t", "input:f", "input:nowhere")
    assert found["input:t"] == ["x", None]
    assert found["input:n"][0] == 7
    assert math.isnan(found["input:n"][1])
    assert found["input:f"][0] == 1
    assert np.isnan(found["input:nowhere"]).all()
    assert log.columns(LogWindow("m"))["input:n"] == "whole"


def test_lists_of_numbers_keep_their_shape(log) -> None:
    image = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    log.append(rows(2, NOON, **{"input:image": image, "input:series": objects(np.arange(2.0), np.arange(3.0))}))
    (piece,) = log.scan(LogWindow("m"), ("input:image", "input:series"))
    assert np.array_equal(piece["input:image"], image)
    assert [item.tolist() for item in piece["input:series"]] == [[0.0, 1.0], [0.0, 1.0, 2.0]]


def test_a_column_whose_name_has_points_is_told_from_its_neighbours(log) -> None:
    log.append(rows(1, NOON, **{"input:x": objects("hash:1"), "input:x.mean": np.array([0.5]), "input:x[0]": np.array([1.0])}))
    assert read(log, LogWindow("m"), "input:x.mean", "input:x") == {"input:x.mean": [0.5], "input:x": ["hash:1"]}


def test_labels_join_their_rows_by_either_id_whether_they_come_before_or_after(log) -> None:
    log.add_labels("m", [RowLabel("early", 0, "cat", NOON - 5.0)])
    log.append(rows(4, NOON, ids=["early", "two", "two", "x-3"], own=["", "", "", "mine"], places=[0, 0, 1, 0]))
    log.add_labels("m", [RowLabel("two", 1, 3, NOON + DAY), RowLabel("mine", 0, 1.5, NOON + DAY), RowLabel("nobody", 0, True, NOON)])
    assert read(log, LogWindow("m"), "label") == {"label": ["cat", None, 3, 1.5]}


def test_of_several_labels_of_a_row_the_newest_counts_in_whatever_order_they_were_told(log) -> None:
    log.append(rows(1, NOON, ids=["r"]))
    log.add_labels("m", [RowLabel("r", 0, "right", NOON + 20)])
    log.add_labels("m", [RowLabel("r", 0, "wrong", NOON + 10)])
    assert read(log, LogWindow("m"), "label") == {"label": ["right"]}


def test_an_id_that_several_requests_had_says_nothing_about_any(log) -> None:
    log.append(rows(3, NOON, ids=["a", "b", "c"], own=["1", "1", ""]))
    log.add_labels("m", [RowLabel("1", 0, "cat", NOON), RowLabel("c", 0, "dog", NOON)])
    assert read(log, LogWindow("m"), "label") == {"label": [None, None, "dog"]}


def test_labels_are_told_apart_before_they_are_added(log) -> None:
    log.append(rows(4, NOON, ids=["a", "b", "c", "d"], own=["", "", "same", "same"]))
    log.add_labels("m", [RowLabel("a", 0, "cat", NOON)])
    told = [("a", 0, "cat"), ("a", 0, "dog"), ("b", 0, "owl"), ("b", 0, "owl"), ("b", 1, "owl"), ("zz", 0, "owl"), ("same", 0, "owl")]
    found = log.match("m", [RowLabel(identity, row, label, NOON + 1) for identity, row, label in told])
    assert found == LabelMatch(joined=1, unknown=2, ambiguous=1, duplicate=2, contradicting=1)
    assert read(log, LogWindow("m"), "label")["label"] == ["cat", None, None, None]


def compacted(make_files, at: float) -> Compacted:
    return Compactor(make_files(), lambda: at, lambda: False).compact_all(["m", "m2"])


def test_many_small_files_become_few_and_every_row_and_label_stays(make_log, make_files) -> None:
    log = make_log()
    for minute in range(6):
        log.append(rows(3, NOON + 60 * minute, ids=[f"{minute}-{place}" for place in range(3)]))
        log.append(rows(1, NOON + 60 * minute, version=2, **{"input:t": objects("x" if minute else None)}))
        log.add_labels("m", [RowLabel(f"{minute}-1", 0, minute, NOON + 60 * minute)])
    log.append(rows(2, NOON + 7200))
    log.append(rows(2, NOON, model="m2"))
    before, after = read(log, LogWindow("m")), NOON + 7200
    assert compacted(make_files, NOON + 60).made_count == 0  # the hour has not passed
    assert compacted(make_files, after) == Compacted(made_count=3, source_count=18)
    for one in (log, make_log()):
        assert len(one.sources(LogWindow("m"))) == 3
        found = read(one, LogWindow("m"))
        assert {name: sorted(map(str, found[name])) for name in found} == {name: sorted(map(str, before[name])) for name in before}
        assert read(one, LogWindow("m", (1,), NOON + 60, NOON + 62), "input:a", "label") == {"input:a": [0.0, 1.0], "label": [None, 1]}
        assert one.size(LogWindow("m")).row_count == 26
    assert compacted(make_files, after + 60) == Compacted()
    assert compacted(make_files, after + 3601).removed_count == 18  # everybody who read them has ended
    assert len(list(make_files().list("m"))) == 4
    assert read(make_log(), LogWindow("m"))["label"].count(None) == 20
    assert log.match("m", [RowLabel("2-1", 0, 2, NOON)]) == LabelMatch(duplicate=1)


def test_what_is_old_goes_also_where_it_was_merged(make_log, make_files) -> None:
    log = make_log()
    for minute in range(3):
        log.append(rows(1, NOON + 60 * minute))
    compacted(make_files, NOON + 7200)
    assert log.prune(before=NOON + 90).file_count == 2  # of those that were merged; their rows are also in the one that stays
    assert log.size(LogWindow("m")).row_count == 3
    assert log.prune(before=NOON + 120.5).left_bytes == 0
    assert log.size(LogWindow("m")).row_count == 0


def test_what_is_older_goes_and_then_the_oldest_until_the_rest_is_small_enough(log) -> None:
    sizes = [log.append(rows(5, NOON + day * DAY)) for day in range(4)]
    log.add_labels("m", [RowLabel("x", 0, 1, NOON)])
    assert log.prune(before=NOON + DAY).file_count == 2  # the first day's rows and labels
    assert read(log, LogWindow("m"), "at")["at"][0] == NOON + DAY
    gone = log.prune(keep_bytes=sizes[3] + sizes[2])
    assert (gone.file_count, gone.left_bytes) == (1, sizes[2] + sizes[3])
    assert log.size(LogWindow("m")).row_count == 10
    assert log.prune(model="other", before=math.inf).file_count == 0
    assert log.prune(before=math.inf).left_bytes == 0


def test_the_size_says_how_much_there_is_and_from_when(log) -> None:
    written = log.append(rows(3, NOON)) + log.append(rows(2, NOON + 50))
    size = log.size(LogWindow("m"))
    assert (size.file_count, size.row_count, size.size_bytes) == (2, 5, written)
    assert (size.first_at, size.last_at) == (NOON, NOON + 51)
    assert log.size(LogWindow("m", since=NOON + 40)).row_count == 2
