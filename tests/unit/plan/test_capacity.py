"""How many servers: the answer keeps the promise, the next smaller one does not, and what cannot be kept is said."""

from __future__ import annotations

import dataclasses

import pytest
from capacity_examples import COSTS, SHARED, SMALL, STEADY, profile_of
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.core.capacity import Demand, ServerShape
from fairlead.errors import RequirementError
from fairlead.plan.capacity import USUAL_COSTS, ReplicaModel, max_rate, size, usual_costs

ONE = ServerShape()


def test_a_load_that_one_server_carries_needs_one():
    plan = size(SMALL, Demand(1000, 5), COSTS, [ONE])
    assert plan.replica_count == 1
    assert plan.at_load.p99_ms < 5
    assert plan.max_rate_rps > 1000
    assert plan.core_count == 1
    assert "1 server of 1 core for 1,000 requests/s" in plan.sentence


def test_as_many_servers_as_needed_keep_the_promise_and_one_less_does_not():
    demand = Demand(2000, 40)
    plan = size(STEADY, demand, COSTS, [ONE])
    model = ReplicaModel(STEADY, COSTS, ONE)
    assert plan.replica_count > 5
    assert model.operation(2000 / plan.replica_count).p99_ms <= 40
    assert model.operation(2000 / (plan.replica_count - 1)).p99_ms > 40
    assert plan.max_rate_rps >= 2000


def test_a_promise_that_no_server_keeps_is_refused_with_the_one_that_could_be_kept():
    with pytest.raises(RequirementError, match=r"A p99 of 3 ms cannot be kept by any number of servers") as caught:
        size(STEADY, Demand(10, 3), COSTS, [ONE])
    assert "Allow at least" in caught.value.hint
    allowed = float(caught.value.hint.split()[3])
    assert size(STEADY, Demand(1, allowed), COSTS, [ONE]).replica_count == 1


def test_the_shape_with_the_fewest_cores_wins():
    two = profile_of(lambda rows: 5.0 * rows)
    points = (*two.points, *(dataclasses.replace(point, thread_count=4, mean_ms=point.mean_ms / 2) for point in two.points))
    points = tuple(
        dataclasses.replace(point, sample_ms=tuple(value / 2 for value in point.sample_ms)) if point.thread_count == 4 else point
        for point in points
    )
    profile = dataclasses.replace(two, points=points)
    shapes = [ONE, ServerShape(thread_count=4)]
    assert size(profile, Demand(500, 60), COSTS, shapes).shape.thread_count == 1
    assert size(profile, Demand(20, 7), COSTS, shapes).shape.thread_count == 4, "one thread is too slow for 7 ms"


def test_short_calls_run_in_the_loop_with_as_many_rows_as_take_four_milliseconds():
    assert ReplicaModel(SMALL, COSTS, ONE).is_inline
    assert ReplicaModel(SMALL, COSTS, ONE).batch_limit == 64
    slower = profile_of(lambda rows: 0.5 * rows)
    assert ReplicaModel(slower, COSTS, ONE).batch_limit == 8
    assert ReplicaModel(SMALL, COSTS, ONE, rows=16).batch_limit == 4


def test_long_calls_are_shared_only_where_a_larger_one_makes_a_row_cheaper():
    assert not ReplicaModel(STEADY, COSTS, ONE).is_inline
    assert ReplicaModel(STEADY, COSTS, ONE).batch_limit == 1
    assert ReplicaModel(SHARED, COSTS, ONE).batch_limit > 16
    assert ReplicaModel(SHARED, COSTS, ServerShape(batch_rows_limit=4)).batch_limit == 4


def test_bursts_and_slow_seconds_need_more_servers():
    calm = size(STEADY, Demand(1000, 120), COSTS, [ONE]).replica_count
    assert size(STEADY, Demand(1000, 120, burst_ratio=3), COSTS, [ONE]).replica_count > calm
    drifting = dataclasses.replace(STEADY, drift=(0.8, 0.9, 1.3))
    plan = size(drifting, Demand(1000, 120), COSTS, [ONE])
    assert plan.replica_count > calm
    assert any("1.30 times slower" in note for note in plan.notes)


def test_predicted_calls_are_said_to_be_predicted():
    plan = size(dataclasses.replace(STEADY, is_measured=False), Demand(10, 60), COSTS, [ONE])
    assert any("predicted, not measured" in note for note in plan.notes)


@settings(max_examples=10, deadline=None)
@given(st.floats(1.5, 20.0), st.floats(1.2, 3.0))
def test_a_looser_promise_never_allows_less(factor, looser):
    model = ReplicaModel(STEADY, COSTS, ONE)
    tight = max_rate(model, Demand(1, 5.5 * factor))
    loose = max_rate(model, Demand(1, 5.5 * factor * looser))
    assert tight is not None
    assert loose is not None
    assert loose.rate_rps >= tight.rate_rps * 0.98  # the search ends 2 % wide
    assert tight.p99_ms <= 5.5 * factor


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((0, 5), "0 requests per second"),
        ((float("nan"), 5), "nan requests per second"),
        ((10, -1), "p99 of -1 ms"),
        ((10, 5, 0), "0 rows"),
        ((10, 5, 1, 0.5), "burst ratio of 0.5"),
    ],
)
def test_a_demand_that_makes_no_sense_is_refused(values, words):
    with pytest.raises(RequirementError, match=words):
        Demand(*values)


def test_larger_requests_cost_more_by_what_was_measured_and_smaller_ones_no_less():
    assert usual_costs(30) == usual_costs(4) == USUAL_COSTS
    image = usual_costs(784)
    assert (image.request_ms, image.round_ms, image.path_ms) == pytest.approx((0.16, 0.18, USUAL_COSTS.path_ms))
    assert USUAL_COSTS.request_ms < usual_costs(400).request_ms < image.request_ms < usual_costs(3072).request_ms
    assert "784 numbers" in image.source


def test_more_servers_are_needed_for_larger_requests():
    demand = Demand(20_000, 5)
    small, large = (size(SMALL, demand, usual_costs(numbers), [ONE]).replica_count for numbers in (30, 784))
    assert large > small
