"""What becomes of answers on their way to the log: written, dropped or failed, always counted; and what a server is told of it."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from registered import add_version, new_house, scaler, wait_until

from fairlead.app import recording as module
from fairlead.app.observations import open_log
from fairlead.app.observing_rules import ObservingChange, change_observing
from fairlead.app.recording import LabelKeeper, Parcel, Recording
from fairlead.app.recording_rules import KEY_FILE, Rulebook, read_key
from fairlead.core.observation import Observation
from fairlead.core.observation_log import LogWindow, RecordCounts
from fairlead.core.traffic_event import Joining, LateLabel
from fairlead.errors import InputError, NoSpaceError, SpecError
from fairlead.serve.data_plane import Asked, InferRequest
from fairlead.serve.record_columns import Columns

WINDOW = LogWindow("m")


class Log:
    """A log that can be told to fail or to hang; what reaches it is in `rows` and `labels`."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.rows: list = []
        self.labels: list = []

    def append(self, rows) -> int:
        self.gate.wait(60)
        if self.error is not None:
            raise self.error
        self.rows.append(rows)
        return 1

    def add_labels(self, model, labels) -> None:
        if self.error is not None:
            raise self.error
        self.labels += labels

    def models(self):
        return ()

    def prune(self, **_):
        return SimpleNamespace(left_bytes=0)


@pytest.fixture
def house(tmp_path):
    house = new_house(tmp_path / "home")
    return replace(house, settings=replace(house.settings, observe_flush_s=0.02))


@pytest.fixture
def log():
    return Log()


@pytest.fixture
def recorder(house, log, monkeypatch):
    """A recording into `log`, and what it told the server."""
    monkeypatch.setattr(module, "_LABEL_S", 0.02)
    monkeypatch.setattr(module, "_REVIEW_S", 0.02)
    monkeypatch.setattr(module, "_CLOSE_S", 20.0)
    told: list[str] = []
    recording = Recording(house, told.append, share=1.0, open_log=lambda _: log)
    recording.told = told
    recording.start()
    yield recording
    log.gate.set()
    recording.close()


@pytest.fixture
def version(house, tmp_path):
    return add_version(house, "m", scaler(tmp_path / "m.onnx", 2))


@pytest.fixture
def answer(recorder, version, tmp_path):
    """Hands an answer to the recording, as the data plane does."""
    interface = scaler(tmp_path / "other.onnx", 2)[1]
    served = SimpleNamespace(version=version, interface=interface)

    def hand(count: int = 1, rows: int = 1) -> None:
        for place in range(count):
            request = InferRequest("m", {"x": np.ones((rows, 2), np.float32)}, request_id=f"r{place}")
            asked = Asked(None, request, served, None, rows=rows, outputs={"y": np.zeros((rows, 2), np.float32)})
            recorder.buffer.take(Observation(f"r{place}", "m", 1, time.time(), rows, 0.1, 0.2, "", "http"), asked)
        recorder.buffer.hand_over()  # there is no loop that would do it soon

    return hand


def counts(recorder) -> RecordCounts:
    return recorder.read().counts.get("m", RecordCounts())


def test_the_first_answers_are_written_within_a_second_and_later_ones_together(tmp_path) -> None:
    recording = Recording(new_house(tmp_path / "home"), pytest.fail, share=1.0)
    handed = []
    for now in (0.0, 0.5, 1.0, 2.0, 5.0, 10.5, 11.0, 13.0, 21.0):
        recording._growing.setdefault(("m",), Parcel(now, 1.0))
        recording._ripen(now, is_all=False)
        handed.extend((recording._ready.popleft().since, now) for _ in range(len(recording._ready)))
    assert handed == [(0.0, 1.0), (2.0, 11.0), (13.0, 21.0)]


def test_answers_are_written_soon_and_counted(recorder, log, answer) -> None:
    answer(5, rows=2)
    wait_until(lambda: counts(recorder).written == 5)
    assert sum(item.row_count for item in log.rows) == 10
    columns = log.rows[0].columns
    assert {"at", "version", "share", "input:c0", "output:y[1]"} <= set(columns)
    assert set(columns["version"].tolist()) == {1}
    assert recorder.read().waiting_bytes == 0
    assert counts(recorder) == RecordCounts(observed=5, written=5)


