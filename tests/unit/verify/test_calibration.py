"""Calibration: the definition by hand, both models on the same rows, and scores that are no probabilities any more."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.calibration import confidences_of, expected_calibration_error, probabilities_of, probability_gap
from fairlead.core.dtype import DType
from fairlead.core.interface import Array, Decision, DecisionKind, Interface, TensorSpec
from fairlead.errors import RequirementError
from fairlead.verify.quality import QualityJob, measure_calibration, measure_quality

X = (TensorSpec("x", DType.FP32, (None, 1)),)


def classifier(kind: DecisionKind, *, width: int | None = 3, labels: tuple[str, ...] = (), threshold: float = 0.5) -> Interface:
    shape = (None,) if width is None else (None, width)
    outputs = (TensorSpec("label", DType.BYTES, (None,)), TensorSpec("p", DType.FP64, shape))
    decides = "label" if kind is DecisionKind.LABEL else "p"
    return Interface(X, outputs, None, Decision(kind, decides, scores="p", threshold=threshold), labels)


def by_definition(confidences: list[float], outcomes: list[int]) -> float:
    """Guo et al. 2017, equation 3, bin by bin."""
    total, count = 0.0, len(confidences)
    for number in range(1, 16):
        bin_ = [
            (c, o) for c, o in zip(confidences, outcomes, strict=True) if (number - 1) / 15 < c <= number / 15 or (number == 1 and c == 0)
        ]
        if bin_:
            accuracy = sum(o for _, o in bin_) / len(bin_)
            confidence = sum(c for c, _ in bin_) / len(bin_)
            total += len(bin_) / count * abs(accuracy - confidence)
    return total


# Not at the edges of bins, where c * 15 may round to the other side.
INSIDE = st.floats(0, 1).filter(lambda c: abs(c * 15 - round(c * 15)) > 1e-9 or c in (0.0, 1.0))


@given(st.lists(st.tuples(INSIDE, st.integers(0, 1)), min_size=1, max_size=80))
def test_the_error_is_that_of_its_definition(rows: list[tuple[float, int]]) -> None:
    confidences, outcomes = (list(column) for column in zip(*rows, strict=True))
    measured = expected_calibration_error(np.array(confidences), np.array(outcomes))(np.ones(len(rows)))
    assert measured == pytest.approx(by_definition(confidences, outcomes), abs=1e-12)


@given(
    st.lists(st.tuples(INSIDE, st.integers(0, 1), st.integers(0, 3)), min_size=1, max_size=40).filter(lambda rows: any(r[2] for r in rows))
)
def test_a_row_drawn_twice_counts_twice(rows: list[tuple[float, int, int]]) -> None:
    confidences, outcomes, drawn = (np.array(column) for column in zip(*rows, strict=True))
    repeated = expected_calibration_error(np.repeat(confidences, drawn), np.repeat(outcomes, drawn))(np.ones(int(drawn.sum())))
    assert expected_calibration_error(confidences, outcomes)(drawn.astype(float)) == pytest.approx(repeated, abs=1e-12)


def test_two_classes_are_measured_by_the_positive_one_and_more_by_the_highest() -> None:
    confidences, outcomes = confidences_of(np.array([[0.9, 0.1], [0.3, 0.7]]), np.array([1, 1]))
    assert confidences.tolist() == [0.1, 0.7]
    assert outcomes.tolist() == [True, True]
    confidences, outcomes = confidences_of(np.array([[0.2, 0.5, 0.3], [0.1, 0.1, 0.8]]), np.array([0, 2]))
    assert confidences.tolist() == [0.5, 0.8]
    assert outcomes.tolist() == [False, True]


def job(shape: Interface, target: Array, original: dict[str, Array], candidate: dict[str, Array], *metrics: str) -> QualityJob:
    return QualityJob(shape, target, original, candidate, metrics, {}, seed=0)


def test_both_models_are_measured_on_the_same_rows() -> None:
    target = np.array([0, 1, 1, 0])
    sure, modest = np.eye(3)[[0, 1, 1, 1]], np.eye(3)[[0, 1, 1, 1]] * 0.7 + 0.1
    found = measure_calibration(job(classifier(DecisionKind.ARGMAX), target, {"p": sure}, {"p": modest}))
    assert found is not None
    assert (found.original_ece, found.candidate_ece) == (pytest.approx(0.25), pytest.approx(0.05))
    assert (found.bin_count, found.row_count) == (15, 4)


def test_labels_as_text_find_their_probability() -> None:
    shape = classifier(DecisionKind.LABEL, width=2, labels=("nein", "größer"))
    outputs = {"label": np.array(["nein", "größer"], dtype=object), "p": np.array([[0.9, 0.1], [0.2, 0.8]])}
    found = measure_calibration(job(shape, np.array(["nein", "größer"], dtype=object), outputs, outputs))
    assert found is not None
    assert found.original_ece == pytest.approx(0.15)
    unnamed = dataclasses.replace(shape, labels=())
    assert measure_calibration(job(unnamed, np.array(["nein", "größer"], dtype=object), outputs, outputs)) is None


def test_several_independent_probabilities_count_as_so_many_rows() -> None:
    outputs = {"p": np.array([[0.9, 0.2], [0.6, 0.9]])}
    target = np.array([[1, 0], [1, 1]])
    found = measure_calibration(job(classifier(DecisionKind.THRESHOLD, width=2), target, outputs, outputs))
    assert found is not None
    assert found.row_count == 4


def test_a_bound_on_it_can_be_required_and_has_an_interval() -> None:
    outputs = {"p": np.array([0.2, 0.9, 0.6, 0.1])}
    (quality,) = measure_quality(job(classifier(DecisionKind.THRESHOLD, width=None), np.array([0, 1, 1, 0]), outputs, outputs, "ece"))
    assert quality.candidate == pytest.approx((0.2 + 0.1 + 0.4 + 0.1) / 4)
    assert quality.candidate_interval[0] <= quality.candidate <= quality.candidate_interval[1]


@pytest.mark.parametrize(
    ("shape", "scores"),
    [
        (classifier(DecisionKind.ARGMAX), np.array([[3.0, -2.0, 1.0]])),  # logits
        (classifier(DecisionKind.ARGMAX), np.array([[0.9, 0.8, 0.1]])),  # sigmoids
        (classifier(DecisionKind.THRESHOLD, width=None, threshold=0.0), np.array([0.5])),  # a distance from a boundary
        (classifier(DecisionKind.LABEL, width=1), np.array([[0.5]])),
    ],
)
def test_scores_that_are_no_probabilities_have_no_calibration(shape: Interface, scores: Array) -> None:
    outputs = {"label": np.array(["a"], dtype=object), "p": scores}
    target = np.array(["a"], dtype=object) if shape.decision and shape.decision.kind is DecisionKind.LABEL else np.array([0])
    assert probabilities_of(shape, outputs) is None
    assert probability_gap(shape, outputs, outputs) is None
    assert measure_calibration(job(shape, target, outputs, outputs)) is None
    with pytest.raises(RequirementError, match="'ece' cannot be measured: the model gives no"):
        measure_quality(job(shape, target, outputs, outputs, "ece"))


@pytest.mark.parametrize(
    ("scores", "gap"),
    [
        ([[0.5, 0.5, 0.0]], 0.0),
        ([[0.5, 0.5, 0.1]], 0.1),
        ([[1.2, -0.2, 0.0]], 0.2),
        ([[-0.5, 1.0, 0.5]], 0.5),
        ([[math.nan, 0.5, 0.5]], math.inf),
        ([[math.inf, 0.5, 0.5]], math.inf),
        ([[0.5, 0.5]], math.inf),
    ],
)
def test_what_is_no_probability_any_more_has_a_size(scores: list[list[float]], gap: float) -> None:
    original = {"p": np.array([[0.2, 0.3, 0.5]])}
    assert probability_gap(classifier(DecisionKind.ARGMAX), original, {"p": np.array(scores)}) == pytest.approx(gap)


def test_rows_for_which_the_original_gives_nan_are_left_out() -> None:
    original = {"p": np.array([[math.nan] * 3, [0.2, 0.3, 0.5]])}
    assert probability_gap(classifier(DecisionKind.ARGMAX), original, {"p": np.array([[7.0] * 3, [0.2, 0.3, 0.5]])}) == 0.0
