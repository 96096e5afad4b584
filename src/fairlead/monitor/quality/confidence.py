"""How sure an answer is: the probability of what was said, whatever form the model gives its scores in. Pure.

Takes an interface and outputs; gives an array with one number for each row, NaN where there is none. Scores that are no probabilities are
brought between 0 and 1 by the softmax (several classes) or the logistic function (one score), which keep their order: what such a number
means is learned from labelled rows (`reliability`), never believed.
"""

from __future__ import annotations

import numpy as np

from fairlead.core.calibration import probabilities_of
from fairlead.core.interface import Array, DecisionKind, Interface, Tensors, decide


def class_scores(interface: Interface, outputs: Tensors) -> Array | None:
    """Return (rows, classes) numbers between 0 and 1; None where the model gives no scores."""
    rule = interface.decision
    if rule is None or rule.kind is DecisionKind.VALUE:
        return None
    name = rule.scores or (rule.output if rule.kind in (DecisionKind.ARGMAX, DecisionKind.THRESHOLD) else "")
    scores = outputs.get(name)
    if scores is None or scores.dtype.kind not in "fiu":
        return None
    raw = np.asarray(scores, dtype=np.float64).reshape(len(scores), -1)
    is_single = rule.kind is DecisionKind.THRESHOLD or raw.shape[1] == 1
    if is_single and raw.shape[1] != 1:
        return None  # several independent decisions in a row
    is_probability = probabilities_of(interface, outputs) is not None
    if is_single:
        cut = rule.threshold if rule.kind is DecisionKind.THRESHOLD else 0.0
        positive = raw[:, 0] if is_probability else 1.0 / (1.0 + np.exp(-np.clip(raw[:, 0] - cut, -500.0, 500.0)))
        return np.stack([1.0 - positive, positive], axis=1)
    if is_probability:
        return raw
    with np.errstate(invalid="ignore"):
        powers = np.exp(raw - raw.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def confidence_of(interface: Interface, outputs: Tensors) -> Array:
    """Return how sure each row's answer is, (rows,) between 0 and 1; NaN where the model gives no scores, or none for the row."""
    rule = interface.decision
    count = len(next(iter(outputs.values())))
    scores = class_scores(interface, outputs)
    if rule is None or scores is None:
        return np.full(count, np.nan)
    if rule.kind is DecisionKind.THRESHOLD:  # the cut need not be one half
        said = decide(interface, outputs).reshape(count).astype(np.int64)
        return np.asarray(scores[np.arange(count), said])
    return np.asarray(scores.max(axis=1))
