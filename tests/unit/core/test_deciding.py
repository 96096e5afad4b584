"""A row whose scores are NaN has no decision, wherever it is asked for; every other row keeps the one that it had."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from fairlead.core.deciding import labelled, named, undecided
from fairlead.core.dtype import DType
from fairlead.core.ensemble_deciding import ABSTAINS, class_array, majority, votes
from fairlead.core.interface import Decision, DecisionKind, Interface, Task, TensorSpec, decide
from fairlead.errors import DataError

NAN = np.nan
INPUT = (TensorSpec("x", DType.FP32, (None, 2)),)
SCORES = TensorSpec("scores", DType.FP32, (None, 3))
ARGMAX = Interface(INPUT, (SCORES,), Task.CLASSIFICATION, Decision(DecisionKind.ARGMAX, "scores", "scores"), ("a", "b", "c"))
ROWS = np.array([[0.1, 0.9, 0], [NAN, 0.9, 0], [NAN, NAN, NAN], [0, 0, 1]], np.float32)


def test_the_largest_of_scores_with_nan_is_no_decision() -> None:
    assert undecided(ARGMAX, {"scores": ROWS}).tolist() == [False, True, True, False]
    assert labelled(ARGMAX, {"scores": ROWS}).tolist() == ["b", None, None, "c"]
    assert labelled(replace(ARGMAX, labels=()), {"scores": ROWS}).tolist() == [1, None, None, 2]


def test_without_nan_nothing_changes_its_type() -> None:
    plain = replace(ARGMAX, labels=())
    assert labelled(plain, {"scores": ROWS[[0, 3]]}).dtype == np.int64
    assert named(ARGMAX, {"scores": ROWS[[0, 3]]}).tolist() == ["b", "c"]


def test_a_threshold_decides_nothing_about_nan() -> None:
    rule = Interface(INPUT, (SCORES,), Task.CLASSIFICATION, Decision(DecisionKind.THRESHOLD, "scores"), ("no", "yes"))
    assert labelled(rule, {"scores": np.array([[0.7], [NAN], [0.2]])}).tolist() == ["yes", None, "no"]
    several = np.array([[0.7, 0.1], [NAN, 0.9]])
    assert labelled(replace(rule, labels=()), {"scores": several}).tolist() == [[1, 0], [None, None]]


@pytest.mark.parametrize("label", [np.array([0, 1]), np.array(["no", "yes"], dtype=object)])
def test_a_label_beside_scores_that_are_nan_is_none(label: Any) -> None:
    outputs = (TensorSpec("label", DType.INT64, (None,)), TensorSpec("probabilities", DType.FP64, (None, 2)))
    rule = Interface(INPUT, outputs, Task.CLASSIFICATION, Decision(DecisionKind.LABEL, "label", scores="probabilities"))
    answer = {"label": label, "probabilities": np.array([[NAN, NAN], [0.1, 0.9]])}
    assert labelled(rule, answer).tolist() == [None, label[1]]
    assert labelled(rule, {"label": label}).tolist() == label.tolist()


def test_a_number_is_the_answer_itself_also_where_it_is_nan() -> None:
    rule = Interface(INPUT, (SCORES,), Task.REGRESSION, Decision(DecisionKind.VALUE, "scores"))
    found = labelled(rule, {"scores": np.array([[1.0], [NAN]])})
    assert (found.dtype, found[0], bool(np.isnan(found[1]))) == (np.float64, 1.0, True)


def test_without_a_rule_the_output_is_given_as_it_is() -> None:
    none = Interface(INPUT, (SCORES,))
    assert np.array_equal(labelled(none, {"scores": ROWS}), ROWS, equal_nan=True)
    assert not undecided(none, {"scores": ROWS}).any()


@given(npst.arrays(np.float32, st.tuples(st.integers(1, 6), st.integers(1, 4)), elements=st.sampled_from([0.0, 1.0, -2.0, np.nan, np.inf])))
def test_exactly_the_rows_with_nan_are_left_out(scores: Any) -> None:
    plain = replace(ARGMAX, labels=())
    found = labelled(plain, {"scores": scores})
    for row, said in zip(scores, found, strict=True):
        assert (said is None) == bool(np.isnan(row).any())
        assert said is None or said == np.argmax(row)


def test_a_model_without_a_decision_abstains_from_a_vote() -> None:
    ballots = [votes(ARGMAX, ROWS[:2], ARGMAX.labels), votes(ARGMAX, ROWS[[3, 3]], ARGMAX.labels)]
    assert [ballot.tolist() for ballot in ballots] == [[1, ABSTAINS], [2, 2]]
    assert majority(ballots, (), class_array(ARGMAX.labels)).tolist() == ["b", "c"]


def test_a_vote_in_which_all_abstain_is_an_error_of_the_row() -> None:
    silent = votes(ARGMAX, ROWS[1:], ARGMAX.labels)
    with pytest.raises(DataError, match="decides row 0"):
        majority([silent, silent], (), class_array(ARGMAX.labels))


def test_decide_itself_stays_what_it_was() -> None:
    assert decide(ARGMAX, {"scores": ROWS}).tolist()[0] == 1
