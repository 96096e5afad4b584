"""Accuracy without labels: how often answers of each confidence were right at release, applied to the confidences of now. Pure.

`learn` takes labelled rows of the release and gives a Reliability; `estimate` takes that and live rows and gives an EstimatedQuality.

The idea is confidence-based performance estimation: P(right) is the mean over live rows of how often answers of that confidence were right
at release: a logistic curve, bent toward what was counted in bins of confidence and class. It supposes that answers of the same class and
confidence are right as often as they were at release. That holds where inputs come in other proportions (covariate shift) and a model's
confidence means the same for all of them; it fails where the meaning of inputs changes (concept drift), and for inputs that the release
never saw. Where live rows lie is weighed, too (`_moved`). What can be seen of a broken assumption is said in `doubts`: live rows that lie
where the release had none (`support`) or hardly any (`sample`), confidences that lie far beyond those of the release, and late labels that
contradict the estimate, tested so that one may look again and again (`core.betting`).

Sources: Garg et al., "Leveraging unlabeled data to predict out-of-distribution performance", ICLR 2022 (what confidence can tell and
cannot); the curve: Platt, "Probabilistic outputs for support vector machines", 1999; bending it as far as rows allow: Efron and Morris,
"Stein's estimation rule and its competitors", JASA 68, 1973.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fairlead.core.betting import rate_interval
from fairlead.core.interface import Array
from fairlead.core.outcome import EstimatedQuality, LabelledRows, Measured, Reliability, Support
from fairlead.monitor.quality.support import distances, places

ROWS_MIN = 100  # fewer labelled rows at release say nothing about bins
_BIN_ROWS, _BIN_LIMIT = 40, 20
_CLASS_ROWS = 40  # a class with fewer rows is like all others
_WEIGHT = 40.0  # rows that a bin needs to bend the curve half way, and a class's bin again
_PULL = 1.0
_SAMPLE_AXES, _SAMPLE_ROWS, _TRUSTED_ROWS = 8, 2000, 100.0
_Z = 1.959963984540054  # 97.5 % quantile of the normal distribution
_NOVEL_LIMIT = 0.05  # share of live rows beyond what one in a hundred of the release's own reached
_BEYOND_LIMIT = 0.05  # mean distance of confidences beyond those of the release's outermost bins
_OVERLAP_LIMIT, _OVERLAP_SLACK = 0.85, 2.5  # share of live rows that lie where the release's lay; less where those are few (/ sqrt of rows)
_CONTRADICTED = 0.01  # how often labels contradict a sound estimate, whenever one looks


def learn(rows: LabelledRows, support: Support | None = None, inputs: Array | None = None) -> Reliability | None:
    """Return how often answers of which confidence were right; None where there are too few labelled rows with a confidence. `inputs` are
    the rows' flat inputs, which `support` was learned from.
    """
    known = rows.is_labelled & ~np.isnan(rows.confidence)
    count = int(known.sum())
    if rows.is_number or count < ROWS_MIN:
        return None
    confidence, is_right = rows.confidence[known], rows.right[known] == rows.said[known]
    bins = max(min(count // _BIN_ROWS, _BIN_LIMIT), 2)
    edges = np.unique(np.quantile(confidence, np.arange(1, bins) / bins, method="inverted_cdf"))
    edges = edges[edges < confidence.max()]  # no bin is empty
    bins_of, size = np.searchsorted(edges, confidence, side="left"), len(edges) + 1
    totals = np.bincount(bins_of, minlength=size)
    means = np.bincount(bins_of, confidence, size) / np.maximum(totals, 1)
    class_rows, class_right = {}, {}
    for said in np.unique(rows.said[known]).tolist():
        of_class = rows.said[known] == said
        if of_class.sum() >= _CLASS_ROWS:
            key = str(int(said))
            class_rows[key] = _whole(np.bincount(bins_of[of_class], minlength=size))
            class_right[key] = _whole(np.bincount(bins_of[of_class], is_right[of_class], size))
    right = _whole(np.bincount(bins_of, is_right, size))
    sample: tuple[tuple[float, ...], ...] = ()
    if support is not None and inputs is not None:
        beside, most = np.stack([rows.said[known], confidence, is_right], axis=1), min(count, _SAMPLE_ROWS)
        chosen = np.arange(most) * count // most  # from all of them: data sets are often in the order of their classes
        table = np.concatenate([beside[chosen], places(support, inputs[known][chosen], _SAMPLE_AXES)], axis=1)
        sample = tuple(tuple(float(f"{value:.5g}") for value in row) for row in table.tolist())
    return Reliability(tuple(edges.tolist()), _whole(totals), right, tuple(means.tolist()), class_rows, class_right, support, sample)


def estimate(reliability: Reliability, rows: LabelledRows, inputs: Array | None = None, doubts: Sequence[str] = ()) -> EstimatedQuality:
    """Return the accuracy that live rows have by their confidences. `inputs` (rows, numbers) are flat inputs, for the release's support;
    `doubts` are what others (drift) found to speak against the assumption.
    """
    known = ~np.isnan(rows.confidence)
    confidence, said = rows.confidence[known], rows.said[known]
    if not len(confidence):
        return EstimatedQuality(Measured(math.nan, math.nan, math.nan, 0), reliability.accuracy, ("no row has a confidence",))
    bins = np.searchsorted(np.asarray(reliability.edges), confidence, side="left")
    found, variances = _chances(reliability, confidence, said)
    again = _again(inputs) if inputs is not None and len(inputs) else 1.0
    accuracy, spread = float(found.mean()), _spread(reliability, bins, found, variances, again)
    beyond = _beyond(reliability, confidence)
    reasons = list(doubts)
    moved = _Moved(0.0, 0.0, 1.0)
    if reliability.sample and reliability.support is not None and inputs is not None and len(inputs) >= ROWS_MIN:
        moved = _moved(reliability, reliability.support, inputs)
        if moved.overlap < _OVERLAP_LIMIT - _OVERLAP_SLACK / math.sqrt(len(reliability.sample)):
            reasons.append(f"the rows hardly lie where those of the release lay ({moved.overlap:.0%} of them could)")
    if beyond > _BEYOND_LIMIT:
        reasons.append(f"confidences lie {beyond:.2f} beyond those of the release, on average")
    novel = math.nan
    if reliability.support is not None and inputs is not None and len(inputs):
        novel = float((distances(reliability.support, inputs) > reliability.support.limit).mean())
        if novel > _NOVEL_LIMIT:
            expected = 1.0 - reliability.support.quantile
            reasons.append(f"{novel:.0%} of the rows are unlike those of the release (there it was {expected:.0%})")
    reasons += _contradictions(rows, reliability)
    accuracy = min(max(accuracy + moved.by, 0.0), 1.0)
    half = _Z * math.hypot(spread, moved.spread) + beyond
    interval = Measured(accuracy, max(accuracy - half, 0.0), min(accuracy + half, 1.0), len(confidence))
    return EstimatedQuality(interval, reliability.accuracy, tuple(reasons), novel)


class _Moved(NamedTuple):
    """By how much an estimate moves, the standard deviation of that, and the share of live rows that lie where the release's did."""

    by: float
    spread: float
    overlap: float


