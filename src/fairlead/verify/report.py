"""The Verdict as one HTML page for a person: what was required and measured first, then every figure, then how to measure again.

Takes core values; writes one self-contained file: no script, no font, no picture, no address from elsewhere. Every text is escaped, names
of columns, files and labels included. Raises OSError where it cannot write. It computes no figure that the Verdict does not hold.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import jinja2

from fairlead.core.interface import shorten
from fairlead.core.ledger import Ledger
from fairlead.core.lineage import Lineage
from fairlead.core.plan import Plan
from fairlead.core.search import PointStatus, SearchPoint, SearchResult
from fairlead.core.verdict import Check, Quality, Verdict, decision_sentence
from fairlead.verify.trial_picture import draw_trials

_ORDER = (PointStatus.KEPT, PointStatus.UNDONE, PointStatus.REJECTED, PointStatus.FAILED, PointStatus.DUPLICATE)
_MANY = 12  # characters of a digest that a person compares


@dataclass(frozen=True)
class Report:
    """What the page shows: a model's name, the verdict on a candidate, the plan that it came from, its lineage; what a search tried, and
    why the others were not taken, where that is known.
    """

    name: str
    verdict: Verdict
    plan: Plan
    lineage: Lineage
    search: SearchResult | None = None
    ledger: Ledger | None = None


def write_report(report: Report, path: Path) -> None:
    """Write the page to `path`."""
    path.write_text(render_report(report), encoding="utf-8")


def render_report(report: Report) -> str:
    """Return the page."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("fairlead.verify"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": number,
        "size": size,
        "digest": lambda text: text[:_MANY],
        "short": shorten,
        "interval": interval_marks,
    }
    verdict = report.verdict
    built_in = [check for check in verdict.checks if check.requirement is None]
    return environment.get_template("report.html.j2").render(
        report=report,
        verdict=verdict,
        required=[check for check in verdict.checks if check.requirement is not None],
        built_in=built_in,
        headline=headline(verdict),
        decisions=decision_sentence(verdict.parity),
        tried=report.plan.candidates,
        chosen=next((one for one in report.plan.candidates if one.name == verdict.candidate), None),
        picture=draw_trials(report.search) if report.search else None,
        listed=ranked(report.search) if report.search else (),
    )


def ranked(search: SearchResult) -> tuple[SearchPoint, ...]:
    """Return the trials as a person wants to read them: the one taken, the one without passes, then by what became of them."""

    def rank(point: SearchPoint) -> tuple[int, float]:
        first = (search.best, search.baseline)
        place = first.index(point.candidate.name) if point.candidate.name in first else len(first) + _ORDER.index(point.status)
        return place, point.latency_ms or math.inf

    return tuple(sorted(search.points, key=rank))


def headline(verdict: Verdict) -> str:
    """Return the verdict in one sentence."""
    required = [check for check in verdict.checks if check.requirement is not None]
    if verdict.is_green:
        return f"Every requirement is met ({_count(required, 'requirement')}, {_count(verdict.checks, 'check')} in all)."
    failed = "; ".join(f"{check.name} is {number(check.measured)}, needed {check.bound}" for check in verdict.failures)
    return f"{len(verdict.failures)} of {_count(verdict.checks, 'check')} failed: {failed}."


def number(value: float) -> str:
    """Return a number as a person reads it: whole numbers with separators, others with four significant digits."""
    if not math.isfinite(value):
        return str(value)
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.4g}"


def size(count: int) -> str:
    """Return bytes as a person reads them, in powers of ten."""
    for limit, unit, divisor in ((1e4, "B", 1), (1e6, "kB", 1e3), (1e9, "MB", 1e6)):
        if count < limit:
            return f"{count / divisor:,.0f} {unit}" if divisor == 1 else f"{count / divisor:,.1f} {unit}"
    return f"{count / 1e9:,.2f} GB"


def interval_marks(quality: Quality) -> dict[str, dict[str, float]]:
    """Return, for both models, where interval and value lie on a common scale in percent of its width; NaN at its start."""
    ends = (*quality.original_interval, *quality.candidate_interval, quality.original, quality.candidate)
    known = [end for end in ends if math.isfinite(end)] or [0.0]
    low, high = min(known), max(known)
    margin = (high - low) * 0.08 or 1.0
    low, width = low - margin, high - low + 2 * margin

    def place(value: float, interval: tuple[float, float]) -> dict[str, float]:
        start, stop, point = ((end - low) / width * 100 if math.isfinite(end) else 0.0 for end in (*interval, value))
        return {"start": round(start, 2), "width": round(stop - start, 2), "point": round(point, 2)}

    return {
        "original": place(quality.original, quality.original_interval),
        "candidate": place(quality.candidate, quality.candidate_interval),
    }


def _count(items: list[Check] | tuple[Check, ...], noun: str) -> str:
    return f"{len(items)} {noun}{'' if len(items) == 1 else 's'}"
