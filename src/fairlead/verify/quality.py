"""How well original and candidate decide on rows whose right answers are known.

Takes an interface, outputs of both, the answers and the wanted metrics; gives core `Quality` values. Pure apart from the user's own metric
functions. Raises RequirementError where a metric has no meaning for the model, or the user's function fails.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from fairlead.core.deciding import undecided
from fairlead.core.interface import Array, DecisionKind, Interface, Task, Tensors, decide
from fairlead.core.requirement import MetricKind, Requirement
from fairlead.core.verdict import Calibration, Quality
from fairlead.errors import DataError, RequirementError
from fairlead.verify import metrics
from fairlead.verify.calibration import BIN_COUNT, confidences_of, expected_calibration_error, probabilities_of
from fairlead.verify.intervals import bootstrap, wilson

CustomMetric = Callable[[Array, Array], float]
_BY_TASK = {Task.CLASSIFICATION: ("accuracy", "f1", "auc", "ece"), Task.REGRESSION: ("rmse", "mae")}
_NOTHING = np.iinfo(np.int64).min  # stands for no decision: no class has this number
_DEFAULT = {Task.CLASSIFICATION: ("accuracy",), Task.REGRESSION: ("rmse", "mae")}


@dataclass(frozen=True)
class Answers:
    """Right answers beside what a model said, in one form: class numbers or numbers, flat. `scores` is (rows, classes) or None."""

    right: Array = field(repr=False)
    said: Array = field(repr=False)
    scores: Array | None = field(repr=False)
    is_binary: bool


def task_of(interface: Interface) -> Task | None:
    """Return the task: what was given, else what the decision rule implies, else None."""
    if interface.task is not None or interface.decision is None:
        return interface.task
    return Task.REGRESSION if interface.decision.kind is DecisionKind.VALUE else Task.CLASSIFICATION


def wanted_metrics(interface: Interface, requirements: tuple[Requirement, ...], *, has_target: bool) -> tuple[str, ...]:
    """Return the metrics to measure: those that are required, and the task's own where there is a target.

    Raises RequirementError where a metric is required that the task or the data does not allow.
    """
    required = [item.metric for item in requirements if item.kind is MetricKind.QUALITY]
    if required and not has_target:
        raise RequirementError(
            f"'{required[0]}' cannot be measured: the data has no right answers.", hint="Give them: y in the .npz file, or --target column."
        )
    if not has_target:
        return ()
    task = task_of(interface)
    if interface.decision is None or task is None:
        if required:
            raise RequirementError(
                f"'{required[0]}' cannot be measured: it is not known how the model's outputs decide.",
                hint="Say what the model is for: --task classification or --task regression.",
            )
        return ()
    for metric in required:
        if ":" not in metric and metric not in _BY_TASK[task]:
            raise RequirementError(f"'{metric}' has no meaning for {task.value}.", hint=f"Use {', '.join(_BY_TASK[task])}.")
    return tuple(dict.fromkeys((*required, *_DEFAULT[task])))


@dataclass(frozen=True)
class QualityJob:
    """Rows with their right answers (as `datasets` binds them), outputs of both, and what to measure."""

    interface: Interface
    target: Array = field(repr=False)
    original: Tensors = field(repr=False)
    candidate: Tensors = field(repr=False)
    metrics: tuple[str, ...]
    custom: Mapping[str, CustomMetric]
    seed: int


@dataclass(frozen=True)
class Measures:
    """One metric of one model's answers, as a function of how often each row counts."""

    measure: Callable[[Array], float]
    answers: Answers = field(repr=False)

    @property
    def row_count(self) -> int:
        """Rows, or decisions where a row has several."""
        return len(self.answers.right)

    def right_rows(self) -> Array:
        """Return which are decided rightly."""
        found: Array = self.answers.right == self.answers.said
        return found


def measures_of(job: QualityJob, name: str) -> tuple[Measures, Measures]:
    """Return the built-in metric `name` of original and candidate."""
    before, after = (align(job.interface, job.target, outputs) for outputs in (job.original, job.candidate))
    return Measures(_function(name, before), before), Measures(_function(name, after), after)


def measure_quality(job: QualityJob) -> tuple[Quality, ...]:
    """Return each metric of original and candidate with its 95 % interval."""
    before, after = (align(job.interface, job.target, outputs) for outputs in (job.original, job.candidate))
    return tuple(_measure_one(job, name, before, after) for name in job.metrics)


