"""The gate's numbers in words. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from fairlead.core.gate import Finding, FindingState, GateMetric, GateSpec, GateVerdict, Source, StepFacts

_NOUNS = {Source.SPLIT: "requests", Source.LABELS: "labels", Source.SHADOW: "pairs", Source.TWIN: "pairs"}


def say_finding(finding: Finding, metric: GateMetric, spec: GateSpec) -> Finding:
    """Return the finding with its sentence."""
    noun = _NOUNS[metric.rule.source]
    values = _values(finding, metric)
    if finding.state is FindingState.REGRESSED:
        proof = f"worse than allowed: e-value {_number(finding.e_value)}, {_number(finding.threshold)} is proof"
    elif finding.state is FindingState.SAFE:
        proof = f"no worse than tolerated ({_tolerated(metric)}): e-value {_number(finding.safe_e_value)}, "
        proof += f"{_number(finding.safe_threshold)} is proof"
    elif finding.state is FindingState.UNASKED:
        proof = "not asked: this step splits no requests"
    else:
        proof = _missing(finding, noun, spec)
    seen = f"{finding.requests} {noun} of the candidate"
    return replace(finding, sentence=f"{finding.metric}: {values}{seen}; {proof}.")


def say_decision(verdict: GateVerdict, findings: Sequence[Finding], spec: GateSpec, facts: StepFacts, here: int) -> str:
    """Return why, in one sentence."""
    by_state = {state: [finding.metric for finding in findings if finding.state is state] for state in FindingState}
    if verdict is GateVerdict.ROLL_BACK:
        worst = next(finding for finding in findings if finding.state is FindingState.REGRESSED)
        return f"Roll back: {worst.sentence}"
    if verdict is GateVerdict.ADVANCE:
        parts = []
        if by_state[FindingState.SAFE]:
            parts.append(f"{_list(by_state[FindingState.SAFE])} proven no worse than tolerated (at {1 - spec.alpha:.4g})")
        if by_state[FindingState.QUIET]:
            quiet = _list(by_state[FindingState.QUIET])
            parts.append(f"{quiet} not proven, but nothing was found in at least {spec.min_requests}, and the step's time is over")
        return f"Advance: {'; '.join(parts) or 'the gate has nothing to judge in this step, and its time is over'}."
    waiting = [finding for finding in findings if finding.state is FindingState.OPEN]
    if not waiting:
        if facts.elapsed_s < facts.planned_s and here >= spec.min_requests:
            return "Hold: the step's time is not over."
        return f"Hold: too little traffic in this step, the candidate had {here} of {spec.min_requests} requests."
    return f"Hold: {waiting[0].sentence}" + (f" Also open: {_list([one.metric for one in waiting[1:]])}." if waiting[1:] else "")


def _missing(finding: Finding, noun: str, spec: GateSpec) -> str:
    if not finding.requests:
        return f"no {noun} yet, nothing is known"
    if finding.state is FindingState.QUIET:
        start = f"not proven, but nothing found in at least {spec.min_requests} {noun}, and the step's time is over"
    elif finding.e_value >= 1 / spec.alpha:
        start = f"suspicious: e-value {_number(finding.e_value)}, {_number(finding.threshold)} would be proof"
    else:
        start = "too little to tell"
    if finding.needed is None:
        return f"{start}; at these values more {noun} would hardly tell"
    time = f", {_time(finding.needed_s)} at the present rate" if finding.needed_s is not None else ""
    return f"{start}; about {_number(finding.needed)} more {noun} would decide{time}"


def _values(finding: Finding, metric: GateMetric) -> str:
    if finding.candidate is None:
        return ""
    if metric.rule.is_ratio:
        text = f"candidate {_ms(finding.candidate)}" + (f", live {_ms(finding.live)}" if finding.live is not None else "")
    else:
        text = f"candidate {_percent(finding.candidate)}" + (f", live {_percent(finding.live)}" if finding.live is not None else "")
    return f"{text}{_interval(finding, metric)}, "


def _interval(finding: Finding, metric: GateMetric) -> str:
    low, high = finding.low, finding.high
    if low is None and high is None:
        return ""
    if metric.bound is not None:
        show = _ms if metric.rule.is_ratio else _percent
        return f" (between {show(low) if low is not None else '0'} and {show(high) if high is not None else 'anything'})"
    show = _signed_percent if metric.rule.is_ratio else _points
    return f" (worse by {show(low) if low is not None else 'anything'} to {show(high) if high is not None else 'anything'})"


def _tolerated(metric: GateMetric) -> str:
    if metric.bound is not None:
        return _ms(metric.bound) if metric.rule.is_ratio else _percent(metric.bound)
    return f"{metric.tolerance * 100:.3g} %" if metric.rule.is_ratio else _points(metric.tolerance)


def _list(names: Sequence[str]) -> str:
    return ", ".join(names)


def _percent(value: float) -> str:
    return f"{value * 100:.3g} %"


def _points(value: float) -> str:
    return f"{value * 100:+.3g} points"


def _signed_percent(value: float) -> str:
    return f"{value * 100:+.3g} %"


def _ms(value: float) -> str:
    return f"{value:.3g} ms"


def _number(value: float) -> str:
    if value >= 1e6:
        return f"{value:.1e}"
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _time(seconds: float | None) -> str:
    if seconds is None or not math.isfinite(seconds):
        return "never"
    for unit, size in (("days", 86_400.0), ("hours", 3_600.0), ("minutes", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 1):.0f} s"
