"""What a search says: each reason once."""

from __future__ import annotations

import pytest

from fairlead.app.search_text import Reasons, speed_text, unfinished_text
from fairlead.app.search_trials import TIME_UP
from fairlead.core.paired import Comparison, Outcome
from fairlead.core.plan import Candidate
from fairlead.core.search import Objective, PointStatus, SearchPoint, SearchResult


def failed(name: str, reason: str, status: PointStatus = PointStatus.FAILED) -> SearchPoint:
    return SearchPoint(Candidate(name, (name,), "onnxruntime", 1, ""), "", status, reason=reason)


def test_a_reason_is_said_once_whatever_numbers_stand_in_it() -> None:
    reasons = Reasons()
    said = [
        failed("a", "it took longer than 30 s"),
        failed("b", "it took longer than 45 s"),
        failed("c", "it crashed (abort)"),
        failed("d", "it took longer than 1,000 s"),
    ]
    assert [reasons.is_known(point) for point in said] == [False, True, False, True]
    assert reasons.repeated_count == 2


def test_what_did_not_fail_is_always_said() -> None:
    reasons = Reasons()
    rejected = failed("a", "accuracy_drop is 0.02, needed <= 0.005", PointStatus.REJECTED)
    assert [reasons.is_known(rejected), reasons.is_known(rejected), reasons.repeated_count] == [False, False, 0]


def test_a_speed_is_said_as_how_many_times_as_fast() -> None:
    assert speed_text(0.5) == speed_text(Comparison(0.5, 0.4, 0.6, Outcome.FASTER, 12)) == "2.00x as fast"
    assert speed_text(None) == "1.00x as fast"


@pytest.mark.parametrize(("stopped", "said"), [(TIME_UP, " The time for trials was up: go on."), ("nothing new was left to try", "")])
def test_that_more_time_may_help_is_said_where_it_may(stopped: str, said: str) -> None:
    assert unfinished_text(SearchResult((), "a", "a", (), Objective.LATENCY, 0, 60.0, 60.0, stopped), "go on.") == said
    assert unfinished_text(None, "go on.") == ""
