"""Right answers beside what a model said, in one form, and every built-in metric of them as a function of row weights. Pure.

Takes an interface, the answers and the outputs of a model; gives Answers and functions. Raises DataError where shapes differ,
RequirementError where a metric has no meaning for them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from fairlead.core import metrics
from fairlead.core.calibration import confidences_of, expected_calibration_error
from fairlead.core.deciding import undecided
from fairlead.core.interface import Array, DecisionKind, Interface, Tensors, decide
from fairlead.errors import DataError, RequirementError

_NOTHING = np.iinfo(np.int64).min  # stands for no decision: no class has this number


@dataclass(frozen=True)
class Answers:
    """Right answers beside what a model said, in one form: class numbers or numbers, flat. `scores` is (rows, classes) or None."""

    right: Array = field(repr=False)
    said: Array = field(repr=False)
    scores: Array | None = field(repr=False)
    is_binary: bool


def align(interface: Interface, target: Array, outputs: Tensors) -> Answers:
    """Return answers and decisions in one form. Raises DataError where their shapes differ."""
    said = decide(interface, outputs)
    if said.shape != target.shape:
        raise DataError(
            f"The target has shape {list(target.shape)}, the decisions {list(said.shape)}.", hint="Give one answer per decision."
        )
    scores = _scores(interface, outputs)
    if interface.decision is not None and interface.decision.kind is DecisionKind.VALUE:
        return Answers(target.reshape(-1).astype(np.float64), said.reshape(-1).astype(np.float64), None, is_binary=False)
    right, said = _numbered(interface, target), _numbered(interface, said)
    is_binary = _is_binary(interface, right, said, scores)
    missing = undecided(interface, outputs)
    if missing.any():  # no decision is a wrong one
        said = np.where(np.repeat(missing, len(said) // len(missing)), _NOTHING, said)
    return Answers(right, said, scores, is_binary)


def metric_of(name: str, answers: Answers) -> Callable[[Array], float]:
    """Return metric `name` as a function of row weights."""
    right, said, scores = answers.right, answers.said, answers.scores
    if name == "f1":
        return lambda weights: metrics.f1(right, said, weights, is_binary=answers.is_binary)
    if name == "auc":
        if scores is None:
            raise RequirementError("'auc' cannot be measured: the model gives no scores.", hint="Use accuracy or f1.")
        if scores.shape[1] == 2:
            return metrics.auc(right == 1, scores[:, 1])
        return metrics.auc_one_vs_rest(right, scores)
    if name == "ece" and scores is not None:
        return expected_calibration_error(*confidences_of(scores, right))
    plain = {"accuracy": metrics.accuracy, "rmse": metrics.rmse, "mae": metrics.mae}[name]
    return lambda weights: plain(right, said, weights)


def _scores(interface: Interface, outputs: Tensors) -> Array | None:
    """Return (rows, classes) scores; a single score s for the positive class becomes (-s, s)."""
    rule = interface.decision
    if rule is None or rule.kind is DecisionKind.VALUE:
        return None
    name = rule.scores or (rule.output if rule.kind in (DecisionKind.ARGMAX, DecisionKind.THRESHOLD) else "")
    if not name:
        return None
    scores = np.asarray(outputs[name], dtype=np.float64)
    if rule.kind is DecisionKind.THRESHOLD or scores.ndim == 1 or scores.shape[-1] == 1:
        return np.stack([-scores.reshape(-1), scores.reshape(-1)], axis=1)
    return scores.reshape(-1, scores.shape[-1])


def _numbered(interface: Interface, labels: Array) -> Array:
    """Flat class numbers; labels become their place in the interface's list, or stay themselves where it lists none."""
    flat = labels.reshape(-1)
    is_label = interface.decision is not None and interface.decision.kind is DecisionKind.LABEL
    if not is_label or not interface.labels:
        return flat
    numbers = {label: number for number, label in enumerate(interface.labels)}
    return np.asarray([numbers.get(label.item() if isinstance(label, np.generic) else label, -1) for label in flat], dtype=np.int64)


def _is_binary(interface: Interface, right: Array, said: Array, scores: Array | None) -> bool:
    if interface.labels:
        return len(interface.labels) == 2
    if scores is not None:
        return bool(scores.shape[1] == 2)
    occurring: set[object] = {*np.unique(right).tolist(), *np.unique(said).tolist()}
    return occurring <= {0, 1}
