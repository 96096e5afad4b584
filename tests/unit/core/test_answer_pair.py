import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fairlead.core.answer_pair import is_flip, largest_difference
from fairlead.core.dtype import DType
from fairlead.core.interface import Decision, DecisionKind, Interface, Task, TensorSpec

SCORES = Interface(
    (TensorSpec("x", DType.FP32, (None, 2)),),
    (TensorSpec("y", DType.FP32, (None, 3)),),
    Task.CLASSIFICATION,
    Decision(DecisionKind.ARGMAX, "y"),
    ("a", "b", "c"),
)
VALUES = replace(SCORES, task=Task.REGRESSION, decision=Decision(DecisionKind.VALUE, "y"), labels=())
NAMES = replace(SCORES, outputs=(TensorSpec("label", DType.BYTES, (None,)),), decision=Decision(DecisionKind.LABEL, "label"), labels=())


def scores(*rows) -> dict:
    return {"y": np.array(rows, np.float32)}


def test_an_answer_is_a_flip_where_any_row_is_decided_differently() -> None:
    assert not is_flip(SCORES, scores([1, 2, 3], [3, 2, 1]), SCORES, scores([0, 0, 9], [9, 0, 0]))
    assert is_flip(SCORES, scores([1, 2, 3], [3, 2, 1]), SCORES, scores([0, 0, 9], [0, 9, 0]))


def test_models_that_number_their_classes_differently_are_compared_by_label() -> None:
    turned = replace(SCORES, labels=("c", "b", "a"))
    assert not is_flip(SCORES, scores([0, 0, 1]), turned, scores([1, 0, 0]))
    assert is_flip(SCORES, scores([0, 0, 1]), turned, scores([0, 0, 1]))


def test_scores_with_labels_are_compared_with_a_label_itself() -> None:
    assert not is_flip(SCORES, scores([0, 1, 0]), NAMES, {"label": np.array(["b"], object)})
    assert is_flip(SCORES, scores([0, 1, 0]), NAMES, {"label": np.array(["c"], object)})


def test_a_row_without_a_decision_differs_from_one_with() -> None:
    nan = scores([math.nan, 0, 1])
    assert is_flip(SCORES, nan, SCORES, scores([0, 0, 1]))
    assert is_flip(SCORES, scores([0, 0, 1]), SCORES, nan)
    assert not is_flip(SCORES, nan, SCORES, nan)


def test_numbers_decide_nothing() -> None:
    assert not is_flip(VALUES, scores([1, 2, 3]), VALUES, scores([3, 2, 1]))
    assert not is_flip(SCORES, {"other": np.ones(1)}, SCORES, scores([1, 2, 3]))


@pytest.mark.parametrize(
    ("one", "other", "apart"),
    [
        ([1, 2], [1, 2.5], 0.5),
        ([math.nan, 1], [math.nan, 1], 0.0),
        ([math.nan, 1], [0, 1], math.inf),
        ([math.inf, 1], [math.inf, 3], 2.0),
        ([math.inf, 1], [-math.inf, 1], math.inf),
        ([1, 2], [1, 2, 3], math.inf),
    ],
)
def test_the_largest_difference_of_a_number(one, other, apart) -> None:
    assert largest_difference({"y": np.array(one)}, {"y": np.array(other)}) == apart


def test_texts_and_outputs_that_only_one_has_are_no_numbers() -> None:
    assert largest_difference({"t": np.array(["a"], object), "y": np.ones(2)}, {"t": np.array(["b"], object)}) == 0.0


@given(hnp.arrays(np.float32, st.tuples(st.integers(1, 4), st.just(3)), elements=st.floats(width=32)))
def test_an_answer_never_differs_from_itself(array) -> None:
    outputs = {"y": array}
    assert not is_flip(SCORES, outputs, SCORES, outputs)
    assert largest_difference(outputs, outputs) == 0.0
