"""The drift report over a real log: what moved is found, told and bounded; what cannot be looked at is said."""

from __future__ import annotations

import json
from collections import Counter

import drifting
import numpy as np
import pytest
from drifting import HOUR, INTERFACE, START, Silent, add_version, observe

from fairlead.app.drift_report import DriftRequest, report
from fairlead.app.drift_windows import in_blocks, request_weights
from fairlead.app.observations import open_log
from fairlead.app.observing_rules import ObservingChange, change_observing
from fairlead.app.wiring import House
from fairlead.cli.drift_command import drift_text
from fairlead.cli.main import run
from fairlead.core.finding import FindingKind
from fairlead.errors import NotFoundError, SpecError
from fairlead.monitor.drift.budget import WatchOptions
from fairlead.monitor.drift.seasons import Season
from fairlead.stores.document import dump


@pytest.fixture
def watched(house: House) -> House:
    return drifting.add_watched(house)


def look(house: House, hours: int, **changes):
    request = DriftRequest("tab:1", span_s=hours * HOUR, until=START + hours * HOUR, **changes)
    return report(request, open_log(house), house, Silent())


def fill(house: House, hours: int, *, changed_from: int, rows: int = 150) -> None:
    generator = np.random.default_rng(7)
    for hour in range(hours):
        shift = 1.0 if hour >= changed_from else 0.0
        age = generator.normal(shift, 1.0, rows)
        if hour >= changed_from:
            age[::10] = np.nan
        observe(house, hour, age, generator.normal(5 * shift, 1.0, rows))


def test_a_change_is_found_with_what_it_may_cost_and_an_unused_input_stays_silent(watched: House) -> None:
    fill(watched, 16, changed_from=8)
    found = look(watched, 16)
    subjects = {finding.subject: finding for finding in found.findings}
    assert {"age", "age.missing", "value"} <= set(subjects)
    assert not any(subject.startswith("noise") for subject in subjects)
    assert subjects["age"].since == START + 8 * HOUR
    assert subjects["value"].kind is FindingKind.PREDICTION_DRIFT
    moved = {item.feature: item for item in found.moved}
    assert moved["age"].rows <= 9 * 150  # since it changed, not before
    assert moved["age"].moved == pytest.approx(0.38, abs=0.08)
    assert moved["age"].missing == pytest.approx(0.1, abs=0.01)
    assert moved["age"].cost > 0.2
    assert moved["noise"].moved > 0.3
    assert moved["noise"].cost == 0.0
    assert found.absent == ("kept",)
    assert found.strange[0].features == ("age",)
    text = drift_text(found)
    assert "moved, not used" in text
    assert "drift, missing" in text
    assert "Not watched" in text
    assert "about" in text


def test_nothing_is_found_where_nothing_changed(watched: House) -> None:
    fill(watched, 12, changed_from=99)
    found = look(watched, 12)
    assert found.findings == ()
    assert (found.rows, found.windows) == (12 * 150, 12)
    assert "nothing that is proven" in drift_text(found)


def test_rows_of_one_large_request_prove_nothing_alone(watched: House) -> None:
    observe(watched, 0, np.random.default_rng(1).normal(1.0, 1.0, 2000), per_request=2000)
    found = look(watched, 1)
    assert found.findings == ()
    assert {item.feature: item.moved for item in found.moved}["age"] > 0.3


def test_traffic_that_swings_by_the_hour_is_no_drift_against_its_own_season(watched: House) -> None:
    generator = np.random.default_rng(3)
    for hour in range(6 * 24):
        if hour % 24 in (2, 14):
            observe(watched, hour, generator.normal(2.0 if hour % 24 == 14 else 0.0, 0.9, 300))
    hours = {"hours": 6 * 24, "options": WatchOptions(effect=0.15)}
    assert {finding.subject for finding in look(watched, **hours).findings} >= {"age", "value"}
    request = DriftRequest("tab:1", 2 * 86_400.0, START + 6 * 86_400, WatchOptions(effect=0.15), Season.DAY)
    assert report(request, open_log(watched), watched, Silent()).findings == ()


def test_what_the_log_keeps_in_another_form_is_no_drift(watched: House) -> None:
    for hour in range(4):
        observe(watched, hour, np.full(300, 40.0))
    assert any(finding.subject.startswith("age") for finding in look(watched, 4).findings)
    change_observing("tab", ObservingChange(redact="age=bucket(40), y=hash"), watched)
    found = look(watched, 4)
    assert found.findings == ()
    assert set(found.absent) == {"age", "kept", "value"}


def test_a_version_without_a_profile_says_what_to_do(house: House) -> None:
    add_version(house, {"interface.json": dump(INTERFACE)})
    with pytest.raises(NotFoundError, match="no profile") as refused:
        look(house, 1)
    assert "--data" in refused.value.hint


def test_a_log_without_rows_says_so(watched: House) -> None:
    with pytest.raises(NotFoundError, match="Nothing was observed"):
        look(watched, 2)


def test_no_time_is_nothing_to_look_at(watched: House) -> None:
    with pytest.raises(SpecError):
        look(watched, 0)


def test_a_span_longer_than_the_log_takes_no_longer(watched: House) -> None:
    observe(watched, 3, np.random.default_rng(1).normal(size=300))
    request = DriftRequest("tab:1", span_s=1e6 * HOUR, until=START + 4 * HOUR)
    assert report(request, open_log(watched), watched, Silent()).rows == 300


def test_rows_of_a_request_weigh_as_one() -> None:
    piece = {"row": np.array([0, 1, 0]), "request_id": np.array(["a", "a", "b"], object)}
    assert request_weights(piece).tolist() == [0.5, 0.5, 1.0]
    assert request_weights({"row": np.zeros(2), "request_id": np.array(["a", "b"], object)}) is None


def test_small_pieces_are_joined_and_lists_of_other_lengths_are_not() -> None:
    even = {"at": np.arange(3.0), "x": np.zeros((3, 2))}
    ragged = {"at": np.arange(2.0), "x": np.array([np.zeros(1), np.zeros(4)], object)}
    blocks = list(in_blocks([even, even, ragged]))
    assert [len(block["at"]) for block in blocks] == [6, 2]


def test_the_command_prints_text_and_json(watched: House, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    fill(watched, 6, changed_from=2)
    monkeypatch.setattr("time.time", lambda: START + 6 * HOUR)
    home = ["--home", str(watched.settings.home)]
    assert run(["drift", "tab:1", "--since", "6h", "--json", *home]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rows"] == 900
    assert Counter(finding["kind"] for finding in found["findings"])["drift"] >= 1
    assert run(["drift", "tab:1", "--since", "6h", *home]) == 0
    assert "Inputs" in capsys.readouterr().out
    assert run(["drift", "tab:1", "--false-alarms", "0", *home]) != 0
    assert "above 0" in capsys.readouterr().err
