import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.errors import DeadlineError, OverloadedError
from fairlead.serve.admission import check_deadline, check_place, expected_wait_s, level_of, retry_after_s


def test_priorities_are_served_from_one_upwards_and_the_default_last() -> None:
    assert sorted([0, 3, 1, 7, 2], key=level_of) == [1, 2, 3, 7, 0]


@given(st.integers(0, 10_000), st.integers(1, 10_000))
def test_exactly_the_places_that_there_are_can_be_taken(taken, limit) -> None:
    if taken < limit:
        check_place("m", taken, limit, 0.0)
    else:
        with pytest.raises(OverloadedError):
            check_place("m", taken, limit, 0.0)


@given(st.floats(0, 1e6))
def test_asking_again_is_suggested_for_when_the_queue_is_served(wait_s) -> None:
    assert 1 <= retry_after_s(wait_s) <= 60
    assert retry_after_s(wait_s) >= min(wait_s, 60)


def test_a_refusal_says_when_to_ask_again() -> None:
    with pytest.raises(OverloadedError) as caught:
        check_place("m", 8, 8, expected_wait_s(elements=1000, element_ms=7.0, slot_count=2))
    assert caught.value.retry_after_s == 4


def test_who_cannot_begin_in_time_is_refused_at_once_and_who_is_late_is_told() -> None:
    check_deadline(math.inf, 100.0, 1e6)
    check_deadline(110.0, 100.0, 9.0)
    with pytest.raises(OverloadedError, match="would wait about 11"):
        check_deadline(110.0, 100.0, 11.0)
    with pytest.raises(DeadlineError):
        check_deadline(100.0, 100.0, 0.0)
