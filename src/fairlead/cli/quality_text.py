"""What `fairlead quality` prints: a QualityView as lines for a person. Pure."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import click

from fairlead.app.quality_report import QualityView
from fairlead.cli.printing import mark, sections, table
from fairlead.core.finding import Finding
from fairlead.core.outcome import CompressionLoss, EstimatedQuality, Keeping, LossBasis, Measured, PromiseReading, WindowQuality

_SHARES = frozenset({"accuracy", "f1", "auc", "ece"})
_COLOURS = {"critical": "red", "warning": "yellow", "info": "cyan"}
_KEEPING = {
    Keeping.KEPT: ("✓", "green"),
    Keeping.BROKEN: ("✗", "red"),
    Keeping.UNCLEAR: ("?", "yellow"),
    Keeping.UNMEASURED: ("·", "white"),
}


def quality_text(view: QualityView, *, by: str = "", unit: str = "") -> str:
    """Return the report."""
    span = f"{_when(view.since)} to {_when(view.until)}"
    share = f"{view.overall.labelled / view.overall.answered:.1%}" if view.overall.answered else "none"
    first = f"{view.overall.answered:,} rows answered, {view.overall.labelled:,} of them labelled ({share})"
    parts: list[tuple[str, Sequence[str]]] = [(f"{view.model}:{view.version}, {span}", [first, *view.notes])]
    parts.append(("Found", [line for one in view.findings for line in _finding(one)] or [f"{mark(is_good=True)} nothing that is proven"]))
    if view.promises:
        parts.append(("Promises", _lines([_promise(one) for one in view.promises], ("", "PROMISE", "NOW", "AT RELEASE", "FROM"))))
    if any(measured.is_known for measured in view.overall.measured.values()):
        parts.append(("Quality", _quality(view, unit)))
    if view.estimated is not None:
        parts.append(("Accuracy without labels", _estimated(view.estimated)))
    if view.loss is not None:
        parts.append(("Loss by compression", _loss(view.loss)))
    if view.slices:
        parts.append((f"By {by}", _windows(view.slices, unit, first="SLICE")))
    if len(view.windows) > 1:
        parts.append(("Over time", _windows(view.windows, unit, first="FROM")))
    if view.facts:
        parts.append(("Servers", [f"{name} {value:.4g}  ({source})" for name, (value, source) in view.facts.items()]))
    return sections(parts)


def measured_text(name: str, measured: Measured) -> str:
    """Return a number with its interval: 95.2 % (93.1 to 96.8)."""
    if not measured.is_known:
        return "-"
    if name in _SHARES:
        return f"{measured.value * 100:.1f} % ({_end(measured.low * 100, '.1f')} to {_end(measured.high * 100, '.1f')})"
    return f"{measured.value:.4g} ({_end(measured.low, '.4g')} to {_end(measured.high, '.4g')})"


def _end(value: float, form: str) -> str:
    return f"{value:{form}}" if math.isfinite(value) else "?"


def _when(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(at))


def _finding(one: Finding) -> list[str]:
    lines = [f"{click.style(one.severity.value, fg=_COLOURS[one.severity.value])}  {one.sentence}"]
    return lines + [f"    {advice.sentence}" for advice in one.advice[:2]]


def _lines(rows: Sequence[Sequence[str]], header: Sequence[str]) -> list[str]:
    return table(rows, header).splitlines()


def _promise(one: PromiseReading) -> tuple[str, ...]:
    sign, colour = _KEEPING[one.keeping]
    name = one.requirement.partition("<")[0].partition(">")[0]
    before = "-" if math.isnan(one.at_release) else f"{one.at_release:.4g}"
    return (
        click.style(sign, fg=colour),
        one.requirement,
        measured_text("" if name not in _SHARES else name, one.measured),
        before,
        one.source,
    )


def _quality(view: QualityView, unit: str) -> list[str]:
    before = {one.metric: one for one in view.against}
    rows = []
    for name, measured in view.overall.measured.items():
        against = before.get(name)
        release = measured_text(name, against.release) if against is not None else "-"
        verdict = ""
        if against is not None:
            verdict = click.style("worse", fg="red") if against.is_worse else "better" if against.is_better else "as good"
        rows.append((name, measured_text(name, measured), release, verdict))
    if view.overall.value is not None:
        rows.append((f"value{f' in {unit}' if unit else ''}", measured_text("", view.overall.value), "-", "each decision"))
    return _lines(rows, ("METRIC", "NOW", "AT RELEASE", ""))


def _estimated(one: EstimatedQuality) -> list[str]:
    if not one.is_sound:
        doubts = "; ".join(one.doubts)
        return [f"{click.style('not to be believed', fg='yellow')}: {doubts}.", f"It would be {measured_text('accuracy', one.accuracy)}."]
    lines = [f"{measured_text('accuracy', one.accuracy)}; at release it was {one.at_release * 100:.1f} %"]
    return [*lines, "It holds if answers of the same class and confidence are right as often as they were at release."]


def _loss(one: CompressionLoss) -> list[str]:
    said = f"{one.flips:,} of {one.pairs:,} rows are decided otherwise than by the uncompressed original"
    if one.basis is LossBasis.FLIPS:
        return [f"at most {max(abs(one.loss.low), one.loss.high) * 100:.2f} points of accuracy, either way", said]
    ends = f"{one.loss.low * 100:+.2f} to {one.loss.high * 100:+.2f}"
    return [f"{one.loss.value * 100:+.2f} points of accuracy ({ends}), by labels of {one.labelled:,} such rows", said]


def _windows(windows: Sequence[WindowQuality], unit: str, *, first: str) -> list[str]:
    names = list(dict.fromkeys(name for one in windows for name in one.measured))
    has_value = any(one.value is not None for one in windows)
    rows = []
    for one in windows:
        row = [one.slice or "all" if first == "SLICE" else _when(one.since), str(one.version), f"{one.answered:,}", f"{one.labelled:,}"]
        row += [measured_text(name, one.measured[name]) if name in one.measured else "-" for name in names]
        rows.append([*row, measured_text("", one.value) if one.value is not None else "-"] if has_value else row)
    value = [f"VALUE {unit}".strip()] if has_value else []
    return _lines(rows, (first, "VERSION", "ROWS", "LABELS", *(name.upper() for name in names), *value))
