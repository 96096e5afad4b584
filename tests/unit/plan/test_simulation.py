"""The simulation: seeded, and in agreement with the formula where both say what the server does."""

from __future__ import annotations

import numpy as np
import pytest
from capacity_examples import COSTS, SHARED, SMALL, STEADY

from fairlead.core.capacity import ServerShape
from fairlead.plan.capacity import ReplicaModel
from fairlead.plan.simulation import Balancing, draw_arrivals, simulate


def test_equal_seeds_give_equal_answers_and_others_do_not():
    model = ReplicaModel(SMALL, COSTS, ServerShape())
    first, again, other = (simulate(model, 2000, seed=seed, request_count=2000).latency_ms for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other[: len(first)])


def test_arrivals_have_their_rate_and_groups_their_size():
    single, grouped = (draw_arrivals(1000, 20_000, seed=3, burst_ratio=burst) for burst in (1.0, 5.0))
    assert len(single) == len(grouped) == 20_000
    assert single[-1] == pytest.approx(20_000, rel=0.05)
    assert grouped[-1] == pytest.approx(20_000, rel=0.1)
    assert len(np.unique(grouped)) == pytest.approx(4000, rel=0.1)
    assert len(np.unique(single)) == 20_000


@pytest.mark.parametrize("profile", [SMALL, STEADY, SHARED], ids=["in the loop", "beside it, alone", "beside it, shared"])
@pytest.mark.parametrize("share", [0.4, 0.7])
def test_formula_and_simulation_agree(profile, share):
    model = ReplicaModel(profile, COSTS, ServerShape())
    rate = model.peak_rps * share
    seen, said = simulate(model, rate, seed=1, request_count=40_000), model.operation(rate)
    assert said.p50_ms == pytest.approx(seen.percentile_ms(50), rel=0.12)
    assert said.p99_ms == pytest.approx(seen.percentile_ms(99), rel=0.15)
    assert said.batch_rows == pytest.approx(float(seen.call_rows.mean()), rel=0.08)


@pytest.mark.parametrize("burst", [3.0, 6.0])
def test_they_agree_on_bursts(burst):
    model = ReplicaModel(SMALL, COSTS, ServerShape(), burst_ratio=burst)
    rate = model.peak_rps * 0.4
    seen, said = simulate(model, rate, seed=1, request_count=40_000), model.operation(rate)
    assert said.p99_ms == pytest.approx(seen.percentile_ms(99), rel=0.15)


def test_two_slots_answer_twice_as_much_as_one():
    one, two = (ReplicaModel(STEADY, COSTS, ServerShape(slot_count=count)) for count in (1, 2))
    seen = [simulate(model, model.peak_rps * 0.6, seed=1, request_count=20_000).percentile_ms(99) for model in (one, two)]
    assert two.peak_rps == pytest.approx(2 * one.peak_rps)
    assert seen[1] < seen[0]
    assert two.operation(two.peak_rps * 0.6).p99_ms == pytest.approx(seen[1], rel=0.15)


def test_requests_that_come_in_turns_wait_less_than_requests_at_random():
    model = ReplicaModel(STEADY, COSTS, ServerShape())
    rate = 3 * model.peak_rps * 0.7
    random, turns = (
        simulate(model, rate, seed=1, request_count=30_000, replica_count=3, balancing=kind).percentile_ms(99) for kind in Balancing
    )
    assert turns < random
    assert model.operation(rate / 3).p99_ms == pytest.approx(random, rel=0.15)


def test_a_server_under_more_than_it_can_carry_refuses_the_rest():
    model = ReplicaModel(STEADY, COSTS, ServerShape(queue_limit=16))
    seen, said = simulate(model, model.peak_rps * 2, seed=1, request_count=10_000), model.operation(model.peak_rps * 2)
    assert said.loss_ratio == pytest.approx(0.5, abs=0.03)
    assert seen.loss_ratio == pytest.approx(said.loss_ratio, abs=0.05)
