"""Who shares a call with whom, whether to wait for more, and what calls are expected to take."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.serve.batching import BatchPolicy, Caution, Moment, ServiceTimes, compose, hold_s


@dataclass(frozen=True, eq=False)
class Item:
    key: str
    rows: int


ITEMS = st.lists(st.builds(Item, st.sampled_from("ab"), st.integers(1, 9)), max_size=30)
PREFERRED = st.lists(st.integers(1, 20), max_size=3)


@given(ITEMS, st.integers(1, 20), PREFERRED)
def test_nobody_is_lost_taken_twice_or_overtaken_by_an_equal(waiting, limit, preferred) -> None:
    rest, served = list(waiting), []
    while rest:
        batch, left = compose(rest, limit, preferred)
        assert batch[0] is rest[0]  # the first one is always served
        assert sorted(map(id, batch + left)) == sorted(map(id, rest))
        assert left == [item for item in rest if item in left]  # what is left keeps its order
        served += batch
        rest = left
    for key in "ab":
        assert [item for item in served if item.key == key] == [item for item in waiting if item.key == key]


@given(ITEMS, st.integers(1, 20), PREFERRED)
def test_a_batch_has_one_key_and_exceeds_its_limit_only_with_a_single_request(waiting, limit, preferred) -> None:
    batch, _ = compose(waiting, limit, preferred)
    assert len({item.key for item in batch}) <= 1
    assert len(batch) <= 1 or sum(item.rows for item in batch) <= limit


@given(ITEMS, st.integers(1, 20))
def test_a_batch_is_as_large_as_its_limit_and_its_order_allow(waiting, limit) -> None:
    batch, left = compose(waiting, limit)
    same = [item for item in left if batch and item.key == batch[0].key]
    assert not same or sum(item.rows for item in batch) + same[0].rows > limit


def test_a_batch_stops_at_the_largest_preferred_size_that_it_reaches() -> None:
    waiting = [Item("a", 1) for _ in range(7)]
    batch, left = compose(waiting, 64, (2, 4))
    assert (len(batch), len(left)) == (4, 3)
    assert compose(left, 64, (2, 4))[0] == left[:2]
    assert compose(left[:1], 64, (2, 4)) == (left[:1], [])  # none is reached: take what there is


def test_requests_of_another_key_wait_for_the_next_call_in_their_place() -> None:
    first, other, third = Item("a", 1), Item("b", 1), Item("a", 1)
    assert compose([first, other, third], 8) == ([first, third], [other])


MOMENT = Moment(request_count=1, waited_s=0.0, gap_s=0.001, service_s=0.050, has_spare_slot=False)


def changed(**changes) -> Moment:
    return Moment(**{name: changes.get(name, getattr(MOMENT, name)) for name in MOMENT.__dataclass_fields__})


def test_a_batch_waits_where_the_next_request_comes_soon_and_a_call_is_long() -> None:
    assert 0 < hold_s(BatchPolicy(max_delay_ms=5), MOMENT) <= 0.005


@pytest.mark.parametrize(
    "moment",
    [
        changed(gap_s=10.0),  # an idle server
        changed(gap_s=math.inf),  # the first request of all
        changed(service_s=0.0005),  # over before anybody comes
        changed(has_spare_slot=True),  # who comes next begins at once
        changed(waited_s=0.005),  # it has waited as long as it may
        changed(request_count=100),  # a hundred would wait so that one need not
    ],
)
def test_a_batch_begins_at_once_where_waiting_does_not_pay(moment) -> None:
    assert hold_s(BatchPolicy(max_delay_ms=5), moment) == 0.0


@given(st.integers(1, 64), st.floats(0, 1), st.floats(1e-6, 10), st.floats(0, 10), st.booleans(), st.floats(0, 100))
def test_nobody_ever_waits_longer_than_the_limit(count, waited, gap, service, has_spare, limit_ms) -> None:
    hold = hold_s(BatchPolicy(max_delay_ms=limit_ms), Moment(count, waited, gap, service, has_spare))
    assert hold == 0 or waited + hold <= limit_ms / 1e3 + 1e-9


def taught(per_row: dict[int, float], row_elements: int = 10, times: int = 6) -> ServiceTimes:
    """What is known after calls of so many rows that took so long per row."""
    learned = ServiceTimes()
    for rows, row_ms in per_row.items():
        for _ in range(times):
            learned.note(rows * row_elements, rows * row_ms)
    return learned


def test_nothing_is_expected_before_the_first_call() -> None:
    assert ServiceTimes().expect_ms(10) is None


def test_an_unknown_size_is_expected_to_be_no_faster_than_what_is_known() -> None:
    learned = taught({4: 1.0})
    assert learned.expect_ms(40) == pytest.approx(4.0)
    assert learned.expect_ms(640) == pytest.approx(64.0)
    assert learned.expect_ms(1) > 1.0


def test_the_first_call_of_a_size_which_is_cold_is_soon_forgotten_and_a_lasting_change_is_learned() -> None:
    learned = ServiceTimes()
    learned.note(10, 100.0)
    learned.note(10, 1.0)
    assert learned.expect_ms(10) == pytest.approx(1.0)
    for _ in range(60):
        learned.note(10, 5.0)
    assert learned.expect_ms(10) == pytest.approx(5.0, rel=0.02)


def test_batches_grow_while_a_row_becomes_cheaper_and_no_further() -> None:
    assert taught({1: 1.0, 2: 0.6, 4: 0.4, 8: 0.39, 16: 0.38}).useful_rows(10, 64) == 7
    assert taught({1: 10.0, 2: 10.0}).useful_rows(10, 64) == 1


def test_the_next_larger_size_is_tried_where_it_is_unknown_or_it_is_time_to_look_again() -> None:
    assert taught({1: 1.0}).useful_rows(10, 64) == 3
    assert taught({1: 10.0, 2: 10.0}).useful_rows(10, 64, is_exploring=True) == 2


@given(st.dictionaries(st.sampled_from([1, 2, 4, 8, 16, 32, 64]), st.floats(0.001, 10)), st.integers(1, 64), st.booleans())
def test_a_useful_size_stays_between_one_and_its_limit(per_row, limit, is_exploring) -> None:
    assert 1 <= taught(per_row, times=1).useful_rows(10, limit, is_exploring=is_exploring) <= limit


@given(st.dictionaries(st.sampled_from([1, 2, 4, 8, 16, 32, 64]), st.floats(0.001, 10)), st.integers(1, 64))
def test_rows_within_a_time_are_expected_to_take_no_longer(per_row, limit) -> None:
    learned = taught(per_row, times=1)
    rows = learned.rows_within(10, limit, 5.0)
    assert 1 <= rows <= limit
    assert rows == 1 or (learned.expect_ms(rows * 10) or 0.0) <= 5.0


def test_a_size_that_was_slow_once_is_tried_again_when_it_is_time_to_look() -> None:
    learned = taught({1: 0.1, 2: 0.1, 4: 0.1, 8: 0.1}, times=4)
    learned.note(16 * 10, 50.0)  # cold, or disturbed
    assert learned.rows_within(10, 64, 4.0) == 8
    assert learned.rows_within(10, 64, 4.0, is_exploring=True) == 16
    learned.note(16 * 10, 1.6)
    assert learned.rows_within(10, 64, 4.0) == 32
    assert learned.rows_within(10, 24, 4.0, is_exploring=True) <= 24


def test_caution_lasts_for_many_quick_calls_and_twice_as_many_each_time() -> None:
    caution = Caution()
    assert not caution.is_on
    for span in (32, 64, 128):
        caution.held()
        for _ in range(span):
            assert caution.is_on
            caution.ran_beside(1.0)
        assert not caution.is_on


def test_a_slow_call_beside_the_loop_keeps_caution_on() -> None:
    caution = Caution()
    caution.held()
    for _ in range(31):
        caution.ran_beside(1.0)
    caution.ran_beside(50.0)
    for _ in range(32):
        assert caution.is_on
        caution.ran_beside(1.0)
    assert not caution.is_on


def test_what_a_larger_call_takes_at_least_is_what_smaller_ones_took() -> None:
    times = ServiceTimes()
    assert times.at_least_ms(100) is None
    times.note(64, 6.4)
    assert times.at_least_ms(32) is None
    assert times.at_least_ms(64) == pytest.approx(6.4)
    assert times.at_least_ms(10**9) == pytest.approx(12.7)