def measure_calibration(job: QualityJob) -> Calibration | None:
    """Return the calibration error of both; None where the original gives no probabilities that can be held against the answers."""
    before, after = (align(job.interface, job.target, outputs) for outputs in (job.original, job.candidate))
    if _no_calibration(job, before):
        return None
    count = len(before.right)
    original, candidate = (_function("ece", answers)(np.ones(count)) for answers in (before, after))
    return Calibration(original, candidate, BIN_COUNT, count)


def _no_calibration(job: QualityJob, answers: Answers) -> str:
    """Return why the original's scores have no calibration error, or ""."""
    if answers.scores is None or probabilities_of(job.interface, job.original) is None:
        return "the model gives no probabilities"
    if len(answers.scores) != len(answers.right):
        return "the model does not give one probability per decision"
    is_numbered = answers.right.dtype.kind in "biu" and bool(np.isin(answers.right, np.arange(answers.scores.shape[1])).all())
    return "" if is_numbered else "it is not known which probability belongs to which label"


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


def _measure_one(job: QualityJob, name: str, before: Answers, after: Answers) -> Quality:
    count = len(before.right)
    if ":" in name:
        return _measure_custom(job, name)
    if name == "ece" and (reason := _no_calibration(job, before)):
        raise RequirementError(f"'ece' cannot be measured: {reason}.", hint="Use accuracy or f1.")
    original, candidate = (_function(name, answers) for answers in (before, after))
    ones = np.ones(count)
    values = original(ones), candidate(ones)
    if math.isnan(values[0]):
        raise RequirementError(f"'{name}' is undefined on this data: it needs rows of at least two classes.", hint="Give more rows.")
    if name == "accuracy":
        intervals = wilson(values[0], count), wilson(values[1], count)
    else:
        # A candidate that answers NaN is no error of the data: it meets no requirement.
        nowhere = (math.nan, math.nan)
        after_all = nowhere if math.isnan(values[1]) else bootstrap(candidate, count, seed=job.seed)
        intervals = bootstrap(original, count, seed=job.seed), after_all
    return Quality(name, *values, *intervals, count)


def _function(name: str, answers: Answers) -> Callable[[Array], float]:
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


def _measure_custom(job: QualityJob, name: str) -> Quality:
    function = job.custom[name]
    right = _labelled(job.interface, job.target)
    said = [_said(job.interface, outputs) for outputs in (job.original, job.candidate)]
    values = [_call(name, function, right, decisions) for decisions in said]
    intervals = [bootstrap(_on_draws(function, right, decisions), len(right), seed=job.seed) for decisions in said]
    return Quality(name, values[0], values[1], intervals[0], intervals[1], len(right))


def _on_draws(function: CustomMetric, right: Array, said: Array) -> Callable[[Array], float]:
    """Return the user's metric as a function of how often each row was drawn; NaN where a draw leaves it undefined."""

    def measure(weights: Array) -> float:
        rows = np.repeat(np.arange(len(right)), weights.astype(np.int64))
        try:
            return float(function(right[rows], said[rows]))
        except Exception:  # noqa: BLE001 - the user's own function may raise anything; it has worked on all rows
            return math.nan

    return measure


def _call(name: str, function: CustomMetric, right: Array, said: Array) -> float:
    try:
        value = float(function(right, said))
    except Exception as error:  # the user's own function may raise anything; what it says goes to the user
        raise RequirementError(f"The metric '{name}' failed: {type(error).__name__}: {error}", hint="It gets (y_true, y_pred).") from error
    if math.isnan(value):
        raise RequirementError(f"The metric '{name}' is NaN on this data.", hint="It has to give a number.")
    return value


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


def _labelled(interface: Interface, decisions: Array) -> Array:
    """What the user's own metric sees: labels where the model has them."""
    rule = interface.decision
    if interface.labels and rule is not None and rule.kind in (DecisionKind.ARGMAX, DecisionKind.THRESHOLD):
        return np.asarray(interface.labels)[decisions]
    return decisions


def _said(interface: Interface, outputs: Tensors) -> Array:
    """What the user's own metric sees of an answer; None in rows without a decision."""
    decisions = _labelled(interface, decide(interface, outputs))
    missing = undecided(interface, outputs)
    if missing.any():
        decisions = decisions.astype(object)
        decisions[missing] = None
    return decisions


def _is_binary(interface: Interface, right: Array, said: Array, scores: Array | None) -> bool:
    if interface.labels:
        return len(interface.labels) == 2
    if scores is not None:
        return bool(scores.shape[1] == 2)
    occurring: set[object] = {*np.unique(right).tolist(), *np.unique(said).tolist()}
    return occurring <= {0, 1}
