"""Metrics are those of scikit-learn, with weights; intervals cover what they say."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.core import metrics
from fairlead.core.intervals import bootstrap, wilson
from fairlead.errors import RequirementError

sklearn_metrics = pytest.importorskip("sklearn.metrics", reason="the metrics are compared with scikit-learn's")


@st.composite
def classified(draw: st.DrawFn, class_count: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Right answers, decisions, weights."""
    count = draw(st.integers(2, 30))
    whole = st.lists(st.integers(0, class_count - 1), min_size=count, max_size=count)
    weights = draw(st.lists(st.integers(0, 4), min_size=count, max_size=count).filter(any))
    return np.array(draw(whole)), np.array(draw(whole)), np.array(weights, float)


@given(classified())
def test_accuracy_is_scikit_learns(rows: tuple[np.ndarray, ...]) -> None:
    right, said, weights = rows
    assert metrics.accuracy(right, said, weights) == pytest.approx(sklearn_metrics.accuracy_score(right, said, sample_weight=weights))


@given(classified(), st.booleans())
def test_f1_is_scikit_learns(rows: tuple[np.ndarray, ...], is_binary: bool) -> None:
    right, said, weights = rows
    if is_binary:
        right, said = right % 2, said % 2
    seen = weights > 0  # scikit-learn counts a class that has no weight, a draw that left it out does not
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = sklearn_metrics.f1_score(
            right[seen], said[seen], sample_weight=weights[seen], average="binary" if is_binary else "macro", zero_division=0
        )
    assert metrics.f1(right, said, weights, is_binary=is_binary) == pytest.approx(expected)


@given(classified(2), st.lists(st.integers(-3, 3), min_size=30, max_size=30))
def test_auc_is_scikit_learns_also_with_ties(rows: tuple[np.ndarray, ...], scores: list[int]) -> None:
    right, _, weights = rows
    score = np.array(scores[: len(right)], float) / 3
    found = metrics.auc(right == 1, score)(weights)
    seen = weights > 0
    if len(set(right[seen])) < 2:
        assert math.isnan(found)
    else:
        assert found == pytest.approx(sklearn_metrics.roc_auc_score(right[seen], score[seen], sample_weight=weights[seen]))


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(3, 6))
def test_auc_of_many_classes_is_scikit_learns(seed: int, class_count: int) -> None:
    generator = np.random.default_rng(seed)
    right = np.concatenate([np.arange(class_count), generator.integers(0, class_count, 20)])
    scores = generator.dirichlet(np.ones(class_count), len(right))
    expected = sklearn_metrics.roc_auc_score(right, scores, multi_class="ovr", average="macro")
    assert metrics.auc_one_vs_rest(right, scores)(np.ones(len(right))) == pytest.approx(expected)


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.integers(1, 3)), min_size=1, max_size=30))
def test_errors_of_numbers_are_scikit_learns(rows: list[tuple[float, float, int]]) -> None:
    right, said, weights = (np.array(column, float) for column in zip(*rows, strict=True))
    expected = sklearn_metrics.root_mean_squared_error(right, said, sample_weight=weights)
    assert metrics.rmse(right, said, weights) == pytest.approx(expected, abs=1e-9)
    assert metrics.mae(right, said, weights) == pytest.approx(
        sklearn_metrics.mean_absolute_error(right, said, sample_weight=weights), abs=1e-9
    )


@given(st.integers(1, 5000), st.floats(0, 1))
def test_the_interval_of_a_share_holds_it_and_stays_between_0_and_1(count: int, part: float) -> None:
    share = round(part * count) / count
    low, high = wilson(share, count)
    assert 0 <= low <= share <= high <= 1


def test_wilsons_interval_is_the_published_one() -> None:
    # Newcombe 1998, Statistics in Medicine 17:857-872, table I, method 3: 81 of 263.
    low, high = wilson(81 / 263, 263)
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)


@pytest.mark.slow
def test_the_bootstrap_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    hits = 0
    for trial in range(80):
        errors = generator.normal(size=100)
        low, high = bootstrap(lambda weights, e=errors: metrics.mae(np.zeros(100), e, weights), 100, seed=trial)
        hits += low <= math.sqrt(2 / math.pi) <= high
    assert 0.87 <= hits / 80 < 1


def test_the_same_seed_gives_the_same_interval_and_another_another() -> None:
    errors = np.random.default_rng(0).normal(size=50)

    def measure(weights: np.ndarray) -> float:
        return metrics.mae(np.zeros(50), errors, weights)

    assert bootstrap(measure, 50, seed=1) == bootstrap(measure, 50, seed=1) != bootstrap(measure, 50, seed=2)


def test_a_metric_that_no_draw_defines_is_refused() -> None:
    with pytest.raises(RequirementError, match="every draw"):
        bootstrap(lambda weights: math.nan, 5, seed=0)
