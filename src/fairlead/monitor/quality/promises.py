"""Every requirement of a release, measured on in production. Pure.

Takes what was seen (Seen): rows with labels, latencies, a compression loss, what the server says of memory and processor time; gives a
PromiseReading for each requirement. What was not seen, or too little of it, is said as such and never taken for kept.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from fairlead.core.interface import Array
from fairlead.core.intervals import wilson
from fairlead.core.outcome import NOTHING, CompressionLoss, Keeping, LabelledRows, Measured, PromiseReading
from fairlead.core.requirement import MetricKind, Requirement
from fairlead.core.verdict import Verdict
from fairlead.errors import RequirementError
from fairlead.monitor.quality.measure import check_metric, measure

_SHARES = {"p50_ms": 0.5, "p95_ms": 0.95, "p99_ms": 0.99}
_COUNT_MIN = 100  # below this a p99 is the largest of few numbers
_LABELS_MIN = 20
CPU_COST = "cpu_s_per_1000"


@dataclass(frozen=True)
class Seen:
    """What production showed of one version. `latency_ms` and `rows_of` are of answered requests: what each took, how many rows it had.
    `facts` are single numbers: memory_mb, size_mb, throughput_rps, cpu_s_per_1000, and what they were read from.
    """

    rows: LabelledRows | None = None
    latency_ms: Array = field(default_factory=lambda: np.zeros(0), repr=False)
    rows_of: Array = field(default_factory=lambda: np.zeros(0), repr=False)
    loss: CompressionLoss | None = None
    facts: Mapping[str, tuple[float, str]] = field(default_factory=dict)
    seed: int = 0


def read_promises(
    model: str, version: int, requirements: Sequence[Requirement], verdict: Verdict, seen: Seen
) -> tuple[PromiseReading, ...]:
    """Return how each requirement is kept."""
    found = []
    for requirement in requirements:
        measured, source = _measured(requirement, seen, verdict)
        at_release = next((check.measured for check in verdict.checks if check.requirement == requirement), math.nan)
        found.append(PromiseReading(str(requirement), model, version, keeping_of(requirement, measured), measured, at_release, source))
    return tuple(found)


def keeping_of(requirement: Requirement, measured: Measured) -> Keeping:
    """Return whether a measured number keeps the bound, as far as its interval tells."""
    if not measured.is_known:
        return Keeping.UNMEASURED
    if requirement.is_met(measured.value):
        return Keeping.KEPT
    best = measured.high if requirement.is_minimum else measured.low
    return Keeping.UNCLEAR if requirement.is_met(best) else Keeping.BROKEN


def quantile(values: Array, share: float) -> Measured:
    """Return a quantile (nearest rank) of `values` with the interval of order statistics that holds the true one with 95 %.

    Source: David and Nagaraja, "Order Statistics", Wiley 2003, section 7.1; the binomial law is taken as normal.
    """
    count = len(values)
    if not count:
        return NOTHING
    ordered = np.sort(values)
    spread = 1.959963984540054 * math.sqrt(count * share * (1.0 - share))
    places = (count * share, count * share - spread, count * share + spread)
    value, low, high = (float(ordered[min(max(math.ceil(place), 1), count) - 1]) for place in places)
    return Measured(value, low, high if places[2] <= count else math.inf, count)


def _measured(requirement: Requirement, seen: Seen, verdict: Verdict) -> tuple[Measured, str]:
    kind = requirement.kind
    if kind is MetricKind.LATENCY:
        return _latency(requirement, seen)
    if requirement.metric == "decision_flips":
        return _flips(seen, verdict)
    if kind is MetricKind.QUALITY:
        return _quality(requirement, seen, verdict)
    if requirement.metric in seen.facts:
        value, source = seen.facts[requirement.metric]
        return Measured(value, value, value, 1), source
    return NOTHING, "not measured in production"


def _latency(requirement: Requirement, seen: Seen) -> tuple[Measured, str]:
    times = seen.latency_ms[seen.rows_of <= requirement.batch]
    if len(times) < _COUNT_MIN:
        return (
            NOTHING,
            f"{len(times)} requests with at most {requirement.batch} row{'s' * (requirement.batch != 1)}, {_COUNT_MIN} are needed",
        )
    return quantile(times, _SHARES[requirement.metric]), f"{len(times):,} requests"


def _quality(requirement: Requirement, seen: Seen, verdict: Verdict) -> tuple[Measured, str]:
    if requirement.is_custom:
        return NOTHING, "the user's own metric is measured before a release only"
    if seen.rows is None:
        return NOTHING, "nothing is recorded"
    try:
        check_metric(requirement.metric, seen.rows)
    except RequirementError as error:
        return NOTHING, error.message
    if requirement.is_relative and requirement.metric == "accuracy" and seen.loss is not None and seen.loss.loss.is_known:
        return seen.loss.loss, f"{seen.loss.pairs:,} rows answered by the original too ({seen.loss.basis.value})"
    labelled = int(seen.rows.is_labelled.sum())
    if labelled < _LABELS_MIN:
        return NOTHING, f"{labelled} labels, {_LABELS_MIN} are needed"
    measured = measure(requirement.metric, seen.rows, np.ones(seen.rows.count, bool), seed=seen.seed)
    if not requirement.is_relative:
        return measured, f"{labelled:,} labels"
    original = next((item.original for item in verdict.quality if item.metric == requirement.metric), math.nan)
    return _worse_by(measured, original, is_rise=requirement.is_rise), f"{labelled:,} labels, against the original's value at release"


def _worse_by(measured: Measured, original: float, *, is_rise: bool) -> Measured:
    if is_rise:
        return Measured(measured.value - original, measured.low - original, measured.high - original, measured.rows)
    return Measured(original - measured.value, original - measured.high, original - measured.low, measured.rows)


def _flips(seen: Seen, verdict: Verdict) -> tuple[Measured, str]:
    """Return the rows decided otherwise, of as many rows as the release was proven on: the bound is a number of those."""
    loss = seen.loss
    if loss is None or not loss.pairs:
        return NOTHING, "no row was answered by the original too"
    share, size = loss.flips / loss.pairs, verdict.row_count
    low, high = wilson(share, loss.pairs)
    return Measured(share * size, low * size, high * size, loss.pairs), f"{loss.flips:,} of {loss.pairs:,} rows, brought to {size:,}"
