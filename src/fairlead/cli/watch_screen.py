"""What `fairlead watch` shows, as lines of text: a Watched fitted into a terminal's width and height. Pure."""

from __future__ import annotations

import textwrap
import time

import click

from fairlead.app.watching import ServerLook, Watched
from fairlead.cli.quality_text import measured_text
from fairlead.cli.top_screen import milliseconds, number
from fairlead.core.alert import Alert, AlertPhase
from fairlead.core.finding import Finding, Severity
from fairlead.core.outcome import Keeping

_COLOURS = {"critical": "red", "warning": "yellow", "info": "cyan", "firing": "red", "pending": "yellow"}
_SIGNS = {Keeping.KEPT: "✓", Keeping.BROKEN: "✗", Keeping.UNCLEAR: "?", Keeping.UNMEASURED: "·"}
_RANKED = frozenset(Severity)
_SHOWN = 8
_INDENT = "  "


def screen(found: Watched, *, width: int, height: int) -> list[str]:
    """Return the lines; no line is wider than `width`, and there are at most `height` of them."""
    head = click.style(f"{found.model}:{found.version}", bold=True) + f"  {_clock(found.at)} UTC"
    shown = _Lines(width)
    shown.block("Traffic", [_server(one) for one in found.servers] or ["no server serves it"])
    shown.block("Alerts", _alerts(found))
    if not found.looked_at and not found.notes:
        shown.block("Quality and drift", ["the observation log is being read"])
    shown.block("Promises", _promises(found))
    shown.block("Quality", _quality(found))
    shown.block("Drift", _drift(found))
    shown.block("Notes", list(found.notes[:_SHOWN]))
    return _fitted([shown.cut(head), "", *shown.lines], width, height, f"fairlead watch {found.model} --once")


class _Lines:
    """Blocks of lines, wrapped to a width."""

    def __init__(self, width: int) -> None:
        self._width = width
        self.lines: list[str] = []

    def block(self, title: str, texts: list[str]) -> None:
        """Add a block; nothing for one without lines."""
        if texts:
            self.lines += [self.cut(click.style(title, bold=True)), *(line for text in texts for line in self._wrapped(text)), ""]

    def cut(self, line: str) -> str:
        """Cut a line that is too wide, and let colours end with it."""
        if len(click.unstyle(line)) <= self._width:
            return line
        return click.unstyle(line)[: max(self._width - 1, 0)] + "…"

    def _wrapped(self, text: str) -> list[str]:
        """Return a text as up to three lines; one word that is coloured stays so, wherever the line ends."""
        plain = click.unstyle(text)
        if len(_INDENT + plain) <= self._width:
            return [_INDENT + text]
        lines = textwrap.wrap(
            plain, max(self._width, 10), initial_indent=_INDENT, subsequent_indent=2 * _INDENT, max_lines=3, placeholder=" …"
        )
        first, _, _ = text.partition("  ")
        word = click.unstyle(first)
        return [self.cut(lines[0].replace(word, first, 1) if word and word in lines[0] else lines[0]), *map(self.cut, lines[1:])]


def _fitted(lines: list[str], width: int, height: int, everything: str) -> list[str]:
    """Return at most `height` lines: without blank ones where there are too many, then with a word of how many are not shown."""
    while lines and not lines[-1]:
        lines = lines[:-1]
    if len(lines) > height:
        lines = [line for line in lines if line]
    if len(lines) > height > 0:
        hidden = len(lines) - height + 1
        lines = [*lines[: height - 1], f"and {hidden} more lines: {everything}"[:width]]
    return lines[:height]


def _clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.gmtime(at))


def _server(one: ServerLook) -> str:
    if one.problem:
        return f"{one.url}  {click.style(one.problem, fg='red')}"
    parts = [
        f":{version.version} {number(version.request_rate)}/s, errors {number(version.error_rate)}/s, "
        f"p50 {milliseconds(version.p50_ms)} ms, p99 {milliseconds(version.p99_ms)} ms, {version.queue_length} wait"
        for version in one.versions
    ]
    return f"{one.url}  {'; '.join(parts) or 'not loaded'}"


def _alerts(found: Watched) -> list[str]:
    fires = sorted((one for one in found.alerts if one.phase is not AlertPhase.RESOLVED), key=lambda one: _order(one, found.version))
    lines = [_alert(one) for one in fires[:_SHOWN]]
    if len(fires) > _SHOWN:
        lines.append(f"and {len(fires) - _SHOWN} more: fairlead alerts list")
    if found.is_unwatched:
        last = f"since {_clock(found.alerts_at)} UTC" if found.alerts_at else "yet"
        return [*lines, _coloured("warning", f"nobody has looked for any {last}: start fairlead alerts run")]
    return lines or [f"none at {_clock(found.alerts_at)} UTC"]


def _order(one: Alert, live: int) -> tuple[bool, bool, int]:
    """Return what comes first: what is live, what fires, what is worst."""
    severity = one.labels.get("severity", "")
    return one.labels.get("version") != str(live), not one.is_firing, -Severity(severity).rank if severity in _RANKED else 0


def _alert(one: Alert) -> str:
    return f"{_coloured(one.phase.value, one.phase.value)}  {one.name}  {one.annotations.get('summary', '')}"


def _promises(found: Watched) -> list[str]:
    lines = []
    for one in found.quality.promises if found.quality is not None else ():
        name = one.requirement.partition("<")[0].partition(">")[0]
        colour = "red" if one.keeping is Keeping.BROKEN else None
        said = measured_text(name, one.measured) if one.measured.is_known else one.source
        lines.append(click.style(f"{_SIGNS[one.keeping]} {one.requirement}", fg=colour) + f"  {said}")
    return lines


def _quality(found: Watched) -> list[str]:
    view = found.quality
    if view is None:
        return []
    lines = [f"{view.overall.answered:,} rows answered, {view.overall.labelled:,} labelled"]
    lines += [f"{name}  {measured_text(name, one)}" for name, one in view.overall.measured.items() if one.is_known]
    if view.estimated is not None:
        sound = "" if view.estimated.is_sound else "  not to be believed: " + "; ".join(view.estimated.doubts)
        lines.append(f"accuracy without labels  {measured_text('accuracy', view.estimated.accuracy)}{sound}")
    return [*lines, *map(_finding, view.findings[:_SHOWN])]


def _drift(found: Watched) -> list[str]:
    if found.drift is None:
        return []
    moved = [_finding(one) for one in found.drift.findings[:_SHOWN]]
    return [f"{found.drift.rows:,} rows", *(moved or ["nothing that is proven"])]


def _finding(one: Finding) -> str:
    return f"{_coloured(one.severity.value, one.severity.value)}  {one.sentence}"


def _coloured(name: str, text: str) -> str:
    return click.style(text, fg=_COLOURS[name])
