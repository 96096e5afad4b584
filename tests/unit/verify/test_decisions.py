"""Decision flips: every row that a client could read otherwise is counted, in rows and in probe rows apart, and the first are shown."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fairlead.core.dtype import DType
from fairlead.core.interface import Array, Decision, DecisionKind, Interface, TensorSpec
from fairlead.core.verdict import Flip, Parity, decision_sentence
from fairlead.verify.decisions import SHOWN, Decisions, compare_decisions

X = (TensorSpec("x", DType.FP32, (None, 1)),)
LABELS = ("nein", "größer", "非常")


def interface(kind: DecisionKind, *, scores: str = "", labels: tuple[str, ...] = ()) -> Interface:
    outputs = (TensorSpec("label", DType.BYTES, (None,)), TensorSpec("p", DType.FP64, (None, 3)))
    return Interface(X, outputs, None, Decision(kind, "label" if kind is DecisionKind.LABEL else "p", scores=scores), labels)


def texts(*values: str) -> Array:
    return np.array(values, dtype=object)


def decided(shape: Interface, original: dict[str, Array], candidate: dict[str, Array], rows: int = 10**6) -> Decisions:
    return compare_decisions(shape, original, candidate, row_count=rows, tolerance=1e-5)


def test_rows_of_data_and_rows_at_thresholds_are_counted_apart() -> None:
    before, after = np.eye(3)[[0, 1, 2, 0, 1]], np.eye(3)[[0, 2, 2, 1, 2]]
    found = decided(interface(DecisionKind.ARGMAX), {"p": before}, {"p": after}, rows=3)
    assert (found.flip_count, found.probe_count, found.jump_count) == (3, 2, None)
    assert found.first == (Flip(1, False, "1", "2"), Flip(0, True, "0", "1"), Flip(1, True, "1", "2"))
    assert found.sentence == "row 1: original 1, candidate 2"


def test_classes_are_shown_by_their_labels() -> None:
    found = decided(interface(DecisionKind.ARGMAX, labels=LABELS), {"p": np.eye(3)[[1]]}, {"p": np.eye(3)[[2]]})
    assert found.first == (Flip(0, False, "größer", "非常"),)


def test_text_labels_outside_of_ascii_are_compared_and_shown_as_they_are() -> None:
    said = interface(DecisionKind.LABEL)
    found = decided(said, {"label": texts("größer", "非常")}, {"label": texts("grösser", "非常")})
    assert found.first == (Flip(0, False, "größer", "grösser"),)


def test_a_label_that_its_own_highest_score_contradicts_is_a_flip() -> None:
    said = interface(DecisionKind.LABEL, scores="p", labels=LABELS)
    label = texts("nein", "größer")
    found = decided(said, {"label": label, "p": np.eye(3)[[0, 1]]}, {"label": label, "p": np.eye(3)[[0, 2]]})
    assert found.flip_count == 1
    assert found.first == (Flip(1, False, "größer", "größer (highest score: 非常)"),)


def test_a_contradiction_that_the_original_has_too_is_no_flip() -> None:
    said = interface(DecisionKind.LABEL, scores="p", labels=LABELS)
    outputs = {"label": texts("nein"), "p": np.eye(3)[[2]]}  # as in an SVC, whose probabilities are fitted apart
    assert decided(said, outputs, dict(outputs)).flip_count == 0


def test_scores_that_do_not_stand_beside_the_labels_say_nothing_about_them() -> None:
    said = interface(DecisionKind.LABEL, scores="p", labels=LABELS[:2])
    found = decided(said, {"label": texts("nein"), "p": np.eye(3)[[0]]}, {"label": texts("nein"), "p": np.eye(3)[[1]]})
    assert found.flip_count == 0


def test_numbers_do_not_flip_but_they_jump() -> None:
    value = interface(DecisionKind.VALUE)
    before = np.array([1.0, 1000.0, 2.0, 5.0, math.nan, math.nan])
    after = np.array([1.0 + 2e-5, 1000.005, 2.0, 7.5, math.nan, 1.0])
    found = decided(value, {"p": before}, {"p": after}, rows=3)
    assert (found.flip_count, found.jump_count, found.probe_count) == (None, 3, 2)
    assert found.first == (Flip(0, False, "1", "1.00002"), Flip(0, True, "5", "7.5"), Flip(2, True, "nan", "1"))


def test_another_shape_is_a_flip_of_every_row() -> None:
    found = decided(interface(DecisionKind.ARGMAX), {"p": np.zeros((4, 3))}, {"p": np.zeros((4, 2, 3))}, rows=3)
    assert (found.flip_count, found.probe_count) == (4, 1)
    assert "shape [4, 2]" in found.sentence


def test_a_model_without_a_decision_rule_has_nothing_to_flip() -> None:
    assert decided(Interface(X, (TensorSpec("p", DType.FP32, (None,)),)), {"p": np.zeros(2)}, {"p": np.ones(2)}) == Decisions()


def test_positions_of_a_row_count_as_one_row() -> None:
    before, after = np.eye(3)[[[0, 1], [2, 2]]], np.eye(3)[[[1, 0], [2, 2]]]
    found = decided(interface(DecisionKind.ARGMAX), {"p": before}, {"p": after})
    assert found.first == (Flip(0, False, "[0, 1]", "[1, 0]"),)


@given(hnp.arrays(np.int64, st.integers(1, 60), elements=st.integers(0, 2)), st.data())
def test_the_count_is_that_of_the_rows_that_differ(classes: Array, data: st.DataObject) -> None:
    changed = data.draw(hnp.arrays(np.int64, classes.shape, elements=st.integers(0, 2)))
    rows = data.draw(st.integers(0, len(classes)))
    found = decided(interface(DecisionKind.ARGMAX), {"p": np.eye(3)[classes]}, {"p": np.eye(3)[changed]}, rows=rows)
    assert found.flip_count == sum(a != b for a, b in zip(classes, changed, strict=True))
    assert found.probe_count == sum(a != b for a, b in zip(classes[rows:], changed[rows:], strict=True))
    assert len(found.first) == min(SHOWN, found.flip_count)


@pytest.mark.parametrize(
    ("parity", "sentence"),
    [
        (Parity(1000, 0, (), 0, {}, True, 1e-5), "0 decision flips in 1,000 rows"),
        (Parity(1240, 240, (), 5, {}, True, 1e-5, 3), "2 decision flips in 1,000 rows, 3 in 240 rows at its thresholds"),
        (Parity(12, 2, (), None, {}, True, 1e-5, 1, 1), "0 values off by more than 1e-05 in 10 rows, 1 in 2 rows at its thresholds"),
        (Parity(10, 0, (), None, {}, True, 1e-5), "no decision rule is known; the numbers of 10 rows were compared"),
    ],
)
def test_the_count_is_said_in_one_sentence(parity: Parity, sentence: str) -> None:
    assert decision_sentence(parity) == sentence


def test_a_row_without_a_decision_flips_only_where_the_other_model_decides_it() -> None:
    nothing = np.full(3, np.nan)
    before, after = np.stack([nothing, np.eye(3)[0], nothing, np.eye(3)[0]]), np.stack([np.eye(3)[0], nothing, nothing, np.eye(3)[0]])
    found = decided(interface(DecisionKind.ARGMAX, labels=LABELS), {"p": before}, {"p": after})
    assert found.flip_count == 2
    assert found.first == (Flip(0, False, "no decision (NaN)", "nein"), Flip(1, False, "nein", "no decision (NaN)"))
