"""Quality over windows, per version and per slice, and against what the release measured. Pure.

Takes LabelledRows; gives WindowQuality values, and the difference from a release's evidence with its interval.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fairlead.core.interface import Array
from fairlead.core.outcome import CostMatrix, LabelledRows, Measured, WindowQuality
from fairlead.core.requirement import METRICS, Direction
from fairlead.core.verdict import Quality
from fairlead.monitor.quality.measure import measure, worth

_WIDTHS_S = (60.0, 300.0, 900.0, 3600.0, 6 * 3600.0, 86_400.0, 7 * 86_400.0, 28 * 86_400.0)
SLICE_LIMIT = 20  # the most frequent values of a column; the rest is one slice
OTHERS = "(others)"
_TEXTS_SHARE = 0.1  # of a column of numbers may be no numbers: missing ones


@dataclass(frozen=True)
class ReportJob:
    """What to measure: `metrics` of each window of `width_s` seconds (0: all of the time is one), of each value of the column `by` ("":
    none), and business value where there are `costs` (`names`: a class's label).
    """

    metrics: tuple[str, ...]
    width_s: float = 0.0
    by: str = ""
    costs: CostMatrix | None = None
    names: Callable[[float], str] = str
    seed: int = 0
    alpha: float | None = None


@dataclass(frozen=True)
class Against:
    """Production against the release: by how much it is worse (`loss`, below 0: better), with the interval of that."""

    metric: str
    production: Measured
    release: Measured
    loss: Measured

    @property
    def is_worse(self) -> bool:
        """Whether even the end that speaks most for production is worse than the release."""
        return self.loss.low > 0.0

    @property
    def is_better(self) -> bool:
        """Whether even the end that speaks least for it is better."""
        return self.loss.high < 0.0


def width_for(span_s: float, most: int = 24) -> float:
    """Return a round width of which at most `most` windows make up the time."""
    return next((width for width in _WIDTHS_S if span_s / width <= most), _WIDTHS_S[-1])


def report(rows: LabelledRows, since: float, until: float, job: ReportJob) -> tuple[WindowQuality, ...]:
    """Return the quality of every window, version and slice that has a row: windows in order, in each the versions, in each the slices."""
    if job.by:
        rows = replace(rows, slices={**rows.slices, job.by: bucketed(rows.slices[job.by])})
    found = []
    for start, end in _windows(since, until, job.width_s):
        inside = (rows.at >= start) & (rows.at < end)
        for version in np.unique(rows.version[inside]).tolist():
            of_version = inside & (rows.version == version)
            for name, chosen in _slices(rows, of_version, job.by):
                found.append(_one(rows, chosen, job, (start, end), int(version), name))
    return tuple(found)


def whole(rows: LabelledRows, since: float, until: float, job: ReportJob) -> WindowQuality:
    """Return the quality of all rows together."""
    everything = np.ones(rows.count, bool)
    return _one(rows, everything, replace(job, by=""), (since, until), 0, "")


def against(metric: str, production: Measured, evidence: Quality) -> Against:
    """Return how production compares with the verdict's candidate.

    The interval of the difference is built from both (MOVER: Zou and Donner, Statistics in Medicine 27, 2008; for shares it is Newcombe's
    hybrid score interval, Statistics in Medicine 17, 1998, method 10).
    """
    low, high = evidence.candidate_interval
    release = Measured(evidence.candidate, low, high, evidence.row_count)
    is_higher = metric not in METRICS or METRICS[metric].better is Direction.HIGHER
    first, second = (release, production) if is_higher else (production, release)
    loss = first.value - second.value
    down = math.hypot(first.value - first.low, second.high - second.value)
    up = math.hypot(first.high - first.value, second.value - second.low)
    return Against(metric, production, release, Measured(loss, loss - down, loss + up, production.rows))


def bucketed(column: Array) -> Array:
    """Return a column of texts with its numbers in quarters where there are more of them than anybody reads."""
    names, places = np.unique(column.astype(str), return_inverse=True)
    if len(names) <= SLICE_LIMIT:
        return column
    numbers = np.asarray([_number(name) for name in names.tolist()])
    if np.isnan(numbers).mean() > _TEXTS_SHARE:
        return column
    values = numbers[places]
    edges = np.unique(np.quantile(values[~np.isnan(values)], (0.25, 0.5, 0.75)))
    texts = [f"{edge:.4g}" for edge in edges]
    titles = [f"<= {texts[0]}", *(f"{one} to {two}" for one, two in itertools.pairwise(texts)), f"> {texts[-1]}"]
    found = np.asarray(titles, dtype=object)[np.searchsorted(edges, values, side="left").clip(0, len(edges))]
    found[np.isnan(values)] = OTHERS
    return np.asarray(found)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _windows(since: float, until: float, width_s: float) -> list[tuple[float, float]]:
    if not width_s or width_s >= until - since:
        return [(since, until)]
    first = math.floor(since / width_s) * width_s
    edges = [first + width_s * place for place in range(math.ceil((until - first) / width_s) + 1)]
    return [(max(start, since), min(end, until)) for start, end in itertools.pairwise(edges)]


def _slices(rows: LabelledRows, chosen: Array, by: str) -> Sequence[tuple[str, Array]]:
    if not by:
        return (("", chosen),)
    column = rows.slices[by]
    names, counts = np.unique(column[chosen].astype(str), return_counts=True)
    order = sorted(zip(names.tolist(), counts.tolist(), strict=True), key=lambda item: (-item[1], item[0]))
    kept = [name for name, _ in order[:SLICE_LIMIT]]
    found = [(name, chosen & (column == name)) for name in kept]
    if len(order) > len(kept):
        found.append((OTHERS, chosen & ~np.isin(column.astype(str), kept)))
    return found


def _one(rows: LabelledRows, chosen: Array, job: ReportJob, window: tuple[float, float], version: int, name: str) -> WindowQuality:
    measured = {metric: measure(metric, rows, chosen, seed=job.seed, alpha=job.alpha) for metric in job.metrics}
    value = None if job.costs is None else worth(rows, chosen, job.costs, job.names)
    labelled = int((chosen & rows.is_labelled).sum())
    return WindowQuality(*window, version, name, int(chosen.sum()), labelled, measured, value)
