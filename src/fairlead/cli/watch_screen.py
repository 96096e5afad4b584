"""What `fairlead watch` shows, as lines of text: a Watched fitted into a terminal's width and height. Pure."""

from __future__ import annotations

import time

import click

from fairlead.app.watching import ServerLook, Watched
from fairlead.cli.quality_text import measured_text
from fairlead.cli.top_screen import milliseconds, number
from fairlead.core.alert import AlertPhase
from fairlead.core.finding import Finding
from fairlead.core.outcome import Keeping

_COLOURS = {"critical": "red", "warning": "yellow", "info": "cyan"}
_SIGNS = {Keeping.KEPT: "✓", Keeping.BROKEN: "✗", Keeping.UNCLEAR: "?", Keeping.UNMEASURED: "·"}
_SHOWN = 8


def screen(found: Watched, *, width: int, height: int) -> list[str]:
    """Return the lines; no line is wider than `width`, and there are at most `height` of them."""
    lines = [click.style(f"{found.model}:{found.version}", bold=True) + f"  {time.strftime('%H:%M:%S', time.gmtime(found.at))} UTC", ""]
    lines += _block("Traffic", [_server(one) for one in found.servers] or ["no server serves it"])
    fires = [one for one in found.alerts if one.phase is not AlertPhase.RESOLVED]
    alerts = [_alert(one.phase.value, one.name, one.annotations.get("summary", "")) for one in fires[:_SHOWN]]
    lines += _block("Alerts", alerts or ["none"])
    lines += _promises(found)
    lines += _quality(found)
    lines += _drift(found)
    if found.notes:
        lines += _block("Notes", list(found.notes[:_SHOWN]))
    return [_cut(line, width) for line in lines][:height]


def _block(title: str, lines: list[str]) -> list[str]:
    return [click.style(title, bold=True), *(f"  {line}" for line in lines), ""]


def _server(one: ServerLook) -> str:
    if one.problem:
        return f"{one.url}  {click.style(one.problem, fg='red')}"
    parts = [
        f":{version.version} {number(version.request_rate)} requests/s, errors {number(version.error_rate)}/s, "
        f"p50 {milliseconds(version.p50_ms)} ms, p99 {milliseconds(version.p99_ms)} ms, {version.queue_length} wait"
        for version in one.versions
    ]
    return f"{one.url}  {'; '.join(parts) or 'not loaded'}"


def _alert(phase: str, name: str, summary: str) -> str:
    return f"{click.style(phase, fg='red' if phase == 'firing' else 'yellow')}  {name}  {summary}"


def _promises(found: Watched) -> list[str]:
    if found.quality is None or not found.quality.promises:
        return []
    lines = []
    for one in found.quality.promises:
        name = one.requirement.partition("<")[0].partition(">")[0]
        colour = "red" if one.keeping is Keeping.BROKEN else None
        said = measured_text(name, one.measured) if one.measured.is_known else one.source
        lines.append(click.style(f"{_SIGNS[one.keeping]} {one.requirement}", fg=colour) + f"  {said}")
    return _block("Promises", lines)


def _quality(found: Watched) -> list[str]:
    view = found.quality
    if view is None:
        return []
    lines = [f"{view.overall.answered:,} rows answered, {view.overall.labelled:,} labelled"]
    lines += [f"{name}  {measured_text(name, one)}" for name, one in view.overall.measured.items() if one.is_known]
    if view.estimated is not None:
        sound = "" if view.estimated.is_sound else click.style("  not to be believed: " + "; ".join(view.estimated.doubts), fg="yellow")
        lines.append(f"accuracy without labels  {measured_text('accuracy', view.estimated.accuracy)}{sound}")
    return _block("Quality", [*lines, *map(_finding, view.findings[:_SHOWN])])


def _drift(found: Watched) -> list[str]:
    if found.drift is None:
        return []
    moved = [_finding(one) for one in found.drift.findings[:_SHOWN]]
    return _block("Drift", [f"{found.drift.rows:,} rows", *(moved or ["nothing that is proven"])])


def _finding(one: Finding) -> str:
    return f"{click.style(one.severity.value, fg=_COLOURS[one.severity.value])}  {one.sentence}"


def _cut(line: str, width: int) -> str:
    """Cut a line that is too wide, and let colours end with it."""
    if len(click.unstyle(line)) <= width:
        return line
    return click.unstyle(line)[: max(width - 1, 0)] + "…"
