"""Do probabilities mean what they say? Expected calibration error before and after, and whether scores are probabilities at all. Pure.

The expected calibration error is that of Guo et al. 2017 (On Calibration of Modern Neural Networks, section 2) with 15 bins of equal
width. Each row has a confidence c and an outcome o (1: came true). Bin m holds the rows with (m-1)/15 < c <= m/15, the first one also
c = 0. The error is the sum over bins of |sum of o - sum of c|, divided by the number of rows.

For more than two classes, c is the highest probability and o whether that class is right. For two classes, or one probability, c is the
probability of the positive class (the second) and o whether it is right; several independent probabilities in a row count as so many rows.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fairlead.core.interface import Array, DecisionKind, Interface, Tensors

BIN_COUNT = 15
# Sums of many rounded numbers: 1,000 classes in half precision are off by up to 5e-4.
GAP_LIMIT = 1e-3


def expected_calibration_error(confidences: Array, outcomes: Array) -> Callable[[Array], float]:
    """Return the error as a function of row weights; the rows are put into bins once. NaN confidences make it NaN."""
    places = np.clip(np.ceil(np.nan_to_num(confidences) * BIN_COUNT).astype(np.int64) - 1, 0, BIN_COUNT - 1)
    excess = outcomes.astype(np.float64) - confidences

    def measure(weights: Array) -> float:
        return float(np.abs(np.bincount(places, weights * excess, BIN_COUNT)).sum() / weights.sum())

    return measure


def confidences_of(scores: Array, right: Array) -> tuple[Array, Array]:
    """Return confidence and outcome of each row for (rows, classes) probabilities and the numbers of the right classes.

    Two classes: those of class 1, which may also be scores (-p, p) of one probability.
    """
    if scores.shape[1] == 2:
        return scores[:, 1], right == 1
    first = np.argmax(scores, axis=1)
    return np.take_along_axis(scores, first[:, None], axis=1)[:, 0], right == first


def probability_gap(interface: Interface, original: Tensors, candidate: Tensors) -> float | None:
    """Return how far the candidate's scores are from probabilities: the most that one lies outside of 0 to 1, or that a row's sum misses 1.

    Infinite where it gives NaN for a row in which the original does not. None where the original's own scores are no probabilities.
    """
    before, after = probabilities_of(interface, original), _scores(interface, candidate)
    if before is None or after is None:
        return None
    if before.shape != after.shape:
        return float("inf")
    known = ~np.isnan(before).reshape(len(before), -1).any(axis=1)
    return _gap(interface, after[known])


def probabilities_of(interface: Interface, outputs: Tensors) -> Array | None:
    """Return the scores that decide, where they are probabilities: within GAP_LIMIT of 0 to 1 and, for classes, of the sum 1."""
    scores = _scores(interface, outputs)
    if scores is None or not scores.size:
        return None
    known = ~np.isnan(scores).reshape(len(scores), -1).any(axis=1)
    return scores if known.any() and _gap(interface, scores[known]) <= GAP_LIMIT else None


def _gap(interface: Interface, scores: Array) -> float:
    if not np.isfinite(scores).all():
        return float("inf")
    if not scores.size:
        return 0.0
    gaps = [0.0, -scores.min(), scores.max() - 1.0]
    if _are_classes(interface, scores):
        gaps.append(np.abs(scores.sum(axis=-1) - 1.0).max())
    return float(max(gaps))


def _are_classes(interface: Interface, scores: Array) -> bool:
    """Whether the last axis holds classes that exclude each other."""
    rule = interface.decision
    return rule is not None and rule.kind is not DecisionKind.THRESHOLD and scores.ndim > 1 and scores.shape[-1] > 1


def _scores(interface: Interface, outputs: Tensors) -> Array | None:
    rule = interface.decision
    if rule is None or rule.kind is DecisionKind.VALUE:
        return None
    if rule.kind is DecisionKind.THRESHOLD and not 0.0 < rule.threshold < 1.0:
        return None  # distances from a boundary
    is_label = rule.kind is DecisionKind.LABEL
    scores = outputs.get(rule.scores or ("" if is_label else rule.output))
    if scores is None or scores.dtype.kind != "f" or (is_label and (scores.ndim != 2 or scores.shape[1] < 2)):
        return None
    return np.asarray(scores, dtype=np.float64)
