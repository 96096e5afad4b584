"""Halves come in any order, twice or never: each pair is made once, and what waits stays within its bounds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.cloud_event import cloud_event
from fairlead.serve.collect.pairing import Fate, Half, Pairs

REQUEST, ANSWER = "org.kubeflow.serving.inference.request", "org.kubeflow.serving.inference.response"


def half(name: str, kind: str, now: float = 0.0, data: bytes = b"{}") -> Half:
    return Half(cloud_event({"specversion": "1.0", "id": name, "type": kind}, data), None, now)


def pairs(**changes) -> Pairs:
    return Pairs(**{"wait_s": 10.0, "bytes_limit": 2**20, **changes})


def test_a_pair_is_made_in_either_order_and_only_once() -> None:
    for first, second in ((REQUEST, ANSWER), (ANSWER, REQUEST)):
        table = pairs()
        assert table.offer(half("a", first)).fate is Fate.WAITS
        made = table.offer(half("a", second))
        assert made.fate is Fate.PAIRED
        assert made.other.event.attributes["type"] == first
        assert table.waiting_count == table.waiting_bytes == 0
        assert table.offer(half("a", first)).fate is table.offer(half("a", second)).fate is Fate.REPEATED


def test_a_half_that_comes_twice_waits_once() -> None:
    table = pairs()
    assert table.offer(half("a", REQUEST, data=b"first")).fate is Fate.WAITS
    assert table.offer(half("a", REQUEST, data=b"second")).fate is Fate.REPEATED
    assert table.offer(half("a", ANSWER)).other.event.data == b"first"


def test_what_waited_too_long_is_given_up_and_its_other_half_is_late() -> None:
    table = pairs()
    table.offer(half("a", REQUEST, now=0.0))
    table.offer(half("b", REQUEST, now=5.0))
    assert table.expired(9.9, 100) == []
    assert [item.event.request_id for item in table.expired(10.0, 100)] == ["a"]
    assert table.offer(half("a", ANSWER, now=11.0)).fate is Fate.LATE
    assert [item.event.request_id for item in table.rest(100)] == ["b"]
    assert table.waiting_bytes == 0


def test_the_oldest_make_room_by_number_and_by_bytes() -> None:
    table = pairs(count_limit=2)
    crowded = [item for name in "abcd" for item in table.offer(half(name, REQUEST)).crowded_out]
    assert [item.event.request_id for item in crowded] == ["a", "b"]
    small = pairs(bytes_limit=10_000)
    small.offer(half("a", REQUEST))
    large = small.offer(half("b", REQUEST, data=b"x" * 20_000))
    assert [item.event.request_id for item in large.crowded_out] == ["a", "b"]  # what never fits does not wait
    assert small.waiting_bytes == 0


def test_what_is_remembered_of_the_past_is_bounded() -> None:
    table = pairs(memory_count=2)
    for name in "abc":
        table.offer(half(name, REQUEST))
        table.offer(half(name, ANSWER))
    assert table.offer(half("c", REQUEST)).fate is Fate.REPEATED
    assert table.offer(half("a", REQUEST)).fate is Fate.WAITS


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from([REQUEST, ANSWER]), st.floats(0.0, 3.0)), max_size=60))
def test_whatever_comes_no_pair_is_made_twice_and_no_bound_is_broken(coming: list[tuple[str, str, float]]) -> None:
    table, now, made = pairs(count_limit=3, bytes_limit=7000), 0.0, []
    for name, kind, wait in coming:
        now += wait
        offered = table.offer(half(name, kind, now))
        if offered.fate is Fate.PAIRED:
            made.append(name)
            assert offered.other.event.attributes["type"] != kind
        table.expired(now, 100)
        assert table.waiting_count <= 3
        assert table.waiting_bytes <= 7000
    assert len(set(made)) == len(made)
    table.rest(100)
    assert (table.waiting_count, table.waiting_bytes) == (0, 0)
