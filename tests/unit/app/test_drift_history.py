"""History outlives the rows: what a look saw is kept in sketches, counted once, and made anew where rows came late."""

from __future__ import annotations

import math
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import drifting
import numpy as np
import pytest
from drifting import HOUR, START, Silent, observe
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.app.drift_history import History
from fairlead.app.drift_report import DriftReport, DriftRequest, report
from fairlead.app.drift_windows import Source
from fairlead.app.observations import open_log
from fairlead.app.observing_rules import ObservingChange, change_observing
from fairlead.app.wiring import House
from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, TensorSpec
from fairlead.core.manifest import Manifest
from fairlead.core.observation_log import LogWindow, ObservedRows
from fairlead.core.profile import Profile
from fairlead.core.sketch_window import WindowSketch
from fairlead.core.version import Version
from fairlead.errors import NotFoundError, StorageError
from fairlead.monitor.drift.budget import WatchOptions
from fairlead.monitor.drift.reference import profile_column
from fairlead.stores.prediction_log import PredictionLog
from fairlead.stores.prediction_log_folder import LogFolder
from fairlead.stores.sketch_archive import SketchArchive

DAY = 24 * HOUR


@pytest.fixture
def watched(house: House) -> House:
    return drifting.add_watched(house)


def look(house: House, hours: float, *, until: float | None = None, later_s: float = HOUR, **changes) -> DriftReport:
    """Look back from `until` (hours after START; None: after `hours`), and `later_s` after that."""
    end = START + (hours if until is None else until) * HOUR
    request = DriftRequest("tab:1", span_s=hours * HOUR, until=end, **changes)
    return report(request, open_log(house), replace(house, clock=lambda: end + later_s), Silent())


