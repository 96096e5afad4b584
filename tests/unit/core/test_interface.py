"""Interfaces: what fits is let through, what does not is named; decisions follow their rule."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fairlead.core.dtype import DType
from fairlead.core.interface import Decision, DecisionKind, Interface, Task, TensorSpec, decide, shorten, with_task
from fairlead.errors import RequestError, SpecError

X = TensorSpec("x", DType.FP32, (None, 3))
N = TensorSpec("n", DType.INT64, (None,))
Y = TensorSpec("y", DType.FP32, (None, 4))


def scored(kind: DecisionKind, shape: tuple[int | None, ...] = (None, 4)) -> Interface:
    return Interface((X,), (TensorSpec("y", DType.FP32, shape),), decision=Decision(kind, "y"))


@pytest.mark.parametrize("dtype", list(DType))
def test_every_type_comes_back_from_its_numpy_type(dtype: DType) -> None:
    assert DType.of(dtype.numpy) is dtype


def test_text_in_any_numpy_form_is_bytes() -> None:
    assert {DType.of(np.array(values).dtype) for values in (["a"], [b"a"])} == {DType.BYTES}


@given(hnp.arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(1, 5))))
def test_inputs_fit_exactly_where_shape_and_type_do(rows: np.ndarray) -> None:
    interface = Interface((X,), (Y,))
    if rows.shape[1] == 3:
        assert interface.check_inputs({"x": rows}) == rows.shape[0]
    else:
        with pytest.raises(RequestError, match="shape"):
            interface.check_inputs({"x": rows})


@pytest.mark.parametrize(
    ("tensors", "match"),
    [
        ({}, "'x' is missing"),
        ({"x": np.zeros((2, 3), np.float32)}, "'n' is missing"),
        ({"x": np.zeros((2, 3), np.float64), "n": np.zeros(2, np.int64)}, "type float64"),
        ({"x": np.zeros((2, 3), np.float32), "n": np.zeros(3, np.int64)}, "3 rows"),
        ({"x": np.zeros((0, 3), np.float32), "n": np.zeros(0, np.int64)}, "no rows"),
        ({"x": np.zeros((2, 3), np.float32), "n": np.zeros(2, np.int64), "z": np.zeros(2)}, "no input 'z'"),
        ({"x": np.zeros(3, np.float32), "n": np.zeros(2, np.int64)}, "shape"),
    ],
)
def test_what_does_not_fit_is_named(tensors: dict[str, np.ndarray], match: str) -> None:
    with pytest.raises(RequestError, match=match):
        Interface((X, N), (Y,)).check_inputs(tensors)


def test_scores_decide_by_the_largest() -> None:
    scores = np.array([[0.1, 0.9, 0.0, 0.0], [0.4, 0.3, 0.2, 0.1]], np.float32)
    assert decide(scored(DecisionKind.ARGMAX), {"y": scores}).tolist() == [1, 0]


def test_a_score_decides_by_its_threshold_which_itself_is_below() -> None:
    scores = np.array([[0.5], [np.nextafter(np.float32(0.5), np.float32(1))]], np.float32)
    assert decide(scored(DecisionKind.THRESHOLD, (None, 1)), {"y": scores}).tolist() == [0, 1]


def test_one_number_per_row_loses_its_empty_axes() -> None:
    assert decide(scored(DecisionKind.VALUE, (None, 1)), {"y": np.ones((3, 1))}).shape == (3,)


def test_without_a_rule_there_is_no_decision() -> None:
    with pytest.raises(ValueError, match="rule"):
        decide(Interface((X,), (Y,)), {"y": np.ones((3, 4))})


def test_a_given_task_that_agrees_changes_no_rule() -> None:
    interface = scored(DecisionKind.ARGMAX)
    assert with_task(interface, Task.CLASSIFICATION).decision == interface.decision


def test_numbers_said_to_be_classes_decide_by_the_largest() -> None:
    changed = with_task(scored(DecisionKind.VALUE), Task.CLASSIFICATION)
    assert changed.decision == Decision(DecisionKind.ARGMAX, "y", scores="y")


def test_scores_said_to_be_a_regression_are_the_numbers_themselves() -> None:
    changed = with_task(scored(DecisionKind.THRESHOLD, (None, 1)), Task.REGRESSION)
    assert changed.decision == Decision(DecisionKind.VALUE, "y")


def test_a_task_for_several_outputs_without_a_rule_is_refused() -> None:
    with pytest.raises(SpecError, match="several outputs"):
        with_task(Interface((X,), (Y, X)), Task.CLASSIFICATION)


@given(st.text(max_size=200))
def test_what_is_echoed_is_short_and_printable(text: str) -> None:
    assert len(shorten(text)) <= 64
    assert shorten(text).isprintable()
