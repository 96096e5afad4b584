"""What of quality and promises is worth telling: readings become Findings, each with advice. Pure.

Law: what is told rests on an interval, never on a number alone. Answers are looked at again and again, so accuracy is held against the
release by an interval that holds at all times, and a loss by compression against what was promised by a test that does; slices share one
chance of a false alarm among them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from fairlead.core.betting import rate_interval
from fairlead.core.finding import Advice, AdviceKind, Finding, FindingKind, Severity
from fairlead.core.outcome import BurnRate, CompressionLoss, EstimatedQuality, Keeping, Measured, PromiseReading, WindowQuality
from fairlead.core.verdict import Quality
from fairlead.monitor.quality.compression import exceeds

_ALPHA = 0.01  # chance that a version which is as good as at release is ever told to be worse
_LABELS_MIN = 30
_LOSS_TOLD = 0.01  # accuracy that compression may cost before it is told where nobody promised less
_ESTIMATE_TOLD = 0.02
_ROLL_BACK = Advice(AdviceKind.ROLL_BACK, "Take production back to the version before, if that one was better: fairlead rollback {model}.")
_RETRAIN = Advice(AdviceKind.RETRAIN, "Train again with rows of this time.")
_RECALIBRATE = Advice(AdviceKind.RECALIBRATE, "Recalibrate: the order of its scores may still be right.")
_SCALE = Advice(AdviceKind.SCALE, "Give it more workers or cores, or fewer requests.")


def accuracy_finding(model: str, overall: WindowQuality, evidence: Quality) -> Finding | None:
    """Return that a version's answers are right less often than at release; None while they may well be as good."""
    measured = overall.measured.get("accuracy")
    if measured is None or measured.rows < _LABELS_MIN:
        return None
    low, high = rate_interval(round(measured.value * measured.rows), float(measured.rows), _ALPHA)
    floor = evidence.candidate_interval[0]
    if high >= floor:
        return None
    sentence = (
        f"{model}:{overall.version} is right in {measured.value:.1%} of {measured.rows:,} labelled answers ({low:.1%} to {high:.1%}); at "
        f"release it was {evidence.candidate:.1%}."
    )
    seen = _Seen(model, overall.version, Measured(measured.value, low, high, measured.rows), (overall.since, overall.until))
    advice = (_said(_ROLL_BACK, model), _RETRAIN)
    return _found(FindingKind.QUALITY, "accuracy", Severity.WARNING, seen, sentence, bound=evidence.candidate, advice=advice)


def slice_findings(model: str, by: str, slices: Sequence[WindowQuality], overall: Measured) -> tuple[Finding, ...]:
    """Return the slices whose answers are right less often than all together, each tested at its share of the chance of a false alarm."""
    known = [one for one in slices if "accuracy" in one.measured and one.measured["accuracy"].rows >= _LABELS_MIN]
    found = []
    for one in known:
        measured = one.measured["accuracy"]
        low, high = rate_interval(round(measured.value * measured.rows), float(measured.rows), _ALPHA / len(known))
        if high >= overall.low:
            continue
        subject = f"{by}={one.slice}"
        sentence = (
            f"{model}:{one.version} is right in {measured.value:.1%} of {measured.rows:,} answers where {subject}, in {overall.value:.1%} "
            f"of all."
        )
        advice = (Advice(AdviceKind.LOOK_AT_SLICE, f"Look at the rows with {subject}: fairlead quality {model} --by {by}."), _RETRAIN)
        seen = _Seen(model, one.version, Measured(measured.value, low, high, measured.rows), (one.since, one.until))
        found.append(_found(FindingKind.QUALITY, subject, Severity.WARNING, seen, sentence, bound=overall.value, advice=advice))
    return tuple(found)


def estimate_finding(model: str, version: int, estimated: EstimatedQuality, window: tuple[float, float]) -> Finding | None:
    """Return that confidences say accuracy has fallen, or that they cannot say it any more; None where neither is so."""
    accuracy = estimated.accuracy
    if not estimated.is_sound:
        sentence = f"The accuracy of {model}:{version} cannot be estimated without labels: {'; '.join(estimated.doubts)}."
        severity, advice = Severity.INFO, Advice(AdviceKind.CHECK_SOURCE, "Send labels of some answers: fairlead feedback.")
    elif accuracy.high < estimated.at_release - _ESTIMATE_TOLD:
        sentence = (
            f"By its confidences {model}:{version} is right in {accuracy.value:.1%} of the answers; at release {estimated.at_release:.1%}."
        )
        severity, advice = Severity.WARNING, _RETRAIN
    else:
        return None
    seen = _Seen(model, version, accuracy, window)
    return _found(FindingKind.QUALITY, "estimated accuracy", severity, seen, sentence, bound=estimated.at_release, advice=(advice,))