def test_what_waits_at_the_end_is_written(recorder, log, answer, monkeypatch) -> None:
    monkeypatch.setattr(recorder, "_flush_s", 1000.0)
    answer(300)
    recorder.close()
    assert counts(recorder).written == 300


def test_a_log_that_fails_is_told_once_what_is_lost_is_counted_and_writing_resumes(recorder, log, answer) -> None:
    log.error = NoSpaceError("No space is left.", hint="Free some.")
    for times in range(1, 4):
        answer()
        wait_until(lambda times=times: counts(recorder).failed == times)
    assert len(recorder.told) == 1
    assert "No space is left" in recorder.told[0]
    log.error = None
    answer()
    wait_until(lambda: counts(recorder).written == 1)
    wait_until(lambda: len(recorder.told) == 2)
    assert "3 requests were lost" in recorder.told[1]


def test_a_log_that_hangs_holds_nobody_up_and_what_waits_is_bounded(recorder, log, answer, monkeypatch) -> None:
    monkeypatch.setattr(module, "_HELD_BYTES", 20_000)
    log.gate.clear()
    began = time.monotonic()
    for _ in range(20):
        answer(50)
        time.sleep(0.01)
    assert time.monotonic() - began < 10
    wait_until(lambda: counts(recorder).dropped > 0)
    assert recorder.read().waiting_bytes < 20_000 + 50 * 20 * 16
    log.gate.set()
    wait_until(lambda: sum(counts(recorder)[1:]) == 1000)
    assert counts(recorder).failed == 0


def test_a_mistake_of_ours_in_one_parcel_loses_that_parcel_alone(recorder, log, answer) -> None:
    log.error = ZeroDivisionError("a mistake")
    answer()
    wait_until(lambda: counts(recorder).failed == 1)
    log.error = None
    answer()
    wait_until(lambda: counts(recorder).written == 1)
    assert "Traceback" in recorder.told[0]


def test_a_mistake_of_ours_in_leaving_an_answer_is_told(recorder, answer, monkeypatch) -> None:
    monkeypatch.setattr(Columns, "record", lambda *_: 1 / 0)
    answer()
    wait_until(lambda: recorder.told)
    assert "ZeroDivisionError" in recorder.told[0]


def test_labels_that_come_late_are_kept_also_while_no_release_runs(recorder, log) -> None:
    keeper = LabelKeeper(recorder, recorder.told.append)
    assert keeper.join("m", [LateLabel("a", (1, 2)), LateLabel("b", ("x",))]) == Joining(kept=2)
    wait_until(lambda: len(log.labels) == 3)
    assert [(item.request_id, item.row, item.label) for item in log.labels] == [("a", 0, 1), ("a", 1, 2), ("b", 0, "x")]


def test_labels_wait_for_a_log_that_fails(recorder, log) -> None:
    log.error = NoSpaceError("No space is left.")
    recorder.keep_labels("m", [LateLabel("a", (1,))])
    wait_until(lambda: recorder.told)
    log.error = None
    wait_until(lambda: len(log.labels) == 1)


def test_no_more_labels_wait_than_are_allowed(recorder, log, monkeypatch) -> None:
    monkeypatch.setattr(module, "_LABEL_LIMIT", 3)
    log.error = NoSpaceError("No space is left.")
    keeper = LabelKeeper(recorder, recorder.told.append)
    told = [keeper.join("m", [LateLabel("a", (1,))]) for _ in range(5)]
    assert told == [Joining(kept=1)] * 3 + [Joining(unknown=1)] * 2
    log.error = None
    wait_until(lambda: len(log.labels) >= 3)
    time.sleep(0.1)
    assert len(log.labels) == 3


def test_a_running_server_follows_what_is_said_of_a_model(recorder, log, answer, house, version) -> None:
    answer()
    wait_until(lambda: counts(recorder).written == 1)
    change_observing("m", ObservingChange(redact="c0=drop, c1=bucket(10)"), house)
    wait_until(lambda: str(recorder._rulebook.redaction_of("m")))
    answer()
    wait_until(lambda: counts(recorder).written == 2)
    assert "input:c0" not in log.rows[-1].columns
    assert log.rows[-1].columns["input:c1"].tolist() == [0.0]
    change_observing("m", ObservingChange(is_on=False), house)
    wait_until(lambda: recorder.buffer.lanes()["m"].share == 0.0)
    answer()
    assert counts(recorder).unsampled == 1


