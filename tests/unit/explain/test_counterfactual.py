"""What would have to change: little, what may change, as real rows are, and answered by the model itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from explained_models import loan_engine, loan_rows, number_engine
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.core.dtype import DType
from fairlead.core.interface import Array, Interface, TensorSpec
from fairlead.errors import DeadlineError, RequestError, UnsupportedError
from fairlead.explain.counterfactual import Search
from fairlead.explain.table import table_of


def applicant(age: float = 25, income: float = 40) -> dict[str, Array]:
    return {"x": np.array([[age, income, 0]], np.float32), "job": np.array([["cook"]], object)}


def test_it_changes_as_little_as_the_decision_needs() -> None:
    found = Search(loan_engine(), applicant(), loan_rows(100)).find()
    assert found is not None
    assert (found.decision, found.other) == ("no", "yes")
    (change,) = found.changes
    assert (change.feature, change.before) == ("age", "25")
    assert 45 < float(change.after) < 45.3
    assert found.nearest_share > 0.1
    assert found.asked_rows > 100


@settings(max_examples=25, deadline=None)
@given(age=st.integers(20, 35), kept=st.sets(st.sampled_from(["age", "income", "shoe", "job"])))
def test_what_must_stay_stays(age: int, kept: set[str]) -> None:
    found = Search(loan_engine(), applicant(age), loan_rows(60), tuple(kept)).find()
    if found is None:
        assert "income" in kept or "age" in kept
        return
    assert not {change.feature for change in found.changes} & kept
    assert found.other == "yes"


def test_there_is_none_where_nothing_that_may_change_changes_the_decision() -> None:
    assert Search(loan_engine(), applicant(), loan_rows(100), ("age", "income")).find() is None
    assert Search(loan_engine(), applicant(), {"x": applicant()["x"], "job": applicant()["job"]}).find() is None


def test_a_class_can_be_asked_for() -> None:
    found = Search(loan_engine(), applicant(), loan_rows(60), wanted="yes").find()
    assert found is not None
    assert found.other == "yes"
    with pytest.raises(RequestError, match="knows no class 'perhaps'"):
        Search(loan_engine(), applicant(), loan_rows(60), wanted="perhaps").find()
    with pytest.raises(RequestError, match="already"):
        Search(loan_engine(), applicant(), loan_rows(60), wanted="no").find()


def test_of_a_number_a_bound_is_asked_for() -> None:
    engine = number_engine(2, lambda x: 3 * x[:, 0] + x[:, 1])
    rows = {"x": np.random.default_rng(0).uniform(0, 10, (50, 2)).astype(np.float32)}
    row = {"x": np.array([[1, 1]], np.float32)}
    found = Search(engine, row, rows, wanted=">=20").find()
    assert found is not None
    assert isinstance(found.other, float)
    assert 20 <= found.other < 21
    for wanted, said in ((None, "which numbers are wanted"), ("many", "which numbers are wanted"), ("<9", "already")):
        with pytest.raises(RequestError, match=said):
            Search(engine, row, rows, wanted=wanted).find()


def test_whole_numbers_stay_whole() -> None:
    engine = number_engine(1, lambda x: x[:, 0])
    engine.interface = replace(engine.interface, inputs=(TensorSpec("x", DType.INT64, (None, 1)),))
    found = Search(engine, {"x": np.array([[1]])}, {"x": np.arange(0, 100, 9)[:, np.newaxis]}, wanted=">=20").find()
    assert found is not None
    assert found.changes[0].after.isdecimal()


def test_a_missing_number_can_be_changed() -> None:
    row = applicant()
    row["x"][0, 0] = np.nan
    engine = number_engine(3, lambda x: np.nan_to_num(x[:, 0]) + x[:, 1])
    background = {"x": loan_rows(50)["x"]}
    found = Search(engine, {"x": row["x"]}, background, wanted=">=60").find()
    assert found is not None
    assert {change.feature for change in found.changes} <= {"x[0]", "x[1]"}


def test_images_and_unknown_features_are_refused() -> None:
    with pytest.raises(RequestError, match="no feature 'colour'"):
        Search(loan_engine(), applicant(), loan_rows(9), ("colour",)).find()
    image = Interface((TensorSpec("x", DType.FP32, (None, 28, 28)),), (TensorSpec("y", DType.FP32, (None, 2)),))
    with pytest.raises(UnsupportedError, match="for tables"):
        table_of(image, {"x": np.zeros((3, 28, 28), np.float32)})


def test_the_time_is_looked_at() -> None:
    def check() -> None:
        raise DeadlineError("over")

    with pytest.raises(DeadlineError):
        Search(loan_engine(), applicant(), loan_rows(9), check=check).find()


def test_distances_are_in_spreads_and_missing_is_one_away() -> None:
    interface = Interface((TensorSpec("x", DType.FP32, (None, 2)),), (TensorSpec("y", DType.FP32, (None, 1)),))
    background = {"x": np.array([[0, 5], [1, 5], [2, 5], [3, 5], [4, 5]], np.float32)}
    table = table_of(interface, background)
    assert [column.spread for column in table.columns] == [2.0, 1.0]
    rows = {"x": np.array([[4, 5], [np.nan, 6], [0, np.nan]], np.float32)}
    assert table.distances(rows, {"x": np.array([[0, 5]], np.float32)}).tolist() == [[2, 0], [1, 1], [0, 1]]
    assert table.ways(rows, rows).diagonal().tolist() == [0, 0, 0]