def compression_finding(
    model: str, version: int, loss: CompressionLoss, allowed: float | None, window: tuple[float, float]
) -> Finding | None:
    """Return that compression costs more accuracy than was promised (`allowed`; None: nothing was)."""
    limit = _LOSS_TOLD if allowed is None else allowed
    if not exceeds(loss, limit, _ALPHA):
        return None
    sentence = (
        f"Compression costs {model}:{version} {loss.loss.value:.2%} of its accuracy ({loss.loss.low:.2%} to {loss.loss.high:.2%}, "
        f"{loss.pairs:,} rows answered by the original too); {limit:.2%} {'was promised' if allowed is not None else 'is usual'}."
    )
    advice = Advice(AdviceKind.ROLL_BACK, f"Take the version before, or compress less: fairlead rollback {model}.")
    seen = _Seen(model, version, loss.loss, window)
    return _found(FindingKind.COMPRESSION, "accuracy", Severity.WARNING, seen, sentence, bound=limit, advice=(advice,))


def promise_findings(readings: Sequence[PromiseReading], window: tuple[float, float]) -> tuple[Finding, ...]:
    """Return the promises that are surely broken."""
    return tuple(_broken(reading, window) for reading in readings if reading.keeping is Keeping.BROKEN)


def burn_finding(model: str, version: int, requirement: str, burning: tuple[BurnRate, bool], now: float) -> Finding:
    """Return that a promise's error budget burns too fast."""
    rate, is_urgent = burning
    sentence = (
        f"{model}:{version} uses up what '{requirement}' allows {rate.slow:.3g} times as fast as it may over {_span(rate.slow_window_s)}, "
        f"and {rate.fast:.3g} times over the last {_span(rate.fast_window_s)}."
    )
    seen = _Seen(model, version, Measured(rate.slow, rate.slow, rate.slow, 0), (now - rate.slow_window_s, now))
    severity, advice = Severity.CRITICAL if is_urgent else Severity.WARNING, _advice_for(requirement, model)
    return _found(FindingKind.PROMISE, f"burn {requirement}", severity, seen, sentence, bound=rate.factor, advice=advice)


def _broken(reading: PromiseReading, window: tuple[float, float]) -> Finding:
    measured = reading.measured
    span = "" if measured.low == measured.high else f" ({measured.low:.4g} to {measured.high:.4g})"
    before = "" if math.isnan(reading.at_release) else f"; at release it was {reading.at_release:.4g}"
    label = f"{reading.model}:{reading.version}"
    sentence = f"{label} does not keep '{reading.requirement}': {measured.value:.4g}{span}, {reading.source}{before}."
    seen, advice = _Seen(reading.model, reading.version, measured, window), _advice_for(reading.requirement, reading.model)
    return _found(FindingKind.PROMISE, reading.requirement, Severity.CRITICAL, seen, sentence, advice=advice)


class _Seen(NamedTuple):
    """What a finding is of, and the number that it rests on."""

    model: str
    version: int
    measured: Measured
    window: tuple[float, float]


def _found(
    kind: FindingKind,
    subject: str,
    severity: Severity,
    seen: _Seen,
    sentence: str,
    *,
    bound: float | None = None,
    advice: tuple[Advice, ...] = (),
) -> Finding:
    measured = seen.measured
    ends = None if measured.low == measured.high else (measured.low, measured.high)
    return Finding(
        kind, seen.model, seen.version, subject, severity, measured.value, measured.rows, *seen.window, sentence, bound, ends, advice
    )


def _advice_for(requirement: str, model: str) -> tuple[Advice, ...]:
    if requirement.startswith(("p50_ms", "p95_ms", "p99_ms", "throughput", "cpu", "memory")):
        return (_SCALE, _said(_ROLL_BACK, model))
    if requirement.startswith("ece"):
        return (_RECALIBRATE, _RETRAIN)
    return (_said(_ROLL_BACK, model), _RETRAIN)


def _said(advice: Advice, model: str) -> Advice:
    return Advice(advice.kind, advice.sentence.format(model=model))


def _span(seconds: float) -> str:
    for unit, length in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            count = round(seconds / length)
            return f"{count} {unit}{'s' * (count != 1)}"
    return f"{seconds:.0f} s"
