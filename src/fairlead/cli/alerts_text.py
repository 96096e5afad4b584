"""What `fairlead alerts` prints: rounds and lists as lines for a person. Pure."""

from __future__ import annotations

import time
from collections.abc import Sequence

import click

from fairlead.app.alert_admin import AlertRow, Overview, ReceiverRow, shown_matchers
from fairlead.app.alerting import Round
from fairlead.cli.printing import mark, sections, table
from fairlead.core.alert import Alert, AlertPhase

_COLOURS = {AlertPhase.FIRING: "red", AlertPhase.PENDING: "yellow", AlertPhase.RESOLVED: "green"}


def round_text(one: Round) -> str:
    """Return what a round changed; "" where it changed nothing."""
    lines = [f"{_when(one.at)}  {_alert_line(alert)}" for alert in one.changed]
    for attempt in one.attempts:
        about = f"{attempt.firing} firing, {attempt.ended} ended"
        after = f": {attempt.problem} (again in {attempt.next_in_s:.0f} s)" if attempt.problem else ""
        lines.append(f"{mark(is_good=not attempt.problem)} told {attempt.kind.value} {attempt.receiver}: {about}{after}")
    lines += [
        f"{mark(is_good=not acted.problem)} {acted.action.value} {acted.model}: {acted.outcome or acted.problem}" for acted in one.acted
    ]
    lines += [click.style(problem, fg="yellow") for problem in one.problems]
    return "\n".join(lines)


def overview_text(found: Overview, *, is_all: bool) -> str:
    """Return the lists."""
    shown = [row for row in found.alerts if is_all or row.alert.phase is not AlertPhase.RESOLVED]
    hidden = len(found.alerts) - len(shown)
    alerts = [line for row in shown for line in _alert(row)] or [f"{mark(is_good=True)} none"]
    if hidden:
        alerts.append(click.style(f"and {hidden} that ended within a day: --all", dim=True))
    parts: list[tuple[str, Sequence[str]]] = [("Alerts", alerts + _unwatched(found))]
    receivers = [_receiver(row) for row in found.receivers]
    none = "nobody yet: fairlead alerts add email ops@example.com --smtp ... --from ..."
    parts.append(("Told", table(receivers, ("ID", "HOW", "WHERE", "OF", "TOLD", "STATE")).splitlines() if receivers else [none]))
    if found.silences:
        rows = [(one.id, shown_matchers(one.matchers), _when(one.until), one.author, one.comment or "-") for one in found.silences]
        parts.append(("Silenced", table(rows, ("ID", "WHAT", "UNTIL", "BY", "WHY")).splitlines()))
    if found.policies:
        acts = [(one.id, one.action.value, shown_matchers(one.matchers), one.command or "-") for one in found.policies]
        parts.append(("Policies", table(acts, ("ID", "ACTION", "ON", "COMMAND")).splitlines()))
    if found.acted:
        lines = [f"{_when(one.at)}  {one.action.value} {one.model}: {one.outcome or one.problem}" for one in found.acted]
        parts.append(("Done by policy", lines))
    return sections(parts)


def _unwatched(found: Overview) -> list[str]:
    """Return which models nobody looks at: where nobody looks, no alert says nothing."""
    last = {look.model: look.at for look in found.looks}
    said = [f"{name} (last: {_when(last[name])})" if name in last else f"{name} (never yet)" for name in found.unwatched]
    return [click.style(f"Nobody looks at {', '.join(said)}: start fairlead alerts run, and let it go on.", fg="yellow")] if said else []


def _alert(row: AlertRow) -> list[str]:
    alert = row.alert
    line = _alert_line(alert)
    said = f"    {alert.annotations.get('summary', '')}"
    return [line + (click.style(f"  silenced by {row.silence}", dim=True) if row.silence else ""), said]


def _alert_line(alert: Alert) -> str:
    at = {AlertPhase.FIRING: alert.fired_at, AlertPhase.RESOLVED: alert.resolved_at}.get(alert.phase, alert.since)
    about = " ".join(filter(None, (f"{alert.labels.get('model', '')}:{alert.labels.get('version', '')}", alert.labels.get("subject", ""))))
    state = click.style(f"{alert.phase.value:<8}", fg=_COLOURS[alert.phase], bold=alert.is_firing)
    return f"{state}  {alert.labels.get('severity', ''):<8}  {alert.name:<16}  {about}  since {_when(at)}"


def _receiver(row: ReceiverRow) -> tuple[str, ...]:
    receiver = row.receiver
    state = f"{row.error.rstrip('.')} (attempt {row.attempt})" if row.error else "well" if row.delivered else "nothing told yet"
    return receiver.id, receiver.kind.value, row.target, shown_matchers(receiver.matchers), str(row.delivered), state


def _when(at: float) -> str:
    return time.strftime("%m-%d %H:%M:%S", time.gmtime(at))
