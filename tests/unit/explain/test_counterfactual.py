"""What would have to change: little, what may change, as real rows are, and answered by the model itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from explained_models import FunctionEngine, loan_engine, loan_rows, number_engine
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.core.dtype import DType
from fairlead.core.interface import Array, Decision, DecisionKind, Interface, Task, Tensors, TensorSpec
from fairlead.errors import DataError, DeadlineError, RequestError, UnsupportedError
from fairlead.explain.aim import aim_at
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


def test_of_several_numbers_one_is_named() -> None:
    engine = number_engine(2, lambda x: x[:, 0])
    engine.interface = replace(engine.interface, outputs=(TensorSpec("y", DType.FP64, (None, 2)),))
    engine._function = lambda inputs: {"y": inputs["x"].astype(np.float64)}
    rows = {"x": np.random.default_rng(0).uniform(0, 10, (50, 2)).astype(np.float32)}
    row = {"x": np.array([[1, 1]], np.float32)}
    found = Search(engine, row, rows, wanted=">5", of="1").find()
    assert found is not None
    assert [change.feature for change in found.changes] == ["x[1]"]
    assert found.is_value
    with pytest.raises(UnsupportedError, match="gives 2 numbers"):
        Search(engine, row, rows, wanted=">5").find()


def test_what_moves_the_answer_the_wrong_way_is_no_gain() -> None:
    engine = two_classes(lambda x: x[:, 0])
    outputs = engine.run({"x": np.array([[0.2, 0, 0]], np.float32)})
    away, towards = aim_at(engine.interface, outputs, None), aim_at(engine.interface, outputs, "yes")
    assert (away.before, away.subject.column, towards.subject.column) == ("no", 0, 1)
    assert away.gain(np.array([0.7, 0.9, np.nan])) == pytest.approx([0.1, -0.1, 0])
    assert towards.gain(np.array([0.3, 0.1])) == pytest.approx([0.1, -0.1])


@pytest.mark.parametrize(("decided", "wanted"), [(0.2, "yes"), (0.9, "no")])
def test_one_score_for_two_classes_is_moved_the_right_way(decided: float, wanted: str) -> None:
    interface = Interface(
        (TensorSpec("x", DType.FP32, (None, 2)),), (TensorSpec("p", DType.FP64, (None, 1)),), Task.CLASSIFICATION,
        Decision(DecisionKind.THRESHOLD, "p", "p"), ("no", "yes"),
    )  # fmt: skip
    engine = FunctionEngine(interface, lambda inputs: {"p": inputs["x"][:, :1].astype(np.float64)})
    background = {"x": np.random.default_rng(0).uniform(0, 1, (30, 2)).astype(np.float32)}
    row = {"x": np.array([[decided, 0.5]], np.float32)}
    assert aim_at(engine.interface, engine.run(row), None).gain(np.array([0.5])) > 0
    found = Search(engine, row, background).find()
    assert found is not None
    assert (found.other, [change.feature for change in found.changes]) == (wanted, ["x[0]"])


def test_what_was_taken_over_in_vain_is_given_back() -> None:
    """The first feature moves the answer most at first, and is not needed once the others, which turn it only together, are taken over."""
    engine = two_classes(lambda x: 0.3 + 0.1 * x[:, 0] + 0.08 * x[:, 1] + 0.08 * x[:, 2] + 0.2 * x[:, 1] * x[:, 2])
    found = Search(engine, {"x": np.zeros((1, 3), np.float32)}, {"x": np.array([[1, 1, 1], [0, 0, 0]], np.float32)}).find()
    assert found is not None
    assert [change.feature for change in found.changes] == ["two", "harm"]


def test_what_no_real_row_is_like_comes_last_however_few_changes_it_has() -> None:
    engine = two_classes(lambda x: (x[:, 0] == 1) | ((x[:, 1] == 2) & (x[:, 2] == 2)))
    engine.interface = replace(engine.interface, inputs=(replace(engine.interface.inputs[0], dtype=DType.INT64),))
    background = {"x": np.array([[0, 0, 0], [1, 1, 1], [0, 2, 2]] * 2, np.int64)}
    found = Search(engine, {"x": np.zeros((1, 3), np.int64)}, background).find()
    assert found is not None
    assert ([change.feature for change in found.changes], found.nearest_share) == (["two", "harm"], 1)


def test_rows_without_one_decision_are_refused() -> None:
    engine = two_classes(lambda x: np.where(x[:, 0] > 9, np.nan, x[:, 0]))
    background = {"x": np.zeros((4, 3), np.float32)}
    with pytest.raises(DataError, match="NaN"):
        Search(engine, {"x": np.array([[10, 0, 0]], np.float32)}, background).find()
    engine.interface = replace(engine.interface, decision=Decision(DecisionKind.THRESHOLD, "p", "p"), labels=())
    with pytest.raises(UnsupportedError, match="several things"):
        Search(engine, {"x": np.array([[1, 0, 0]], np.float32)}, background).find()
    engine.interface = replace(engine.interface, decision=None)
    with pytest.raises(UnsupportedError, match="--task"):
        Search(engine, {"x": np.array([[1, 0, 0]], np.float32)}, background).find()


def two_classes(function: Callable[[Array], Array]) -> FunctionEngine:
    """Decides "yes" where the function is more than a half."""
    interface = Interface(
        (TensorSpec("x", DType.FP32, (None, 3), ("one", "two", "harm")),), (TensorSpec("p", DType.FP64, (None, 2)),), Task.CLASSIFICATION,
        Decision(DecisionKind.ARGMAX, "p", "p"), ("no", "yes"),
    )  # fmt: skip

    def answer(inputs: Tensors) -> dict[str, Array]:
        yes = function(inputs["x"].astype(np.float64))
        return {"p": np.stack([1 - yes, yes], axis=1)}

    return FunctionEngine(interface, answer)


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
