"""The whole model: what it loses without each feature, and how its answer goes with them."""

from __future__ import annotations

import numpy as np
import pytest
from explained_models import loan_engine, loan_rows, number_engine

from fairlead.errors import DeadlineError
from fairlead.explain.overview import OverviewJob


def test_what_has_no_say_is_not_missed() -> None:
    found = OverviewJob(loan_engine(), loan_rows(300)).run()
    losses = {one.feature: one for one in found.importances}
    assert found.importances[0].feature == "age"
    assert losses["shoe"].loss == 0
    assert losses["shoe"].interval == (0, 0)
    assert losses["age"].interval[0] > 0.2
    assert found.metric == "decisions that change"
    assert found.notes


def test_right_answers_make_it_accuracy() -> None:
    engine, rows = loan_engine(), loan_rows(300)
    answers = np.where(engine.run(rows)["p"][:, 1] > 0.5, "yes", "no")
    found = OverviewJob(engine, rows, answers).run()
    assert found.metric == "accuracy"
    assert found.notes == ()
    assert found.importances[0].loss > 0.2


def test_a_feature_that_does_harm_has_a_negative_loss() -> None:
    random = np.random.default_rng(0)
    rows = {"x": random.normal(size=(400, 2)).astype(np.float32)}
    engine = number_engine(2, lambda x: x[:, 0] - x[:, 1])
    answers = (rows["x"][:, 0] + rows["x"][:, 1]).astype(np.float64)
    found = {one.feature: one for one in OverviewJob(engine, rows, answers).run().importances}
    assert found["x[0]"].loss > 0
    assert found["x[1]"].interval[1] < 0


def test_curves_of_a_sum_are_its_lines() -> None:
    random = np.random.default_rng(1)
    rows = {"x": random.uniform(0, 1, size=(200, 2)).astype(np.float32)}
    found = OverviewJob(number_engine(2, lambda x: 3 * x[:, 0] - x[:, 1]), rows).run()
    for curve, slope in zip(found.curves, (3, -1), strict=True):
        values = np.array(curve.values, dtype=np.float64)
        assert np.diff(curve.dependence) == pytest.approx(slope * np.diff(values), abs=1e-5)
        assert np.diff(curve.local) == pytest.approx(slope * np.diff(values), abs=1e-5)
        middles = (np.array(curve.local)[1:] + np.array(curve.local)[:-1]) / 2
        assert float(np.array(curve.counts) @ middles) == pytest.approx(0, abs=1e-6)
        assert sum(curve.counts) == 200


def test_a_feature_that_no_row_has_gets_no_curve() -> None:
    rows = {"x": np.random.default_rng(0).normal(size=(30, 2)).astype(np.float32)}
    rows["x"][:, 1] = np.nan
    found = OverviewJob(number_engine(2, lambda x: x[:, 0]), rows).run()
    assert [curve.feature for curve in found.curves] == ["x[0]"]
    assert {one.feature for one in found.importances} == {"x[0]", "x[1]"}


def test_local_effects_stay_among_rows_that_occur() -> None:
    """Two equal features of which the model takes the difference, squared: partial dependence sees rows that never occur."""
    values = np.random.default_rng(2).uniform(0, 1, 300)
    rows = {"x": np.stack([values, values], axis=1).astype(np.float32)}
    (first, _) = OverviewJob(number_engine(2, lambda x: 100 * (x[:, 0] - x[:, 1]) ** 2), rows).run().curves
    assert max(first.dependence) > 20
    assert max(np.abs(first.local)) < 2


def test_categories_have_dependence_without_an_order() -> None:
    found = OverviewJob(loan_engine(), loan_rows(100)).run()
    (job,) = [curve for curve in found.curves if curve.feature == "job"]
    assert set(job.values) == {"clerk", "cook", "smith"}
    means = dict(zip(job.values, job.dependence, strict=True))
    assert means["clerk"] != means["cook"] == means["smith"]
    assert job.local == ()


def test_a_single_row_is_no_ground_for_an_interval() -> None:
    found = OverviewJob(number_engine(2, lambda x: x[:, 0]), {"x": np.ones((1, 2), np.float32)}).run()
    assert found.importances[0].interval == (-np.inf, np.inf)
    assert found.curves == ()


def test_missing_values_are_left_out_of_curves() -> None:
    rows = loan_rows(50)["x"][:, :2].copy()
    rows[::7, 0] = np.nan
    found = OverviewJob(number_engine(2, lambda x: np.nan_to_num(x[:, 0]) + x[:, 1]), {"x": rows}).run()
    curve = next(curve for curve in found.curves if curve.feature == "x[0]")
    assert sum(curve.counts) == np.isfinite(rows[:, 0]).sum()


def test_the_time_is_looked_at() -> None:
    def check() -> None:
        raise DeadlineError("over")

    with pytest.raises(DeadlineError):
        OverviewJob(loan_engine(), loan_rows(9), check=check).run()
