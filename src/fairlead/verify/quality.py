"""How well original and candidate decide on rows whose right answers are known.

Takes an interface, outputs of both, the answers and the wanted metrics; gives core `Quality` values. Pure apart from the user's own metric
functions. Raises RequirementError where a metric has no meaning for the model, or the user's function fails.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from fairlead.core.answers import Answers, align, metric_of
from fairlead.core.calibration import BIN_COUNT, probabilities_of
from fairlead.core.deciding import undecided
from fairlead.core.interface import Array, DecisionKind, Interface, Task, Tensors, decide
from fairlead.core.intervals import bootstrap, wilson
from fairlead.core.requirement import MetricKind, Requirement
from fairlead.core.verdict import Calibration, Quality
from fairlead.errors import RequirementError

CustomMetric = Callable[[Array, Array], float]
_BY_TASK = {Task.CLASSIFICATION: ("accuracy", "f1", "auc", "ece"), Task.REGRESSION: ("rmse", "mae")}
_DEFAULT = {Task.CLASSIFICATION: ("accuracy",), Task.REGRESSION: ("rmse", "mae")}


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
    return Measures(metric_of(name, before), before), Measures(metric_of(name, after), after)


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
    original, candidate = (metric_of("ece", answers)(np.ones(count)) for answers in (before, after))
    return Calibration(original, candidate, BIN_COUNT, count)


def _no_calibration(job: QualityJob, answers: Answers) -> str:
    """Return why the original's scores have no calibration error, or ""."""
    if answers.scores is None or probabilities_of(job.interface, job.original) is None:
        return "the model gives no probabilities"
    if len(answers.scores) != len(answers.right):
        return "the model does not give one probability per decision"
    is_numbered = answers.right.dtype.kind in "biu" and bool(np.isin(answers.right, np.arange(answers.scores.shape[1])).all())
    return "" if is_numbered else "it is not known which probability belongs to which label"


def _measure_one(job: QualityJob, name: str, before: Answers, after: Answers) -> Quality:
    count = len(before.right)
    if ":" in name:
        return _measure_custom(job, name)
    if name == "ece" and (reason := _no_calibration(job, before)):
        raise RequirementError(f"'ece' cannot be measured: {reason}.", hint="Use accuracy or f1.")
    original, candidate = (metric_of(name, answers) for answers in (before, after))
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