def _moved(reliability: Reliability, support: Support, inputs: Array) -> _Moved:
    """Return by how much the release's answers were right more often than their confidences say where live rows lie: rows of the release
    weigh as much as live rows are more frequent at their place.

    Weights are the odds of a logistic classifier between the two (Bickel, Bruckner, Scheffer, "Discriminative learning under covariate
    shift", JMLR 10, 2009); adding what they say to the estimate by confidence makes it right where either of them is (Robins, Rotnitzky,
    Zhao, JASA 89, 1994).
    """
    sample = np.asarray(reliability.sample, dtype=np.float64)
    rows = inputs[:: -(-len(inputs) // _SAMPLE_ROWS)]  # from all of the time
    before, now = sample[:, 3:], places(support, rows, _SAMPLE_AXES)
    weights = _odds(before, now)
    excess = sample[:, 2] - _chances(reliability, sample[:, 1], sample[:, 0])[0]
    total, level = float(weights.sum()), float(excess.mean())
    effective = total**2 / float((weights**2).sum())
    trust = effective / (effective + _TRUSTED_ROWS)
    found = float((weights * excess).sum()) / total
    deviation = math.sqrt(float(((weights * (excess - found)) ** 2).sum())) / total
    overlap = min(total / len(sample) * len(before) / len(now), 1.0)
    return _Moved(level + trust * (found - level), trust * deviation, overlap)


def _odds(before: Array, now: Array) -> Array:
    """Return how much more frequent rows are now at each place of before, at most 20 times."""
    table = np.concatenate([before, now])
    table = np.concatenate([np.ones((len(table), 1)), table, np.minimum(table**2, 9.0)], axis=1)
    is_now = np.r_[np.zeros(len(before)), np.ones(len(now))]
    weights = np.zeros(table.shape[1])
    for _ in range(15):  # Newton's steps with a pull toward no difference
        shares = 1.0 / (1.0 + np.exp(-np.clip(table @ weights, -30.0, 30.0)))
        bend = (table * (shares * (1.0 - shares))[:, None]).T @ table + 5.0 * np.eye(len(weights))
        move = np.linalg.solve(bend, table.T @ (is_now - shares) - 5.0 * weights)
        weights = weights + np.clip(move, -2.0, 2.0)
        if float(np.abs(move).max()) < 1e-6:
            break
    return np.asarray(np.exp(np.clip(table[: len(before)] @ weights, -3.0, 3.0)))


def _whole(counts: Array) -> tuple[int, ...]:
    return tuple(counts.astype(np.int64).tolist())


def _chances(reliability: Reliability, confidence: Array, said: Array) -> tuple[Array, Array]:
    """Return each row's chance to be right, and that chance's own variance.

    A logistic curve of the confidence is bent, bin by bin, toward what was counted there, and by class again: the more, the more rows.
    """
    rows, right = np.asarray(reliability.rows, dtype=np.float64), np.asarray(reliability.right, dtype=np.float64)
    means, curve = np.asarray(reliability.mean), _curve(reliability)
    shares = _logistic(curve, means)
    bend = (right - rows * shares) / (rows + _WEIGHT)
    shares = np.clip(shares + bend, 0.0, 1.0)
    bins = np.searchsorted(np.asarray(reliability.edges), confidence, side="left")
    found = _logistic(curve, confidence) + np.interp(_log_odds(confidence), _log_odds(means), bend)
    variances = ((shares * (1.0 - shares) + 0.25 / (rows + 1.0)) / (rows + _WEIGHT))[bins]
    for key, class_rows in reliability.class_rows.items():
        own, good = np.asarray(class_rows, dtype=np.float64), np.asarray(reliability.class_right[key], dtype=np.float64)
        own_bend = (good - own * shares) / (own + _WEIGHT)
        of_class = said == float(key)
        found[of_class] += np.interp(_log_odds(confidence[of_class]), _log_odds(means), own_bend)
        spread = (shares * (1.0 - shares) + 0.25 / (own + 1.0)) / (own + _WEIGHT)
        variances[of_class] = np.maximum(variances[of_class], spread[bins[of_class]] * own.sum() / max(rows.sum(), 1.0))
    return np.clip(found, 0.0, 1.0), variances


def _curve(reliability: Reliability) -> tuple[float, float]:
    """Return level and slope of the logistic curve through the bins (Platt 1999), held to slopes of 0 and more."""
    rows, right = np.asarray(reliability.rows, dtype=np.float64), np.asarray(reliability.right, dtype=np.float64)
    table = np.stack([np.ones(len(rows)), _log_odds(np.asarray(reliability.mean))], axis=1)
    weights = np.array([0.0, 1.0])
    for _ in range(25):  # Newton's steps on the likelihood, with a weak pull toward honest confidences
        shares = 1.0 / (1.0 + np.exp(-np.clip(table @ weights, -30.0, 30.0)))
        slope = table.T @ (right - rows * shares) - _PULL * (weights - np.array([0.0, 1.0]))
        bend = (table * (rows * shares * (1.0 - shares))[:, None]).T @ table + _PULL * np.eye(2)
        move = np.linalg.solve(bend, slope)
        weights = weights + np.clip(move, -2.0, 2.0)
        if float(np.abs(move).max()) < 1e-9:
            break
    return float(weights[0]), max(float(weights[1]), 0.0)


def _logistic(curve: tuple[float, float], confidence: Array) -> Array:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(curve[0] + curve[1] * _log_odds(confidence), -30.0, 30.0))))


