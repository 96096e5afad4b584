"""Metrics of quality, in numpy, each with row weights so that intervals need no sorting anew. Pure.

Takes right answers and decisions (or scores) as class numbers or numbers; gives floats. Definitions are those of scikit-learn 1.9
(sklearn.metrics: accuracy_score, f1_score, roc_auc_score, root_mean_squared_error, mean_absolute_error), against which they are tested.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from fairlead.core.interface import Array


def accuracy(answers: Array, decisions: Array, weights: Array) -> float:
    """Share of right decisions."""
    return float(weights[answers == decisions].sum() / weights.sum())


def rmse(answers: Array, values: Array, weights: Array) -> float:
    """Root of the mean squared error."""
    return float(np.sqrt((weights * (values - answers) ** 2).sum() / weights.sum()))


def mae(answers: Array, values: Array, weights: Array) -> float:
    """Mean absolute error."""
    return float((weights * np.abs(values - answers)).sum() / weights.sum())


def f1(answers: Array, decisions: Array, weights: Array, *, is_binary: bool) -> float:
    """F1 = 2 TP / (2 TP + FP + FN): of class 1 where `is_binary`, else the plain mean over all classes that occur.

    A class with neither hits nor misses has F1 0, as scikit-learn counts it.
    """
    if is_binary:
        return _f1_of(answers == 1, decisions == 1, weights)
    classes, numbered = np.unique(np.concatenate([answers, decisions]), return_inverse=True)
    right, given = numbered[: len(answers)], numbered[len(answers) :]
    count = len(classes)
    true = np.bincount(right, weights, count)
    said = np.bincount(given, weights, count)
    hits = np.bincount(right[right == given], weights[right == given], count)
    occurs = (true + said) > 0
    return float((2 * hits[occurs] / (true + said)[occurs]).mean())


def _f1_of(is_true: Array, is_said: Array, weights: Array) -> float:
    whole = weights[is_true].sum() + weights[is_said].sum()
    return float(2 * weights[is_true & is_said].sum() / whole) if whole > 0 else 0.0


def auc(is_positive: Array, scores: Array) -> Callable[[Array], float]:
    """Return the area under the ROC curve as a function of row weights; the rows are sorted once.

    It is the chance that a positive row scores higher than a negative one, ties counting half (Mann-Whitney U); NaN where one of the two
    kinds is missing.
    """
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=np.nan) != 0)
    positive = is_positive[order]

    def measure(weights: Array) -> float:
        weight = weights[order]
        ups = np.add.reduceat(np.where(positive, weight, 0.0), starts)
        downs = np.add.reduceat(np.where(positive, 0.0, weight), starts)
        below = np.cumsum(downs) - downs
        total = ups.sum() * downs.sum()
        return float((ups * (below + downs / 2)).sum() / total) if total > 0 else math.nan

    return measure


def auc_one_vs_rest(answers: Array, scores: Array) -> Callable[[Array], float]:
    """Return the plain mean over classes of `auc` of each class against all others, as a function of row weights.

    `scores` is (rows, classes). Classes that never or always occur are left out; NaN where none is left.
    """
    each = [auc(answers == number, scores[:, number]) for number in range(scores.shape[1])]

    def measure(weights: Array) -> float:
        known = [value for value in (one(weights) for one in each) if not math.isnan(value)]
        return math.fsum(known) / len(known) if known else math.nan

    return measure
