"""`fairlead drift`: which inputs moved, by how much, whether the model uses them, what it may cost, and what to do."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import click

from fairlead.cli.printing import Duration, StepProgress, emit_json, home_option, json_option, mark, sections, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fairlead.app.drift_report import DriftReport
    from fairlead.core.finding import Finding
    from fairlead.monitor.drift.movement import Movement

_SHOWN = 30
_COLOURS = {"critical": "red", "warning": "yellow", "info": "cyan"}


@click.command()
@click.argument("model")
@click.option("--since", "span_s", type=Duration(), default="24h", show_default=True, help="How far to look back.")
@click.option("--window", "window_s", type=Duration(), default="1h", show_default=True, help="Evidence is gathered window by window.")
@click.option(
    "--false-alarms", type=float, default=1.0, show_default=True, help="False drift alarms that you grant a month, all features together."
)
@click.option("--effect", type=float, default=0.1, show_default=True, help="Smallest change that counts: share of the rows that moved.")
@click.option("--season", type=click.Choice(["day", "week"]), help="Hold each hour against the same hour of the days or weeks before.")
@click.option("--all", "is_all", is_flag=True, help="Show every feature.")
@home_option
@json_option
def drift(
    *,
    model: str,
    span_s: float,
    window_s: float,
    false_alarms: float,
    effect: float,
    season: str | None,
    is_all: bool,
    home: str | None,
    as_json: bool,
) -> None:
    """Say how the requests to MODEL (digits, digits:3) differ from the data of its release, and how sure that is.

    A finding is proven: however often you look, however many features there are, and whenever you stop, no more findings than
    --false-alarms a month come by chance. Features that the model does not use raise none.

    \b
    Examples:
      fairlead drift digits
      fairlead drift digits --since 7d --season day
      fairlead drift digits:4 --false-alarms 0.1 --all
    """
    from fairlead.app.drift_report import DriftRequest, report  # noqa: PLC0415 - --help needs none of it
    from fairlead.app.observations import open_log  # noqa: PLC0415 - likewise
    from fairlead.app.wiring import build_house  # noqa: PLC0415 - likewise
    from fairlead.monitor.drift.budget import WatchOptions  # noqa: PLC0415 - likewise
    from fairlead.monitor.drift.seasons import Season  # noqa: PLC0415 - likewise

    house = build_house(home)
    options = WatchOptions(alarms_per_month=false_alarms, effect=effect, window_s=window_s)
    request = DriftRequest(model, span_s, options=options, season=Season(season) if season else None)
    found = report(request, open_log(house), house, StepProgress(is_silent=as_json))
    if as_json:
        emit_json(found)
    else:
        click.echo(drift_text(found, is_all=is_all))


def drift_text(found: DriftReport, *, is_all: bool = False) -> str:
    """Return the report as a person reads it."""
    parts: list[tuple[str, Sequence[str]]] = [(_title(found), _summary(found))]
    parts.append(("Found", _findings(found.findings) or [f"{mark(is_good=True)} nothing that is proven"]))
    for title, moved in (("Inputs", found.moved), ("Answers", found.answers)):
        if moved:
            parts.append((title, _movements(moved, found, is_all=is_all)))
    if found.strange:
        parts.append((f"Rows unlike any at release: {found.strange_rows:,} of {found.rows:,}", _strange(found)))
    if found.absent:
        parts.append(
            ("Not watched", [f"{', '.join(found.absent)}: by the rules of `fairlead observe`, the log does not keep them as they were"])
        )
    if found.notes:
        parts.append(("Note", found.notes))
    return sections(parts)


def _title(found: DriftReport) -> str:
    return f"{found.model}:{found.version}  {_when(found.since)} to {_when(found.until)}"


def _summary(found: DriftReport) -> list[str]:
    options = found.options
    against = "the same hours of the seasons before, else " if found.season is not None else ""
    granted = f"{options.alarms_per_month:g} false alarm{'' if options.alarms_per_month == 1 else 's'}"
    windows = f"{found.windows} window{'' if found.windows == 1 else 's'}"
    budget = f"budget: {granted} a month, all features together"
    sampled = f" (a sample of {found.weight:,.0f})" if found.weight > found.rows else ""
    lines = [
        f"{found.rows:,} rows{sampled} in {windows} of {_span(options.window_s)}, against {against}{found.reference}",
        f"{budget}; smallest change that counts: {options.effect:.0%} of the rows",
    ]
    if not math.isnan(found.joint):
        lines.append(f"all inputs together: maximum mean discrepancy {found.joint:.3f}")
    return lines


def _findings(findings: Sequence[Finding]) -> list[str]:
    lines = []
    for finding in findings:
        severity = finding.severity.value
        lines.append(f"{click.style(severity, fg=_COLOURS[severity], bold=True)}  {finding.sentence}")
        lines += [f"{'':{len(severity)}}  {advice.kind.value}: {advice.sentence}" for advice in finding.advice]
    return lines


def _movements(moved: Sequence[Movement], found: DriftReport, *, is_all: bool) -> list[str]:
    proven = _proven(found.findings, {item.feature for item in moved})
    ordered = sorted(moved, key=lambda item: (item.feature not in proven, -(item.moved if not math.isnan(item.moved) else -1.0)))
    shown = ordered if is_all else ordered[:_SHOWN]
    rows = [
        (
            item.feature,
            _status(item, found, proven.get(item.feature, "")),
            _percent(item.moved),
            "-" if item.use is None else f"{item.use:.0%}",
            "-" if item.cost is None else _percent(item.cost),
            _number(item.kolmogorov_smirnov),
            _number(item.population_stability),
            _number(item.wasserstein),
            _number(item.jensen_shannon),
            _percent(item.missing),
            _percent(item.outside if math.isnan(item.unseen) else item.unseen),
            item.gained,
        )
        for item in shown
    ]
    header = ("FEATURE", "", "MOVED", "USE", "MAY COST", "KS", "PSI", "W1/SD", "JS", "MISSING", "NEW", "")
    lines = table(rows, header).splitlines()
    return lines + ([f"and {len(ordered) - len(shown)} more: --all"] if len(shown) < len(ordered) else [])


def _proven(findings: Sequence[Finding], features: set[str]) -> dict[str, str]:
    """Return what is proven of each feature, in a word or two. A subject is a feature, or one with what of its values is wrong:
    age.missing.
    """
    words: dict[str, list[str]] = {}
    for finding in findings:
        feature, _, aspect = finding.subject.rpartition(".")
        if finding.subject in features:
            words.setdefault(finding.subject, []).append("drift")
        elif feature in features:
            words.setdefault(feature, []).append(aspect)
    return {feature: ", ".join(said) for feature, said in words.items()}


def _status(item: Movement, found: DriftReport, proven: str) -> str:
    if proven:
        return click.style(proven, fg="red")
    if math.isnan(item.moved):
        return "no values"
    if item.moved < found.options.effect:
        return "steady"
    return "moved, not used" if item.use is not None and item.cost == 0.0 else "moved, not proven"


def _strange(found: DriftReport) -> list[str]:
    lines = [
        f"{row.request_id}[{row.row}]  {', '.join(row.features[:6])}{' ...' if len(row.features) > 6 else ''}" for row in found.strange
    ]
    return lines + (["..."] if found.strange_rows > len(found.strange) else [])


def _percent(share: float) -> str:
    return "-" if math.isnan(share) else f"{share:.1%}" if share < 0.1 else f"{share:.0%}"


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _span(seconds: float) -> str:
    return f"{seconds / 3600:g} h" if seconds >= 3600 else f"{seconds / 60:g} min"


def _when(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(at))
