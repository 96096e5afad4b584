"""Who is held against the rows of the verdict: the best first, then those that do not fall with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.app.search_finish import Contender, in_order, looks, measure_what_could_give, settled, turns
from fairlead.core.pass_use import parse_passes
from fairlead.core.plan import Candidate
from fairlead.core.requirement import parse_requirements
from fairlead.core.search import Objective, PointStatus, SearchPoint
from fairlead.errors import UnavailableError
from fairlead.optimize.search.front import Finding

_LATENCY = Objective.LATENCY


def contender(
    name: str, flips: float = 0.0, *, time: float = 1.0, holds: bool = True, shortfall: float = 0.0, passes: str = ""
) -> Contender:
    candidate = Candidate(name, (name,), "onnxruntime", 1, "")
    point = SearchPoint(candidate, name, PointStatus.KEPT, values={"decision_flips": flips})
    finding = Finding(parse_passes(passes), holds, size_bytes=1, time_ratio=time, shortfall=shortfall)
    return Contender(candidate, finding, point, Path(name))


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


def test_who_loses_too_much_comes_last_and_is_there_still() -> None:
    order = in_order([contender("plain", holds=False), contender("faster", time=0.5, holds=False), contender("kept", time=2.0)], _LATENCY)
    assert names(order) == ["kept", "faster", "plain"]


@pytest.mark.parametrize("holds", [True, False])
def test_a_model_that_loses_too_much_is_never_compared_for_the_first_place(holds: bool) -> None:
    order = [contender("first", holds=holds, shortfall=1.0), contender("lossy", holds=False, shortfall=1.0)]
    assert names(settled(order, _LATENCY, SimpleNamespace(may_compare=True))) == ["first", "lossy"]  # a comparison would find no meter


def test_compressed_models_are_proven_before_the_untouched_ones_that_they_beat() -> None:
    small = [contender(str(flips), flips, passes="store_int8") for flips in range(6)]
    order = [*small, contender("plain"), contender("slow", passes="store_fp16"), contender("other engine")]
    assert names(turns(order, 4)) == ["0", "1", "2", "3", "plain", "other engine"]


def test_an_untouched_model_that_lost_too_much_by_luck_has_its_turn_in_the_end() -> None:
    small, plain = contender("small", passes="store_int8"), contender("plain", holds=False)
    assert names(turns([small, plain, contender("second", holds=False)], 4)) == ["small", "plain"]
    assert names(turns([small, contender("too large", shortfall=1.0)], 4)) == ["small"]
    assert names(turns([small, contender("too large", holds=False, shortfall=1.0)], 4)) == ["small"]


def test_where_nobody_keeps_everything_the_first_is_proven_for_the_ledger() -> None:
    assert names(turns([contender("near", passes="store_int8", shortfall=0.1), contender("plain", shortfall=2.0)], 4)) == ["near"]
    assert names(turns([contender("plain", holds=False)], 4)) == ["plain"]


def test_a_model_that_cannot_be_measured_any_more_stays_undecided_and_the_others_are_measured() -> None:
    def measure(candidate: Candidate, _model: object) -> SimpleNamespace:
        if candidate.name == "dead":
            raise UnavailableError("The runtime is gone.")
        return SimpleNamespace(values={"p50_ms": 3.0})

    points = [replace(contender(name).point, values={"accuracy": 0.9}) for name in ("dead", "alive")]
    made = {point.candidate.passes: (Path("m.onnx"), ()) for point in points}
    plan = SimpleNamespace(requirements=parse_requirements(["accuracy>=0.95", "p50_ms<=1"]))
    setup = SimpleNamespace(trial=SimpleNamespace(plan=plan))
    trials = SimpleNamespace(points=points, made=made, setup=setup, has_time=True, meter=SimpleNamespace(measure=measure))
    measure_what_could_give(trials)  # type: ignore[arg-type]
    assert [point.values for point in trials.points] == [{"accuracy": 0.9}, {"accuracy": 0.9, "p50_ms": 3.0}]


@given(st.lists(st.integers(0, 50), max_size=12), st.integers(1, 12))
def test_nobody_looks_twice_and_the_best_looks_first(flips: list[int], count: int) -> None:
    order = [contender(str(place), float(number)) for place, number in enumerate(flips)]
    found = names(looks(order, count))
    assert len(set(found)) == len(found) == min(count, len(order))
    assert found[:1] == names(order[:1])
