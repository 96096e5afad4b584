"""Values of any model: exact where every set is tried, within their bounds where orders are drawn, adding up in both cases."""

from __future__ import annotations

import numpy as np
import pytest
from explained_models import FunctionEngine, number_engine, regression, shapley_by_definition
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.core.explanation import Subject
from fairlead.core.interface import Array
from fairlead.errors import DataError, DeadlineError
from fairlead.explain.game import Game
from fairlead.explain.hiding import hiding_of
from fairlead.explain.shapley import FEWEST_PAIRS, Budget, can_enumerate, enumerate_shapley, sample_shapley, t_quantile

SUBJECT = Subject("y", 0, "y")


def curved(x: Array) -> Array:
    return x[:, 0] * x[:, 1] + np.sin(x[:, 2] * x[:, 3]) + 3 * (x[:, 0] > 1) * x[:, 2] + x[:, 3]


def game(seed: int, *, features: int = 4, engine: FunctionEngine | None = None, count: int = 9) -> Game:
    random = np.random.default_rng(seed)
    engine = engine or number_engine(features, curved)
    rows = random.normal(size=(count + 1, features)).astype(np.float32)
    return Game(engine, hiding_of(engine.interface, {"x": rows[:1]}, {"x": rows[1:]}), SUBJECT)


class Ticking:
    """A clock that goes on by `step_s` with every look."""

    def __init__(self, step_s: float) -> None:
        self.now, self.step_s = 0.0, step_s

    def __call__(self) -> float:
        self.now += self.step_s
        return self.now


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_trying_every_set_gives_the_definition(seed: int) -> None:
    asked = game(seed)
    found = enumerate_shapley(asked)

    def worth(known: Array) -> float:
        return float(asked.worths(np.repeat(known[np.newaxis], 9, axis=0), np.arange(9)).mean())

    assert np.abs(found.weights - shapley_by_definition(worth, 4)).max() < 1e-9
    assert abs(found.output - found.base - found.weights.sum()) < 1e-9
    assert not found.bounds.any()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), pairs=st.integers(FEWEST_PAIRS, 200))
def test_estimates_add_up_whatever_the_number_of_orders(seed: int, pairs: int) -> None:
    found = sample_shapley(game(seed), Budget(lambda: 0.0, pair_limit=pairs), seed)
    assert found.pair_count == pairs
    assert abs(found.output - found.base - found.weights.sum()) < 1e-9


def test_bounds_hold_for_at_least_95_of_100_rows() -> None:
    held = 0
    for seed in range(100):
        asked = game(seed)
        exact, found = enumerate_shapley(asked), sample_shapley(asked, Budget(lambda: 0.0, pair_limit=40), seed)
        held += bool((np.abs(exact.weights - found.weights) <= found.bounds).all())
    assert held >= 95


def test_a_feature_that_matters_in_one_row_of_fifty_is_not_called_sure() -> None:
    engine = number_engine(3, lambda x: x[:, 0] + 50.0 * (x[:, 1] > 2.0))
    background = np.zeros((50, 3), dtype=np.float32)
    background[7, 1] = 3.0
    asked = Game(engine, hiding_of(engine.interface, {"x": np.zeros((1, 3), np.float32)}, {"x": background}), SUBJECT)
    found = sample_shapley(asked, Budget(lambda: 0.0, pair_limit=8), 0)
    assert abs(enumerate_shapley(asked).weights[1] - found.weights[1]) <= found.bounds[1]


def test_the_same_seed_draws_the_same_orders() -> None:
    one, other = (sample_shapley(game(3), Budget(lambda: 0.0, pair_limit=20), 5).weights for _ in range(2))
    assert np.array_equal(one, other)


def test_a_single_feature_has_the_whole_difference() -> None:
    engine = number_engine(1, lambda x: x[:, 0] ** 2)
    found = sample_shapley(game(0, features=1, engine=engine), Budget(lambda: 0.0, pair_limit=9), 0)
    assert found.weights.shape == (1,)
    assert found.weights[0] == pytest.approx(found.output - found.base)


def test_a_model_that_is_too_slow_for_an_estimate_says_so() -> None:
    clock = Ticking(1.0)
    with pytest.raises(DeadlineError, match=r"too slow .* within 2 s"):
        sample_shapley(game(0), Budget(clock, clock.now + 3), 0)


def test_what_was_found_before_the_time_was_over_is_kept() -> None:
    engine = number_engine(4, curved)
    asked = game(0, engine=engine)
    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls > 3:
            raise DeadlineError("over")

    asked.check = check
    found = sample_shapley(asked, Budget(lambda: 0.0), 0)
    assert found.pair_count == 2 * FEWEST_PAIRS


def test_drawing_stops_before_the_deadline() -> None:
    clock = Ticking(0.01)
    found = sample_shapley(game(0), Budget(clock, 1.0), 0)
    assert found.pair_count >= FEWEST_PAIRS
    assert clock.now < 1.05


def test_an_answer_of_nan_is_refused() -> None:
    engine = FunctionEngine(regression(4), lambda inputs: {"y": np.full((len(inputs["x"]), 1), np.nan)})
    with pytest.raises(DataError, match="NaN"):
        game(0, engine=engine).ends()


def test_what_can_be_tried_in_full_depends_on_features_and_background() -> None:
    assert can_enumerate(game(0), 9 * 16)
    assert not can_enumerate(game(0), 9 * 16 - 1)


@pytest.mark.parametrize(
    ("chance", "freedom", "wanted"),
    [(0.975, 7, 2.364624), (0.999, 7, 4.785290), (0.9999, 15, 4.879999), (0.975, 100, 1.983972), (0.99999, 31, 5.024770)],
)
def test_the_quantile_is_students(chance: float, freedom: int, wanted: float) -> None:
    assert t_quantile(chance, freedom) == pytest.approx(wanted, rel=0.002)