def _log_odds(confidence: Array) -> Array:
    kept = np.clip(confidence, 1e-9, 1.0 - 1e-9)
    return np.asarray(np.log(kept / (1.0 - kept)))


def _again(inputs: Array) -> float:
    """Return how often a row comes, on average over rows: one that comes again says nothing new of how right answers are."""
    known = np.where(np.isfinite(inputs), inputs, 0.0)
    weights = np.random.default_rng(0).normal(size=known.shape[1]) / np.maximum(np.abs(known).max(axis=0), 1e-12)
    counts = np.unique(known @ weights, return_counts=True)[1].astype(np.float64)
    return float((counts**2).sum() / counts.sum())


def _spread(reliability: Reliability, bins: Array, found: Array, variances: Array, again: float = 1.0) -> float:
    """Return the standard deviation of the mean: of the live rows (they are drawn, each `again` times), and of the bins (they were
    learned).

    Rows of one bin share that bin's error, so within a bin it does not average out.
    """
    count = len(found)
    drawn = float((found * (1.0 - found)).sum()) / count**2 * again
    share = np.bincount(bins, minlength=len(reliability.rows)) / count
    deviation = np.bincount(bins, np.sqrt(variances), len(reliability.rows)) / np.maximum(np.bincount(bins, minlength=len(share)), 1)
    return math.sqrt(drawn + float(((share * deviation) ** 2).sum()))


def _beyond(reliability: Reliability, confidence: Array) -> float:
    """Return how far live confidences lie beyond the outermost bins' means, on average."""
    return float(np.abs(confidence - np.clip(confidence, reliability.mean[0], reliability.mean[-1])).mean())


def _contradictions(rows: LabelledRows, reliability: Reliability) -> tuple[str, ...]:
    """Hold the estimate of the rows that have labels against those labels."""
    known = rows.is_labelled & ~np.isnan(rows.confidence)
    count = int(known.sum())
    if not count:
        return ()
    hits = float((rows.right[known] == rows.said[known]).sum())
    low, high = rate_interval(hits, float(count), _CONTRADICTED)
    bins = np.searchsorted(np.asarray(reliability.edges), rows.confidence[known], side="left")
    found, variances = _chances(reliability, rows.confidence[known], rows.said[known])
    expected, slack = float(found.mean()), _Z * _spread(reliability, bins, found, variances)
    if low - slack <= expected <= high + slack:
        return ()
    return (f"{count:,} labels say {hits / count:.1%}, the estimate for the same rows is {expected:.1%}",)
