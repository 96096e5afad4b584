"""What a server costs, told from loads."""

from __future__ import annotations

import pytest
from capacity_examples import profile_of

from fairlead.errors import SpecError
from fairlead.plan.server_costs import ObservedLoad, fit_costs

CALLS = profile_of(lambda rows: 0.01 + 0.002 * rows, cv=0.0)


def load(per_call: float, *, request_ms: float, round_ms: float, p50_ms: float = 1.0, count: int = 1000) -> ObservedLoad:
    calls = round(count / per_call)
    spent = calls * (round_ms + CALLS.mean_ms(round(per_call), 1)) + count * request_ms
    return ObservedLoad(count, calls, spent / 1e3, p50_ms)


def test_costs_come_back_from_the_processor_time_that_they_made():
    loads = [load(per_call, request_ms=0.06, round_ms=0.1, p50_ms=0.4) for per_call in (1, 2, 8)]
    costs = fit_costs(loads, CALLS, source="here")
    assert (costs.request_ms, costs.round_ms) == pytest.approx((0.06, 0.1))
    assert costs.path_ms == pytest.approx(0.4 - 0.16 - 0.012)
    assert costs.source == "here"


@pytest.mark.parametrize(("request_ms", "round_ms"), [(0.0, 0.1), (0.1, 0.0)])
def test_a_cost_that_is_not_there_is_zero_and_not_less(request_ms, round_ms):
    loads = [load(1, request_ms=request_ms, round_ms=round_ms), load(4, request_ms=request_ms * 1.01, round_ms=round_ms * 0.99)]
    costs = fit_costs(loads, CALLS)
    assert min(costs.request_ms, costs.round_ms) >= 0
    assert costs.request_ms + costs.round_ms == pytest.approx(0.1, rel=0.1)


def test_an_engine_that_explains_all_leaves_no_cost():
    loads = [ObservedLoad(100, 100, 0.0005, 0.0), ObservedLoad(100, 25, 0.0004, 0.0)]
    costs = fit_costs(loads, CALLS)
    assert (costs.request_ms, costs.round_ms, costs.path_ms) == (0.0, 0.0, 0.0)


def test_loads_that_are_alike_tell_nothing():
    with pytest.raises(SpecError, match="too alike"):
        fit_costs([load(1, request_ms=0.06, round_ms=0.1), load(1, request_ms=0.06, round_ms=0.1)], CALLS)


def test_a_load_in_which_nothing_was_asked_is_refused():
    with pytest.raises(SpecError, match="nothing was asked"):
        fit_costs([load(1, request_ms=0.06, round_ms=0.1), ObservedLoad(0, 0, 0.0, 0.0)], CALLS)
