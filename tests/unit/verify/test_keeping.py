"""How likely a bound that holds on some rows holds on others."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.dtype import DType
from fairlead.core.interface import Decision, DecisionKind, Interface, Task, TensorSpec
from fairlead.core.requirement import parse_requirements
from fairlead.verify.keeping import JEFFREYS, Shown, chance_of_count, chance_of_loss, chance_of_metric, drawn_again, moved_rows, priors_of
from fairlead.verify.quality import QualityJob

CLASSES = Interface(
    (TensorSpec("x", DType.FP32, (None, 1)),),
    (TensorSpec("y", DType.FP32, (None, 2)),),
    Task.CLASSIFICATION,
    Decision(DecisionKind.ARGMAX, "y", scores="y"),
)
NUMBER = Interface(
    (TensorSpec("x", DType.FP32, (None, 1)),), (TensorSpec("y", DType.FP32, (None, 1)),), Task.REGRESSION, Decision(DecisionKind.VALUE, "y")
)


def drawn(lost: int, won: int, rows: int, allowed: float, unseen: int, draws: int = 40_000) -> float:
    """The same chance by drawing: shares from the Dirichlet, rows from the shares."""
    generator = np.random.default_rng(0)
    shares = generator.dirichlet([lost + 0.5, won + 0.5, rows - lost - won + 0.5], draws)
    counts = generator.multinomial(unseen, shares)
    return float((counts[:, 0] - counts[:, 1] <= allowed * unseen + 1e-9).mean())


@pytest.mark.parametrize(
    ("lost", "won", "rows", "allowed", "unseen"),
    [
        (0, 0, 500, 0.005, 500),
        (2, 0, 500, 0.005, 500),
        (9, 8, 500, 0.005, 500),
        (5, 1, 200, 0.01, 1000),
        (0, 0, 50, 0.0, 50),
        (3, 9, 80, 0.0, 80),
    ],
)
def test_the_exact_sum_agrees_with_drawing(lost: int, won: int, rows: int, allowed: float, unseen: int) -> None:
    exact = chance_of_loss(lost, won, rows, allowed=allowed, unseen=unseen)
    assert exact == pytest.approx(drawn(lost, won, rows, allowed, unseen), abs=0.012)


def test_what_is_predicted_happens_that_often_where_models_are_as_the_prior_thinks() -> None:
    generator = np.random.default_rng(3)
    shares = generator.dirichlet([0.5, 0.5, 30.0], 1000)
    seen, new = generator.multinomial(300, shares), generator.multinomial(300, shares)
    kept = new[:, 0] - new[:, 1] <= 0.01 * 300
    said = np.array([chance_of_loss(lost, won, 300, allowed=0.01, unseen=300) for lost, won, _ in seen])
    for low, high in ((0.0, 0.3), (0.3, 0.6), (0.6, 0.9), (0.9, 1.0)):
        group = (said >= low) & (said <= high)
        assert group.sum() > 20
        assert kept[group].mean() == pytest.approx(said[group].mean(), abs=0.1)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(100, 600), st.floats(0, 0.1), st.integers(50, 600))
def test_more_lost_rows_never_make_it_likelier_and_a_wider_bound_never_less_likely(
    lost: int, won: int, rows: int, allowed: float, unseen: int
) -> None:
    here = chance_of_loss(lost, won, rows, allowed=allowed, unseen=unseen)
    assert 0 <= here <= 1
    assert chance_of_loss(lost + 1, won, rows, allowed=allowed, unseen=unseen) <= here + 1e-9
    assert chance_of_loss(lost, won, rows, allowed=allowed + 0.01, unseen=unseen) >= here - 1e-9


def test_a_model_right_at_the_bound_keeps_it_every_other_time_and_one_that_lost_nothing_nearly_always() -> None:
    assert chance_of_loss(22, 20, 500, allowed=0.004, unseen=500) == pytest.approx(0.5, abs=0.05)
    assert chance_of_loss(0, 0, 500, allowed=0.005, unseen=500) > 0.9
    assert chance_of_loss(0, 40, 500, allowed=0.005, unseen=500) > 0.999


def test_many_rows_take_no_longer_than_some() -> None:
    assert chance_of_count(10, 4000, allowed=0.01, unseen=1_000_000) > 0.99
    assert 0 < chance_of_loss(150, 150, 4000, allowed=0.002, unseen=1_000_000) < 1


def scores(decisions: list[int]) -> dict[str, np.ndarray]:
    return {"y": np.eye(2, dtype=np.float32)[decisions]}


def test_moved_rows_are_counted_both_ways_and_other_metrics_are_drawn() -> None:
    right, worse = [0, 1] * 100, [1, 1, *([0, 1] * 99)]
    job = QualityJob(CLASSES, np.array(right), scores(right), scores(worse), ("accuracy",), {}, 0)
    assert moved_rows(job) == (1, 0)
    back = QualityJob(CLASSES, np.array(right), scores(worse), scores(right), ("accuracy",), {}, 0)
    assert moved_rows(back) == (0, 1)
    (f1,) = parse_requirements(["f1_drop<=0.02"])
    assert 0.6 < chance_of_metric(f1, job, 200) <= 1


def shown(*moved: tuple[int, int]) -> list[Shown]:
    """Models of networks of their own, each stronger than the one before."""
    return [Shown(f"net{place}", float(place), lost, won) for place, (lost, won) in enumerate(moved)]


LOSING = ((12, 4), (20, 7), (9, 3), (15, 6), (30, 8))


def prior_beside(others: list[Shown], strength: float) -> tuple[float, float]:
    """Of a model that itself says nothing."""
    return priors_of([*others, Shown("mine", strength, 0, 0)])[-1]


def test_a_model_that_seems_to_lose_nothing_among_many_that_lose_has_been_lucky() -> None:
    prior = prior_beside(shown(*LOSING), 2.5)
    assert prior[0] > 2 * prior[1]
    alone, among = (chance_of_loss(5, 6, 500, allowed=0.005, unseen=500, prior=one) for one in (JEFFREYS, prior))
    assert among < alone - 0.1


def test_it_is_weighed_beside_models_about_as_strong_whatever_others_lose() -> None:
    weak, strong = [(2, 2)] * 20, [(30, 10)] * 20
    among_weak, among_strong = (prior_beside(shown(*weak, *strong), at) for at in (5.0, 35.0))
    assert among_weak[0] / sum(among_weak) == pytest.approx(0.5, abs=0.05)
    assert among_strong[0] / sum(among_strong) == pytest.approx(0.75, abs=0.05)


def test_models_of_its_own_network_say_nothing_about_its_luck_and_many_of_another_count_as_one() -> None:
    others = shown(*LOSING)
    lucky = [Shown("mine", 2.5, 0, 90) for _ in range(9)]
    with_kindred, without = (one[0] / sum(one) for one in (priors_of([*others, *lucky])[-1], prior_beside(others, 2.5)))
    assert with_kindred == pytest.approx(without)
    again = [Shown("net2", 2.0, 9, 3) for _ in range(9)]
    assert prior_beside([*others, *again], 2.5) == prior_beside(others, 2.5)


def test_a_few_models_or_rows_teach_nothing() -> None:
    assert priors_of([]) == []
    assert priors_of(shown(*[(9, 1)] * 5)) == [JEFFREYS] * 5
    assert priors_of(shown(*[(0, 0)] * 9)) == [JEFFREYS] * 9


def test_models_that_differ_much_teach_less_than_models_that_agree() -> None:
    agreeing, differing = (priors_of(shown(*moved))[4] for moved in ([(60, 20)] * 8, [(80, 0), (20, 60)] * 4))
    assert sum(agreeing) > sum(differing)


def test_models_are_drawn_again_as_they_are_and_kindred_lose_the_same_rows() -> None:
    models = [*shown(*[(20, 20)] * 8), Shown("net0", 0.5, 22, 20)]
    generator = np.random.default_rng(0)
    many = [drawn_again(models, 500, generator) for _ in range(200)]
    for place, lost in ((0, 20), (8, 22)):
        assert np.mean([seen[place][0] for seen, _ in many]) == pytest.approx(lost, abs=2)
    assert all(seen[8][0] - seen[0][0] in (1, 2, 3) or seen[0][0] == 0 for seen, _ in many)
    spread = np.std([seen[3][0] for seen, _ in many])
    assert 4 < spread < 9  # of a count of about 20 rows, whose rate is not known either
    assert any(seen[3] != new[3] for seen, new in many)
    everything = drawn_again([Shown("a", 1.0, 30, 470)], 500, generator)
    assert all(sum(found[0]) == 500 for found in everything)


def test_numbers_are_drawn_again_and_the_same_seed_says_the_same() -> None:
    generator = np.random.default_rng(5)
    target = generator.normal(size=300).astype(np.float32)
    before, after = target + 0.1 * generator.normal(size=300), target + 0.101 * generator.normal(size=300)
    job = QualityJob(NUMBER, target, {"y": before[:, None]}, {"y": after[:, None]}, ("rmse",), {}, 0)
    tight, wide = parse_requirements(["rmse_rise<=0.001"]), parse_requirements(["rmse_rise<=0.05"])
    first = chance_of_metric(tight[0], job, 300)
    assert first == chance_of_metric(tight[0], job, 300)
    assert 0.05 < first < 0.95
    assert chance_of_metric(wide[0], job, 300) == 1.0
