"""Who is held against the rows of the verdict: the best first, then those that do not fall with it."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from fairlead.app.search_finish import Contender, looks
from fairlead.core.plan import Candidate
from fairlead.core.search import PointStatus, SearchPoint
from fairlead.optimize.search.front import Finding


def contender(name: str, flips: float) -> Contender:
    candidate = Candidate(name, (name,), "onnxruntime", 1, "")
    point = SearchPoint(candidate, name, PointStatus.KEPT, values={"decision_flips": flips})
    return Contender(candidate, Finding((), holds_floor=True, size_bytes=1, time_ratio=1.0, is_slower=False), point, Path(name))


def names(found: list[Contender]) -> list[str]:
    return [one.candidate.name for one in found]


def test_after_a_red_verdict_a_model_that_decides_more_like_the_original_has_its_turn() -> None:
    order = [
        contender("cut90", 20),
        contender("cut90-int8", 21),
        contender("cut90-int4", 20),
        contender("narrow", 9),
        contender("cut50", 4),
    ]
    assert names(looks(order, 4)) == ["cut90", "narrow", "cut50", "cut90-int8"]
    assert names(looks(order, 2)) == ["cut90", "narrow"]
    assert looks([], 4) == []


def test_where_none_is_safer_the_order_stays() -> None:
    order = [contender("a", 4), contender("b", 4), contender("c", 3)]
    assert names(looks(order, 4)) == ["a", "b", "c"]


@given(st.lists(st.integers(0, 50), max_size=12), st.integers(1, 12))
def test_nobody_looks_twice_and_the_best_looks_first(flips: list[int], count: int) -> None:
    order = [contender(str(place), float(number)) for place, number in enumerate(flips)]
    found = names(looks(order, count))
    assert len(set(found)) == len(found) == min(count, len(order))
    assert found[:1] == names(order[:1])
