"""Rules: conditions that hold for the row, with a precision that other rows bear out."""

from __future__ import annotations

import numpy as np
import pytest
from explained_models import loan_engine, loan_rows, number_engine

from fairlead.core.interface import Array
from fairlead.errors import UnsupportedError
from fairlead.explain.rule import RuleSearch, wilson


def applicant() -> dict[str, Array]:
    return {"x": np.array([[25, 40, 0]], np.float32), "job": np.array([["cook"]], object)}


def test_its_conditions_are_about_what_decides_and_hold_for_the_row() -> None:
    found = RuleSearch(loan_engine(), applicant(), loan_rows(100)).find()
    assert found.decision == "no"
    assert any("age <=" in condition for condition in found.conditions)
    assert found.precision >= 0.95
    assert found.interval[0] <= found.precision <= found.interval[1]
    assert 0 < found.coverage < 0.5


def test_fresh_rows_bear_the_precision_out() -> None:
    found = RuleSearch(loan_engine(), applicant(), loan_rows(100)).find()
    shares = [RuleSearch(loan_engine(), applicant(), loan_rows(100), seed=seed).find().precision for seed in range(5)]
    assert all(share >= found.interval[0] - 0.03 for share in shares)


def test_no_condition_is_needed_where_every_row_is_decided_alike() -> None:
    engine = loan_engine()
    rows = {"x": np.tile(np.array([[20, 0, 0]], np.float32), (30, 1)), "job": np.full((30, 1), "cook", object)}
    found = RuleSearch(engine, applicant(), rows).find()
    assert found.conditions == ()
    assert found.precision == 1
    assert found.coverage == 1


def test_a_missing_value_and_a_category_are_conditions_too() -> None:
    rows = loan_rows(60)
    row = applicant()
    row["x"][0, 1] = np.nan
    engine = loan_engine()
    answer = engine._function
    engine._function = lambda inputs: answer({**inputs, "x": np.nan_to_num(inputs["x"])})
    found = RuleSearch(engine, row, rows).find()
    assert found.precision > 0.9
    assert all(
        condition.startswith(("age", "income is missing", "job is cook", "shoe")) or "shoe" in condition for condition in found.conditions
    )


def test_a_number_has_no_rule() -> None:
    engine = number_engine(2, lambda x: x[:, 0])
    rows = {"x": np.zeros((5, 2), np.float32)}
    with pytest.raises(UnsupportedError, match="needs decisions"):
        RuleSearch(engine, {"x": rows["x"][:1]}, rows).find()


@pytest.mark.parametrize(("share", "count", "wanted"), [(0.5, 100, (0.4038, 0.5962)), (1.0, 10, (0.7225, 1.0)), (0.0, 10, (0.0, 0.2775))])
def test_the_interval_is_wilsons(share: float, count: int, wanted: tuple[float, float]) -> None:
    assert wilson(share, count) == pytest.approx(wanted, abs=1e-4)
