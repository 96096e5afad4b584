"""When a call counts as hung, and when a dead process is replaced: pure decisions."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fairlead.serve.workers.policy import CallLimits, Restarts


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_call_of_the_expected_size_may_take_a_hundred_times_the_expected_time_and_never_less_than_a_floor() -> None:
    limits = CallLimits(row_ms=100.0, row_bytes=1000)
    assert limits.seconds(1000, 1) == 10.0
    assert limits.seconds(8000, 8) == 80.0
    assert CallLimits(row_ms=0.01, row_bytes=1000).seconds(1000, 1) == 2.5


def test_longer_rows_are_given_time_by_the_square_of_their_length() -> None:
    limits = CallLimits(row_ms=100.0, row_bytes=1000)
    assert limits.seconds(10_000, 1) == 1000.0
    assert limits.seconds(10, 1) == 10.0  # shorter ones are not hurried


def test_without_golden_requests_the_limit_is_that_of_resident_processes() -> None:
    assert CallLimits().seconds(10**9, 100) == 40.0


def test_a_limit_that_was_set_holds() -> None:
    assert CallLimits(fixed_s=7.0, row_ms=1e6).seconds(10**9, 100) == 7.0


@given(
    st.lists(st.tuples(st.integers(1, 10**9), st.integers(1, 10**6), st.floats(0.001, 1e6)), max_size=20),
    st.integers(1, 10**9),
    st.integers(1, 10**6),
)
def test_what_was_answered_never_makes_a_limit_shorter(answers, size, rows) -> None:
    limits = CallLimits(row_ms=1.0, row_bytes=64)
    before = limits.seconds(size, rows)
    for answered_size, answered_rows, took_ms in answers:
        limits.learn(answered_size, answered_rows, took_ms)
        assert limits.seconds(answered_size, answered_rows) >= took_ms / 1e3
    assert limits.seconds(size, rows) >= before


def test_the_first_death_is_made_good_at_once() -> None:
    assert Restarts(2, Clock()).delay_s(was_asked=True) == 0.0
    assert Restarts(2, Clock()).delay_s(was_asked=False) == 0.0


def test_what_dies_before_it_is_asked_is_started_ever_later_and_then_no_more() -> None:
    restarts = Restarts(1, Clock())
    assert [restarts.delay_s(was_asked=False) for _ in range(6)] == [0.0, 0.5, 1.0, 2.0, 4.0, None]


def test_an_answer_makes_up_for_deaths() -> None:
    clock = Clock()
    restarts = Restarts(1, clock)
    for _ in range(50):
        for _ in range(4):
            assert restarts.delay_s(was_asked=False) is not None
        restarts.succeed()
        clock.now += 60


def test_requests_that_kill_never_end_a_version_but_are_slowed_down() -> None:
    clock = Clock()
    restarts = Restarts(2, clock)
    delays = [restarts.delay_s(was_asked=True) for _ in range(100)]
    assert delays[:16] == [0.0] * 16
    assert set(delays[16:]) == {1.0}
    clock.now += 31
    assert restarts.delay_s(was_asked=True) == 0.0


def test_a_kill_every_five_seconds_is_made_good_at_once_for_ever() -> None:
    clock = Clock()
    restarts = Restarts(1, clock)
    for _ in range(720):
        clock.now += 5
        assert restarts.delay_s(was_asked=True) == 0.0
        restarts.succeed()
