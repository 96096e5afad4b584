"""From measurements to checks: what had to hold, what was measured, whether it held. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fairlead.core.calibration import GAP_LIMIT
from fairlead.core.requirement import MetricKind, Requirement, loss
from fairlead.core.verdict import Calibration, Check, ExplanationParity, Quality, Speed
from fairlead.errors import RequirementError
from fairlead.verify.parity import Comparison


@dataclass(frozen=True)
class Measurements:
    """Everything that requirements can be held against."""

    comparison: Comparison
    quality: tuple[Quality, ...]
    speed: tuple[Speed, ...]
    size_bytes: int
    memory_peak_bytes: int
    thread_count: int
    is_synthetic: bool
    is_lossy: bool = False
    calibration: Calibration | None = None
    explanation: ExplanationParity | None = None


def build_checks(found: Measurements, requirements: Sequence[Requirement]) -> tuple[Check, ...]:
    """Return the requirements' checks in their order, then the built-in ones that no requirement replaces."""
    return (*(check_requirement(item, found) for item in requirements), *builtin_checks(found, requirements))


def builtin_checks(found: Measurements, requirements: Sequence[Requirement]) -> tuple[Check, ...]:
    """Return parity, decisions, batch invariance, determinism, whether probabilities are any, and whether answers are numbers.

    `max_abs_diff<=x` replaces the parity check, `decision_flips<=n` the decision check. Of a candidate that was made to answer otherwise,
    both are told and no gates where a requirement says what may be lost.
    """
    bounded = {item.metric for item in requirements}
    is_gate = not (found.is_lossy and any(item.is_loss_bound for item in requirements))
    comparison, parity = found.comparison, found.comparison.parity
    within = f"<= {parity.tolerance:g}"
    checks = []
    if "max_abs_diff" not in bounded:
        worst = comparison.scaled_max
        detail = f"largest difference from the original over {parity.row_count} rows, relative above 1"
        # Infinite: a number where the original has none, or none where it has one. That is no loss of precision.
        checks.append(Check("parity", worst <= parity.tolerance, worst, within, detail, is_gate=is_gate or math.isinf(worst)))
    if "decision_flips" not in bounded and parity.decision_flip_count is not None:
        detail = comparison.first_flip or f"no decision of {parity.row_count} differs from the original's"
        count = parity.decision_flip_count
        checks.append(Check("decisions", count == 0, float(count), "<= 0", detail, is_gate=is_gate))
    worst = comparison.batch_scaled_max
    sizes = ", ".join(parity.batch_max_abs)
    checks.append(Check("batch invariance", worst <= parity.tolerance, worst, within, f"rows in batches of {sizes} against all at once"))
    detail = "the same rows give the same bits twice" if parity.is_deterministic else "the same rows gave different answers twice"
    checks.append(Check("determinism", parity.is_deterministic, float(not parity.is_deterministic), "<= 0", detail))
    if comparison.probability_gap is not None:
        gap = comparison.probability_gap
        detail = "the most that a probability lies outside of 0 to 1, or that those of a row miss the sum 1"
        checks.append(Check("probabilities", gap <= GAP_LIMIT, gap, f"<= {GAP_LIMIT:g}", detail))
    if comparison.nan_count and not found.is_synthetic:
        detail = "rows for which original and candidate both answer NaN"
        checks.append(Check("answers are numbers", is_met=False, measured=float(comparison.nan_count), bound="<= 0", detail=detail))
    return tuple(checks)


def check_requirement(requirement: Requirement, found: Measurements) -> Check:
    """Hold one requirement against what was measured."""
    measured, detail = _measured(requirement, found)
    bound = f"{'>=' if requirement.is_minimum else '<='} {requirement.bound:.15g}"
    return Check(requirement.name, requirement.is_met(measured), measured, bound, detail, requirement)


def _measured(requirement: Requirement, found: Measurements) -> tuple[float, str]:
    if requirement.kind is MetricKind.QUALITY:
        return _quality(requirement, found)
    if requirement.kind in (MetricKind.LATENCY, MetricKind.THROUGHPUT):
        speed = next(one for one in found.speed if one.batch == requirement.batch)
        threads = f"{speed.thread_count} thread{'s' if speed.thread_count > 1 else ''}"
        rows = f"{speed.batch} row{'s' if speed.batch > 1 else ''}"
        return float(getattr(speed, requirement.metric)), f"{speed.call_count} calls of {rows}, {threads}"
    if requirement.metric == "explanation_agreement" and found.explanation is not None:
        one = found.explanation
        return one.mean, f"{one.row_count} rows of {one.part_count} parts; a tenth of them below {one.low:.3g}"
    if requirement.metric == "decision_flips":
        count = found.comparison.parity.decision_flip_count
        if count is None:
            raise RequirementError("'decision_flips' has no meaning: the model makes no decisions.", hint="Use max_abs_diff<=....")
        return float(count), found.comparison.first_flip or "no decision differs from the original's"
    values = {
        "max_abs_diff": (max(output.max_abs for output in found.comparison.parity.outputs), "largest difference of any output"),
        "size_mb": (found.size_bytes / 1e6, f"{found.size_bytes} bytes"),
        "memory_mb": (found.memory_peak_bytes / 1e6, "peak of a process that runs it, less one that does not"),
        "cores": (float(found.thread_count), "threads that a call computes on"),
    }
    return values[requirement.metric]


def _quality(requirement: Requirement, found: Measurements) -> tuple[float, str]:
    quality = next(one for one in found.quality if one.metric == requirement.metric)
    low, high = quality.candidate_interval
    if not requirement.is_relative:
        return quality.candidate, f"95 % interval {low:.6g} to {high:.6g}, {quality.row_count} rows; original {quality.original:.6g}"
    lost = loss(quality.original, quality.candidate, is_rise=requirement.is_rise)
    return lost, f"original {quality.original:.6g}, candidate {quality.candidate:.6g}, {quality.row_count} rows"