def test_rules_that_cannot_be_read_keep_nothing(recorder, house, log, answer) -> None:
    house.records.put_fact("observing", "m", '{"is_on": 3}', expected=0, at=1.0, author="x")
    answer()
    wait_until(lambda: recorder.buffer.lanes()["m"].share == 0.0)


def test_what_is_old_goes_by_each_models_own_time(house, tmp_path, answer, recorder, log) -> None:
    real = open_log(house)
    answer(2)
    wait_until(lambda: len(log.rows) > 0)
    rows = log.rows[0]
    old = replace(rows, columns=dict(rows.columns) | {"at": rows.columns["at"] - 10 * 86_400})
    for name in ("m", "n"):
        real.append(replace(old, model=name))
    change_observing("m", ObservingChange(keep_s=86_400.0), house)
    wait_until(lambda: recorder._rulebook._rules)
    recorder._rulebook.prune(real)
    assert real.models() == ("n",)


@pytest.mark.parametrize("jump_s", [400 * 86_400.0, -400 * 86_400.0])
def test_a_clock_that_jumps_removes_nothing_until_it_has_been_so_for_a_day(house, answer, recorder, log, jump_s) -> None:
    answer(2)
    wait_until(lambda: len(log.rows) > 0)
    real, ticks, wall = open_log(house), [0.0], [time.time()]
    rulebook = Rulebook(replace(house, clock=lambda: wall[0] + ticks[0]), 1.0, monotonic=lambda: ticks[0])
    old = log.rows[0].columns["at"] - 31 * 86_400
    real.append(replace(log.rows[0], columns=dict(log.rows[0].columns) | {"at": old}))
    real.append(log.rows[0])
    ticks[0] += 300.0
    rulebook.prune(real)
    assert real.size(WINDOW).file_count == 1  # the control: what is old goes
    wall[0] += jump_s
    for _ in range(4):
        ticks[0] += 300.0
        assert rulebook.prune(real) > 0
    assert real.size(WINDOW).file_count == 1
    ticks[0] += 86_400.0
    rulebook.prune(real)
    assert real.size(WINDOW).file_count == (0 if jump_s > 0 else 1)


@pytest.mark.parametrize("jump_s", [7 * 86_400.0, -7 * 86_400.0, -1e12])
def test_answers_from_both_sides_of_a_clock_that_jumps_are_all_kept(house, log, answer, recorder, jump_s) -> None:
    answer(4)
    wait_until(lambda: counts(recorder).written == 4)
    (rows,), real = log.rows, open_log(house)
    at = rows.columns["at"] + np.array([0.0, jump_s, 1.0, 1.0 + jump_s])
    real.append(replace(rows, columns=dict(rows.columns) | {"at": at}))
    real.append(rows)
    for window in (WINDOW, LogWindow("m", since=float(at[0]) - 5.0, until=float(at[0]) + 5.0)):
        found = [value for piece in real.scan(window, ("at",)) for value in piece["at"].tolist()]
        assert len(found) == (8 if window == WINDOW else 6)


def test_the_key_of_hashes_is_made_once_and_read_by_its_owner_alone(house) -> None:
    key = read_key(house)
    assert len(key) == 32
    assert read_key(house) == key
    path = house.settings.home / KEY_FILE
    assert path.stat().st_mode & 0o777 == 0o600
    assert [item.name for item in house.settings.home.iterdir() if "observe" in item.name] == [KEY_FILE]
    assert read_key(replace(house, settings=replace(house.settings, observe_key="ours"))) == b"ours"


def test_rules_of_the_settings_that_make_no_sense_are_said_at_the_start(house) -> None:
    wrong = replace(house, settings=replace(house.settings, observe_redact="email=burn"))
    with pytest.raises(SpecError, match="burn"):
        Recording(wrong, print, share=1.0)
    with pytest.raises(SpecError), module.recording(house, print, is_on=True, share=1.5):
        pass
    elsewhere = replace(house, settings=replace(house.settings, observations="ftp://x"))
    with pytest.raises(InputError), module.recording(elsewhere, print, is_on=True):
        pass


def test_where_observing_is_off_there_is_no_recording_and_no_key(house) -> None:
    with module.recording(house, print, is_on=False) as found:
        assert found is None
    assert not (house.settings.home / KEY_FILE).exists()
