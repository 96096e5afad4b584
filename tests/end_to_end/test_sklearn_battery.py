"""A lean part of the battery in benchmarks/sklearn_battery.py: from file to what would serve it, and not one decision that differs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sklearn")
pytest.importorskip("skops")

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
LEAN = [
    "scaler, random forest",
    "robust scaler, gradient boosting, 3 classes",
    "histogram boosting, missing values",
    "voting, hard",
    "stacking",
    "calibrated forest, isotonic",
    "logistic regression, 3 text labels",
    "SVM, one against one",
    "log target",
    "table by names: one-hot, linear",
    "table: one-hot, forest",
    "text: TF-IDF of pairs, sublinear, no accents",
    "local outliers",
    "neighbours, Canberra, 3 text labels",
    "text: characters",
]


@pytest.fixture(scope="module")
def battery() -> Iterator[Any]:
    """The benchmark's modules."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import sklearn_battery

        yield sklearn_battery
    finally:
        sys.path.remove(str(BENCHMARKS))


@pytest.mark.parametrize("name", LEAN)
def test_not_one_decision_differs(battery: Any, name: str) -> None:
    case = next(case for case in battery.CASES if case.name == name)
    line = battery.check(case, battery.HereSandbox())
    assert line.is_right, line.markdown()
    assert bool(line.refusal) == case.is_refused


def test_the_battery_is_as_large_as_promised(battery: Any) -> None:
    assert len({case.name for case in battery.CASES}) == len(battery.CASES) >= 36


def test_a_model_that_should_be_refused_and_is_not_is_called_wrong(battery: Any) -> None:
    case = next(case for case in battery.CASES if case.name == "linear regression")
    assert not battery.check(replace(case, is_refused=True), battery.HereSandbox()).is_right
    assert not battery.check(replace(case, is_kept=True), battery.HereSandbox()).is_right


@pytest.mark.slow
def test_the_same_holds_inside_the_real_sandbox(battery: Any) -> None:
    case = next(case for case in battery.CASES if case.name == "scaler, tree")
    line = battery.check(case, battery.OneShotSandbox())
    assert line.is_right, line.markdown()
