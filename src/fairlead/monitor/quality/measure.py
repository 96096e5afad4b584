"""Metrics of labelled rows with intervals. Pure, seeded.

Takes LabelledRows; gives Measured. Raises RequirementError for a metric that has no meaning for the model.

Intervals of 95 %, unless `alpha` says otherwise: accuracy gets Wilson's score interval or, where somebody looks again and again, the
interval that holds at all times (`core.betting.rate_interval`); means (mae, business value) and, through its square, rmse get the normal
one; f1 the percentile bootstrap, drawn as counts of the confusion matrix, which are all that it depends on; auc and ece the percentile
bootstrap over rows. Above 50,000 rows, so many are drawn, and the interval is narrowed by the root of their share (Bickel, Goetze, van
Zwet, "Resampling fewer than n observations", Statistica Sinica 7, 1997).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from fairlead.core.answers import Answers, metric_of
from fairlead.core.betting import rate_interval
from fairlead.core.interface import Array
from fairlead.core.intervals import bootstrap, wilson
from fairlead.core.outcome import NOTHING, CostMatrix, LabelledRows, Measured
from fairlead.core.requirement import METRICS, MetricKind
from fairlead.errors import RequirementError

CLASS_METRICS = ("accuracy", "f1", "auc", "ece")
NUMBER_METRICS = ("mae", "rmse")
_Z = 1.959963984540054  # 97.5 % quantile of the normal distribution
_DRAWN = 50_000
_F1_DRAWS = 1000
_LEVELS = (2.5, 97.5)


def check_metric(name: str, rows: LabelledRows) -> None:
    """Raise RequirementError unless the metric has a meaning for such rows."""
    known = NUMBER_METRICS if rows.is_number else CLASS_METRICS
    if name not in known:
        is_quality = name in METRICS and METRICS[name].kind is MetricKind.QUALITY
        kind = "a regression" if rows.is_number else "a classification"
        said = f"'{name}' has no meaning for {kind}." if is_quality else f"'{name}' is no measure of quality."
        raise RequirementError(said, hint=f"Use {', '.join(known)}.")
    if name in {"auc", "ece"} and rows.scores is None and rows.count:
        raise RequirementError(f"'{name}' cannot be measured: the model gives no scores.", hint="Use accuracy or f1.")


def measure(name: str, rows: LabelledRows, chosen: Array, *, seed: int = 0, alpha: float | None = None) -> Measured:
    """Return a metric of the labelled ones among the rows that `chosen` (bool) says. With `alpha`, accuracy's interval is one that may be
    looked at at any time, and is wrong ever with that probability.
    """
    taken = chosen & rows.is_labelled
    count = int(taken.sum())
    if not count:
        return NOTHING
    answers = _answers(rows, taken)
    if name == "accuracy":
        hits = float((answers.right == answers.said).sum())
        low, high = wilson(hits / count, count) if alpha is None else rate_interval(hits, float(count), alpha)
        return Measured(hits / count, low, high, count)
    if name in NUMBER_METRICS:
        return _error(name, answers, count)
    if name == "f1":
        return _f1(answers, count, seed)
    return _drawn(name, answers, count, seed)


def worth(rows: LabelledRows, chosen: Array, costs: CostMatrix, names: Callable[[float], str]) -> Measured:
    """Return the business value per decision of the labelled rows that are chosen; `names` gives a class's label."""
    taken = chosen & rows.is_labelled
    right, said = rows.right[taken], rows.said[taken]
    if not len(right):
        return NOTHING
    pairs, places = np.unique(np.stack([right, said]), axis=1, return_inverse=True)
    values = np.asarray([costs.value(names(float(one)), names(float(other))) for one, other in pairs.T])[places.reshape(-1)]
    return _mean(values)


def _mean(values: Array) -> Measured:
    count = len(values)
    mean = float(values.mean())
    if count < 2:
        return Measured(mean, -math.inf, math.inf, count)
    spread = _Z * float(values.std(ddof=1)) / math.sqrt(count)
    return Measured(mean, mean - spread, mean + spread, count)


def _answers(rows: LabelledRows, taken: Array) -> Answers:
    right, said = rows.right[taken], rows.said[taken]
    if rows.is_number:
        return Answers(right, said, None, is_binary=False)
    scores = None if rows.scores is None else rows.scores[taken]
    return Answers(right.astype(np.int64), said.astype(np.int64), scores, is_binary=rows.is_binary)


def _error(name: str, answers: Answers, count: int) -> Measured:
    difference = answers.said - answers.right
    if name == "mae":
        mean = _mean(np.abs(difference))
        return Measured(mean.value, max(mean.low, 0.0), mean.high, count)
    square = _mean(difference**2)
    return Measured(math.sqrt(square.value), math.sqrt(max(square.low, 0.0)), math.sqrt(square.high), count)


def _f1(answers: Answers, count: int, seed: int) -> Measured:
    """Draw the confusion matrix's counts: a bootstrap over rows changes nothing else that F1 depends on."""
    pairs, counts = np.unique(np.stack([answers.right, answers.said]), axis=1, return_counts=True)
    measured = metric_of("f1", Answers(pairs[0], pairs[1], None, is_binary=answers.is_binary))
    draws = np.random.default_rng(seed).multinomial(count, counts / count, _F1_DRAWS).astype(np.float64)
    low, high = np.percentile(_f1_of_draws(draws, pairs, is_binary=answers.is_binary), _LEVELS)
    value = measured(counts.astype(np.float64))
    return Measured(value, min(float(low), value), max(float(high), value), count)


def _f1_of_draws(draws: Array, pairs: Array, *, is_binary: bool) -> Array:
    """Return F1 = 2 TP / (2 TP + FP + FN) of each row of counts, the mean over classes that occur, as `core.metrics.f1` has it."""
    classes = np.asarray([1]) if is_binary else np.unique(pairs)
    is_right, is_said = pairs[0][:, None] == classes, pairs[1][:, None] == classes
    whole = draws @ is_right + draws @ is_said
    hits = draws @ (is_right & is_said)
    shares = np.divide(2.0 * hits, whole, out=np.zeros_like(whole), where=whole > 0)
    return np.asarray(shares.sum(axis=1) / np.maximum((whole > 0).sum(axis=1), 1))


def _drawn(name: str, answers: Answers, count: int, seed: int) -> Measured:
    value = metric_of(name, answers)(np.ones(count))
    if math.isnan(value):  # rows of one class only
        return Measured(math.nan, math.nan, math.nan, count)
    drawn, share = answers, 1.0
    if count > _DRAWN:
        places = np.random.default_rng(seed).choice(count, _DRAWN, replace=False)
        scores = None if answers.scores is None else answers.scores[places]
        drawn, share = Answers(answers.right[places], answers.said[places], scores, is_binary=answers.is_binary), _DRAWN / count
    try:
        low, high = bootstrap(metric_of(name, drawn), len(drawn.right), seed=seed)
    except RequirementError:  # undefined on every draw
        return Measured(value, math.nan, math.nan, count)
    centre = (low + high) / 2 if share == 1.0 else value
    half = (high - low) / 2 * math.sqrt(share)
    return Measured(value, min(centre - half, value), max(centre + half, value), count)
