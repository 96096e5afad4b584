"""What a trial's answers lost against the original's on the selection rows. Pure but for the user's own metrics.

Takes outputs of both and the requirements; gives values by Requirement.name. Raises what `verify.quality` raises.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from fairlead.app.custom_metrics import CustomMetric
from fairlead.core.dataset import Dataset
from fairlead.core.interface import Array, Interface, Tensors, decide
from fairlead.core.requirement import METRICS, Direction, MetricKind, Requirement, loss
from fairlead.verify.keeping import JEFFREYS, Prior, chance_of_count, chance_of_loss, chance_of_metric, moved_rows
from fairlead.verify.quality import QualityJob, measure_quality, wanted_metrics

COUNTED = ("accuracy", "decision_flips")  # metrics that are counts of rows: how sure they are follows from the counts alone


@dataclass(frozen=True)
class Judge:
    """Holds a trial's answers against those of the original on the same rows. `unseen` rows will give the verdict (0: as many as these)."""

    interface: Interface
    rows: Dataset = field(repr=False)
    original: Tensors = field(repr=False)
    requirements: tuple[Requirement, ...]
    metrics: Mapping[str, CustomMetric]
    seed: int
    unseen: int = 0

    def values(self, outputs: Tensors) -> dict[str, float]:
        """Return what every requirement on answers is about, and how far the task's own metric fell."""
        return {**self._qualities(outputs), **self._differences(outputs)}

    def broken(self, values: Mapping[str, float]) -> Requirement | None:
        """Return the first requirement on what may be lost that `values` break."""
        return next(
            (one for one in self.requirements if one.is_loss_bound and one.name in values and not one.is_met(values[one.name])), None
        )

    def moved(self, outputs: Tensors) -> tuple[int, int] | None:
        """Return how many rows were lost and won against the original; None where that has no meaning."""
        if self.rows.target is None or "accuracy" not in wanted_metrics(self.interface, (), has_target=True):
            return None
        return moved_rows(self._job("accuracy", outputs))

    def chance(
        self,
        values: Mapping[str, float],
        moved: tuple[int, int] | None,
        prior: Callable[[Requirement], Prior] = lambda _: JEFFREYS,
        outputs: Tensors | None = None,
    ) -> float | None:
        """Return how likely every requirement on what may be lost holds on rows that nobody has seen; None where nothing can be told.
        `prior` says what other models show of a counted one. Without `outputs`, only what follows from counts of rows is told.
        """
        found = [
            self._chance(item, values, moved, prior, outputs) for item in self.requirements if item.is_loss_bound and item.name in values
        ]
        return min((one for one in found if one is not None), default=None)

    def counts(self, item: Requirement, values: Mapping[str, float], moved: tuple[int, int] | None) -> tuple[int, int] | None:
        """Return the rows that speak against and for a requirement: lost and won against the original, or bad and good; None where it is
        not about a count of rows.
        """
        if item.name not in values:
            return None
        if item.metric == "decision_flips":
            flips = round(values[item.name])
            return flips, max(self.rows.rows - flips, 0)
        if item.metric != "accuracy" or self.rows.target is None:
            return None
        if item.is_relative:
            return moved
        wrong = round(self.rows.target.size * (1 - values[item.name]))
        return wrong, self.rows.target.size - wrong

    def chance_of_counts(self, item: Requirement, counts: tuple[int, int], prior: Prior) -> float:
        """Return how likely a requirement about a count of rows holds on rows that nobody has seen."""
        unseen = self.unseen or self.rows.rows
        if item.is_relative:
            return chance_of_loss(*counts, self.decision_count, allowed=item.bound, unseen=unseen, prior=prior)
        allowed = item.bound / unseen if item.metric == "decision_flips" else 1 - item.bound
        return chance_of_count(counts[0], sum(counts), allowed=allowed, unseen=unseen, prior=prior)

    def holds_counts(self, item: Requirement, counts: tuple[int, int]) -> bool:
        """Whether a requirement about a count of rows is kept by such counts."""
        if item.metric == "decision_flips":
            return item.is_met(counts[0])
        share = counts[0] / max(self.decision_count, 1)
        return item.is_met(loss(share, counts[1] / max(self.decision_count, 1), is_rise=False) if item.is_relative else 1 - share)

    @property
    def decision_count(self) -> int:
        """Rows, or decisions where a row has several."""
        return self.rows.rows if self.rows.target is None else self.rows.target.size

    def _chance(
        self,
        item: Requirement,
        values: Mapping[str, float],
        moved: tuple[int, int] | None,
        prior: Callable[[Requirement], Prior],
        outputs: Tensors | None,
    ) -> float | None:
        unseen, counts = self.unseen or self.rows.rows, self.counts(item, values, moved)
        if counts is not None:
            return self.chance_of_counts(item, counts, prior(item))
        if item.kind is not MetricKind.QUALITY or item.is_custom or outputs is None:
            return None
        return chance_of_metric(item, self._job(item.metric, outputs), unseen)

    def _job(self, metric: str, outputs: Tensors) -> QualityJob:
        if self.rows.target is None:
            raise ValueError("a metric needs right answers")
        return QualityJob(self.interface, self.rows.target, self.original, outputs, (metric,), self.metrics, self.seed)

    def loss(self, values: Mapping[str, float]) -> float:
        """Return what stands for the loss in one number, 0 or more: the first of the user's floors, else the task's metric, else flips."""
        for item in self.requirements:
            if item.is_loss_bound and item.name in values:
                value = values[item.name]
                return max(value, 0.0) if not item.is_minimum else max(item.bound - value, 0.0)
        return max(
            next((value for name, value in values.items() if name.endswith(("_drop", "_rise"))), values.get("decision_flips", 0.0)), 0.0
        )

    def _qualities(self, outputs: Tensors) -> dict[str, float]:
        has_target = self.rows.target is not None
        wanted = wanted_metrics(self.interface, self.requirements, has_target=has_target)
        if self.rows.target is None or not wanted:
            return {}
        job = QualityJob(self.interface, self.rows.target, self.original, outputs, wanted, self.metrics, self.seed)
        found: dict[str, float] = {}
        for quality in measure_quality(job):
            is_minimum = quality.metric not in METRICS or METRICS[quality.metric].better is Direction.HIGHER
            lost = loss(quality.original, quality.candidate, is_rise=not is_minimum)
            found[f"{quality.metric}{'_drop' if is_minimum else '_rise'}"] = lost
            found[quality.metric] = quality.candidate
        for item in self.requirements:  # a user's own metric may be better when it is smaller
            if item.kind is MetricKind.QUALITY and item.is_custom and item.is_rise:
                found[item.name] = -found[f"{item.metric}_drop"]
        return found

    def _differences(self, outputs: Tensors) -> dict[str, float]:
        found: dict[str, float] = {}
        numeric = [name for name, tensor in self.original.items() if tensor.dtype.kind in "fiub"]
        if numeric:
            found["max_abs_diff"] = max(_largest(self.original[name], outputs[name]) for name in numeric)
        if self.interface.decision is not None:
            before, after = decide(self.interface, self.original), decide(self.interface, outputs)
            if before.dtype.kind != "f":
                found["decision_flips"] = float((before != after).reshape(len(before), -1).any(axis=1).sum())
        return found


def _largest(before: Array, after: Array) -> float:
    with np.errstate(invalid="ignore"):
        difference = np.abs(after.astype(np.float64) - before.astype(np.float64))
    is_same = (before == after) | (np.isnan(before.astype(np.float64)) & np.isnan(after.astype(np.float64)))
    return float(np.where(is_same, 0.0, difference).max(initial=0.0))