def drifted(house: House, hours: int, *, first: int = 0, is_complete: bool = False) -> None:
    generator = np.random.default_rng(1)
    for hour in range(first, hours):
        age, kept = generator.normal(1.0 if hour >= hours // 2 else 0.0, 1.0, 120), generator.normal(size=120)
        observe(house, hour, age, **({"input:kept": kept} if is_complete else {}))


def files(house: House) -> list[Path]:
    return sorted((house.settings.home / "observations").rglob("v*/*.sketches"))


def forget_rows(house: House) -> None:
    assert open_log(house).prune(before=math.inf, keep_bytes=math.inf).file_count


def seen(found: DriftReport) -> dict[str, object]:
    """What a report says but for its rounding: all inputs together are kept with 24 bits."""
    return {
        "rows": (found.rows, found.windows, found.strange_rows, found.strange),
        "found": [(item.subject, item.since, item.value, item.sentence) for item in found.findings],
        "moved": [replace(item, unseen=0.0, fractions=0.0) for item in (*found.moved, *found.answers)],
    }


def test_what_was_seen_is_there_when_the_rows_are_gone(watched: House) -> None:
    drifted(watched, 14, is_complete=True)
    before = look(watched, 14)
    assert before.joint > 0.05
    assert {finding.subject for finding in before.findings} >= {"age", "value"}
    assert len(files(watched)) == 1
    forget_rows(watched)
    after = look(watched, 14)
    assert seen(after) == seen(before)
    assert after.joint == pytest.approx(before.joint, abs=1e-5)
    assert seen(look(watched, 14)) == seen(before)


def test_looking_again_reads_no_rows(watched: House, monkeypatch: pytest.MonkeyPatch) -> None:
    drifted(watched, 6)
    before = look(watched, 6)
    monkeypatch.setattr(PredictionLog, "scan", lambda *_: pytest.fail("rows were read"))
    assert seen(look(watched, 6)) == seen(before)


def test_an_hour_that_is_not_over_is_not_kept(watched: House) -> None:
    observe(watched, 0, np.random.default_rng(1).normal(size=200))
    assert look(watched, 1, later_s=60.0).rows == 200
    assert not files(watched)
    assert look(watched, 0.5, later_s=HOUR).rows < 200  # half of an hour is no hour
    assert not files(watched)


def test_rows_that_come_late_are_counted_once(watched: House) -> None:
    observe(watched, 0, np.random.default_rng(1).normal(size=200))
    observe(watched, 1, np.random.default_rng(2).normal(size=100))
    assert look(watched, 3).rows == 300
    observe(watched, 0, np.random.default_rng(3).normal(size=50), name="late")
    for _ in range(2):
        found = look(watched, 3)
        assert found.rows == 350
        assert {item.feature: item.rows for item in found.moved}["age"] == 350


def test_rows_that_come_when_others_are_gone_do_not_take_their_place(watched: House) -> None:
    observe(watched, 0, np.random.default_rng(1).normal(size=200))
    before = look(watched, 2)
    forget_rows(watched)
    observe(watched, 0, np.full(20, 9.0), name="late")
    assert seen(look(watched, 2)) == seen(before)


def test_files_between_two_hours_belong_to_both(watched: House, monkeypatch: pytest.MonkeyPatch) -> None:
    observe(watched, 0.5, np.random.default_rng(1).normal(size=300))
    assert look(watched, 2).rows == 300
    monkeypatch.setattr(PredictionLog, "scan", lambda *_: pytest.fail("rows were read"))
    assert look(watched, 2).rows == 300


def test_longer_windows_are_made_of_hours_and_shorter_ones_of_rows(watched: House) -> None:
    drifted(watched, 12)
    assert look(watched, 12, options=WatchOptions(window_s=4 * HOUR)).windows == 3
    forget_rows(watched)
    assert look(watched, 12, options=WatchOptions(window_s=6 * HOUR)).windows == 2
    with pytest.raises(NotFoundError):
        look(watched, 12, options=WatchOptions(window_s=HOUR / 2))


def test_of_days_that_are_long_over_the_day_is_kept(watched: House) -> None:
    drifted(watched, 48, first=2)
    before = look(watched, 48)
    large = sum(path.stat().st_size for path in files(watched))
    for _ in range(2):  # the first look tells hours apart, and leaves days
        after = look(watched, 48, later_s=60 * DAY)
    assert (before.windows, after.windows, after.rows) == (46, 2, 46 * 120)
    assert sum(path.stat().st_size for path in files(watched)) < large / 3
    moved = [{item.feature: item for item in found.moved}["noise"] for found in (before, after)]
    assert moved[0].moved == pytest.approx(moved[1].moved, abs=1e-9)
    observe(watched, 30, np.random.default_rng(5).normal(size=40), name="late")
    assert look(watched, 48, later_s=60 * DAY).rows == before.rows + 40
    forget_rows(watched)
    assert look(watched, 20, until=48, later_s=60 * DAY).rows == 24 * 120 + 40  # the day that the span begins in


def test_a_damaged_file_is_told_and_made_anew(watched: House) -> None:
    drifted(watched, 4)
    before = look(watched, 4)
    path = files(watched)[0]
    path.write_bytes(path.read_bytes()[:-3])
    damaged = look(watched, 4)
    assert seen(damaged) == seen(before)
    assert "no sketches" in damaged.notes[0]
    assert look(watched, 4).notes == ()


def test_what_a_newer_fairlead_kept_is_left_alone(watched: House) -> None:
    drifted(watched, 4)
    look(watched, 4)
    path = files(watched)[0]
    newer = path.read_bytes()[:4] + b"\x09\x00" + path.read_bytes()[6:]
    path.write_bytes(newer)
    assert "format 9" in look(watched, 4).notes[0]
    assert path.read_bytes() == newer


def test_sketches_that_cannot_be_kept_cost_no_answer(watched: House, monkeypatch: pytest.MonkeyPatch) -> None:
    for day in range(8):
        observe(watched, 24 * day, np.random.default_rng(day).normal(size=30))
    days: list[float] = []

    def refuse(_archive: SketchArchive, _name: str, _number: int, day: float, *_: object) -> None:
        days.append(day)
        raise StorageError("The disk is full.", hint="Free space.")

    monkeypatch.setattr(SketchArchive, "write", refuse)
    found = look(watched, 24, until=8 * 24, is_catching_up=True)
    assert found.rows == 30
    assert found.notes == ("Sketches cannot be kept: The disk is full.",)
    assert len(days) == 4, "a few days before the span, and the span: not everything each time"


def test_what_the_log_no_longer_keeps_is_left_out_of_old_windows_too(watched: House) -> None:
    drifted(watched, 4)
    assert look(watched, 4).answers
    change_observing("tab", ObservingChange(redact="age=drop, y=hash"), watched)
    found = look(watched, 4)
    assert {"age", "value"} <= set(found.absent)
    assert {item.feature for item in found.moved} == {"noise"}
    assert math.isnan(found.joint)


def test_sketches_against_another_profile_are_not_taken(watched: House) -> None:
    drifted(watched, 4)
    before = look(watched, 4)
    archive = SketchArchive(LogFolder(watched.settings.home / "observations"))
    archive.write("tab", 1, START, "another profile", [WindowSketch(START, START + HOUR, 10_000)])
    assert seen(look(watched, 4)) == seen(before)


def test_catching_up_keeps_what_nobody_asked_for(watched: House) -> None:
    drifted(watched, 30)
    for _ in range(2):
        assert look(watched, 2, until=30, is_catching_up=True).windows == 2
        assert len(files(watched)) == 2
    forget_rows(watched)
    assert open_log(watched).sources(LogWindow("tab")) == {}
    assert look(watched, 30).rows == 30 * 120


def test_catching_up_finishes_a_day_that_was_left_half_done_a_few_days_at_once(watched: House) -> None:
    for day in (0, 2, 3, 4, 6, 8):
        for hour in (3, 9):
            observe(watched, 24 * day + hour, np.random.default_rng(day).normal(size=30))
    look(watched, 6)  # the first hours of the first day
    kept = []
    for _ in range(3):
        look(watched, 24, until=9 * 24, is_catching_up=True)
        kept.append(len(files(watched)))
    assert kept == [4, 6, 6]  # of the span itself, and three days before it; then the others
    forget_rows(watched)
    assert look(watched, 9 * 24).rows == 12 * 30


def test_rows_that_were_sampled_count_for_those_that_were_not_kept(watched: House) -> None:
    generator = np.random.default_rng(4)
    for hour, shift, rows, share in ((0, 0.0, 900, 1.0), (1, 2.0, 100, 0.1)):
        observe(watched, hour, generator.normal(size=rows), generator.normal(shift, 1.0, rows), share=share)
    found = look(watched, 2)
    assert (found.rows, found.weight) == (1000, 1900.0)
    noise = {item.feature: item for item in found.moved}["noise"]
    assert noise.moved == pytest.approx(0.36, abs=0.06)  # 1,000 of 1,900 rows moved by two standard deviations, not 100 of 1,000
    assert noise.rows == round(1900**2 / (900 + 100 * 100))


def test_what_failed_has_no_answer_that_is_missing(watched: House, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(6)
    for hour in range(4):
        observe(watched, hour, generator.normal(size=150))
        with monkeypatch.context() as patch:
            patch.setattr(drifting, "STATUS", "deadline")
            observe(watched, hour, generator.normal(size=100), name="failed")
    found = look(watched, 4)
    assert found.rows == 1000
    assert found.answers[0].rows == 600
    assert found.answers[0].missing == 0.0
    assert found.findings == ()


ACTS = st.lists(
    st.one_of(
        st.tuples(st.just("rows"), st.sampled_from([1, 2, 23, 24]), st.integers(1, 9)),  # in which hour, how many
        st.tuples(st.just("look"), st.sampled_from([0, 2, 20]), st.sampled_from([3, 31])),  # from which hour on, how many hours
        st.tuples(st.just("retention"), st.sampled_from([2, 30]), st.just(0)),  # what is older than this hour goes
        st.tuples(st.just("time"), st.just(0), st.sampled_from([1, 20])),  # so many days pass
    ),
    min_size=3,
    max_size=15,
)


@settings(max_examples=30, deadline=None)
@given(acts=ACTS)
def test_whatever_comes_and_goes_in_whatever_order_no_row_counts_twice_and_what_was_kept_stays(acts: list[tuple[str, int, int]]) -> None:
    features = (profile_column("age", np.arange(100.0), input_name="x"),)
    interface = Interface((TensorSpec("x", DType.FP64, (None, 1), ("age",)),), ())
    sent, now, number = Counter[int](), START + 32 * HOUR, 0
    least = Counter[int]()  # what was kept of an hour
    with tempfile.TemporaryDirectory() as folder:
        place = LogFolder(Path(folder))
        log = PredictionLog(place)

        def windows(first: int, hours: int) -> list[WindowSketch]:
            version = Version("m", 1, Manifest(()), START)
            source = Source(log, version, Profile(features, (), 100, "rows"), interface)
            history = History(source, SketchArchive(place), key="k", now=now)
            return list(history.windows(START + first * HOUR, START + (first + hours) * HOUR, HOUR))

        for act, hour, count in [*acts, ("look", 0, 31)]:
            if act == "rows":
                number += 1
                at = START + (hour + np.linspace(0.0, 0.99, count)) * HOUR
                ids = np.array([f"{number}-{row}" for row in range(count)], object)
                facts = {"at": at, "request_id": ids, "row": np.zeros(count, np.int32), "share": np.ones(count, np.float32)}
                log.append(ObservedRows("m", 1, facts | {"status": np.full(count, "ok", object), "input:age": at - START}))
                sent[hour] += count
            elif act == "retention":
                log.prune(before=START + hour * HOUR, keep_bytes=math.inf)
            elif act == "time":
                now += count * DAY
            else:
                for window in windows(hour, count):
                    covered = range(int((window.start - START) // HOUR), math.ceil((window.end - START) / HOUR))
                    assert window.rows == window.features["age"].by_row.rows == window.features["age"].moments.count
                    assert sum(least[one] for one in covered) <= window.rows <= sum(sent[one] for one in covered)
                    if len(covered) == 1:
                        least[covered[0]] = window.rows
