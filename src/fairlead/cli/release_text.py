"""Releases as lines for a person: how one stands, how it goes on, what happened."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime

import click

from fairlead.app.release import Outcome
from fairlead.app.release_view import Entry, ReleaseView
from fairlead.app.servers import Followed
from fairlead.cli.printing import mark, table
from fairlead.core.evidence import ArmEvidence, PairEvidence, StepEvidence
from fairlead.core.gate import RULES, ArmEstimate, ArmsComparison, Finding, FindingState
from fairlead.core.release import Basis, Release, ReleaseKind, ReleaseStatus, percent
from fairlead.register.release import GATE

_STATES = {
    FindingState.REGRESSED: "worse",
    FindingState.SAFE: "safe",
    FindingState.QUIET: "nothing found",
    FindingState.OPEN: "open",
    FindingState.UNASKED: "not asked",
}
_GOOD = {ReleaseStatus.PROMOTED, ReleaseStatus.FINISHED}
_BAD = {ReleaseStatus.ROLLED_BACK, ReleaseStatus.STOPPED}


def time_text(at: float) -> str:
    """Return a moment in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def span_text(seconds: float) -> str:
    """Return a time span as a person says it."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def headline(release: Release) -> str:
    """Return what a release is and how far."""
    where = f"{release.name}@{release.alias}"
    if release.arms:
        arms = ", ".join(f"{arm.name} {release.name}:{arm.version} {percent(arm.share)}" for arm in release.arms)
        return f"experiment on {where}: {arms}; {status_text(release)}"
    what = f"{release.kind} of {release.name}:{release.candidate} against {release.name}:{release.live} on {where}"
    return f"{what}; {status_text(release)}"


def status_text(release: Release) -> str:
    """Return how far a release is."""
    word = release.status.replace("_", " ")
    if not release.is_active or release.kind in {ReleaseKind.EXPERIMENT, ReleaseKind.BLUE_GREEN}:
        return word
    return f"{word}, step {release.step + 1} of {len(release.steps)} ({release.steps[release.step].text})"


def progress_line(view: ReleaseView) -> str:
    """Return one line on what a release sees now and what it waits for."""
    release, step = view.release, view.evidence
    parts = [_arm_text(step.arm(name), name) for name in (release.control, *release.tried)] if _is_split(view) else []
    if step.shadow.pairs or _shadow_share(release):
        parts.append(f"{step.shadow.pairs:,} compared, {_share(step.shadow.flips, step.shadow.pairs)} decided otherwise")
    return f"{'; '.join(parts)}. {view.waits_for}".removeprefix(". ").strip()


def describe(view: ReleaseView) -> str:
    """Return everything that is known of a release, in lines."""
    release = view.release
    ends = release.log[-1] if release.log and not release.is_active else None
    blocks = [headline(release), f"  begun {time_text(release.started_at)} UTC by {release.author or 'nobody named'}"]
    if release.is_active:
        if release.kind is not ReleaseKind.BLUE_GREEN:
            blocks += ["", *_indent(_arms_table(view))]
        blocks += ["", *_basis_lines(Basis(view.decision.findings) if view.decision is not None else Basis(), release)]
        if view.comparison is not None:
            blocks += _comparison_lines(view.comparison)
        blocks += ["", f"  waits for  {view.waits_for or 'nothing'}", f"  servers    {_servers_text(view)}"]
    elif ends is not None:
        blocks += [f"  ended {time_text(ends.at)} UTC: {ends.sentence}", "", *_basis_lines(ends.basis, release), *_left_lines(view)]
    return "\n".join(line.rstrip() for line in blocks).rstrip()


def _left_lines(view: ReleaseView) -> list[str]:
    """Return what an ended release's last step had seen, as long as that is kept: until the next one begins."""
    step = view.evidence
    if not (any(arm.requests for arm in step.arms.values()) or step.shadow.pairs or step.twin.pairs):
        return []
    return ["", *_indent(_arms_table(view)), *(["", *_comparison_lines(view.comparison)] if view.comparison is not None else [])]


def history_lines(entries: Sequence[Entry], name: str) -> list[str]:
    """Return what happened, oldest first."""
    lines = []
    for entry in entries:
        if entry.move is not None:
            move = entry.move
            before = f"{name}:{move.previous}" if move.previous else "nothing"
            why = move.reason + f" by {move.author}" * bool(move.author)
            lines.append(f"{time_text(entry.at)}  {click.style(f'@{move.alias}', bold=True)} {before} -> {name}:{move.number}  ({why})")
        elif entry.event is not None and entry.release is not None:
            event = entry.event
            is_said = event.author in {"", GATE} or event.author in event.sentence
            said = event.sentence if is_said else f"{event.sentence.removesuffix('.')} (by {event.author})."
            lines.append(f"{time_text(entry.at)}  {_sign(event.status)} {entry.release.kind} {entry.release.id[:6]}  {said}")
            lines += [f"  {line}" for line in _basis_lines(event.basis, entry.release)]
    return lines


def outcome_lines(outcome: Outcome) -> list[str]:
    """Return where an alias points now, and who has followed."""
    before = f"{outcome.name}:{outcome.previous}" if outcome.previous else "nothing"
    if outcome.number == outcome.previous:
        first = f"@{outcome.alias} is {outcome.name}:{outcome.number}"
        if outcome.release is not None and outcome.release.status is ReleaseStatus.ROLLED_BACK:
            release, at = outcome.release, time_text(outcome.release.log[-1].at)
            first = f"The {release.kind} of {release.name}:{release.candidate} was rolled back at {at} UTC; {first}"
            first += f"\n  to go back further: fairlead rollback {outcome.name} --further"
    else:
        first = f"@{outcome.alias} -> {outcome.name}:{outcome.number} (before: {before})"
    return [first, *followed_lines(outcome.followed)]


def followed_lines(followed: Followed) -> list[str]:
    """Return which servers have followed a change, and which have not and why."""
    if not followed.servers:
        return ["No server runs: the next one that starts serves it."]
    behind = {beat.id for beat in followed.behind}
    done = [beat.label for beat in followed.servers if beat.id not in behind]
    lines = [f"{mark(is_good=True)} {_listed(done)} followed in {span_text(followed.seconds)}."] if done else []
    for beat in followed.behind:
        problems = [applied.problem for applied in beat.applied.values() if applied.problem]
        lines.append(f"{mark(is_good=False)} {beat.label} has not followed yet: {problems[0] if problems else 'it has not looked yet'}")
    return lines


def estimate_rows(estimates: Sequence[ArmEstimate]) -> list[str]:
    """Return an experiment's arms in numbers."""
    rows = [
        (
            item.metric,
            item.arm,
            f"{item.count:,}",
            _value(item.metric, item.value),
            f"{_value(item.metric, item.low)} to {_value(item.metric, item.high)}",
        )
        for item in estimates
    ]
    return table(rows, ("METRIC", "ARM", "ANSWERS", "VALUE", "LIES BETWEEN")).splitlines() if rows else []


def finding_rows(findings: Sequence[Finding]) -> list[str]:
    """Return what the gate found, a row per metric."""
    rows = [
        (
            item.metric,
            _value(item.metric, item.live),
            _value(item.metric, item.candidate),
            f"{item.e_value:.3g}",
            f"{item.threshold:.3g}",
            f"{item.requests:,}",
            _STATES[item.state],
        )
        for item in findings
    ]
    return table(rows, ("METRIC", "LIVE", "CANDIDATE", "E-VALUE", "BACK AT", "SEEN", "")).splitlines() if rows else []


def _basis_lines(basis: Basis, release: Release) -> list[str]:
    gate = f"  gate       {release.gate} (alpha {release.gate.alpha:g})" if release.gate is not None and basis.findings else ""
    rows = [
        *_indent(finding_rows(basis.findings)),
        *(f"    {item.sentence}" for item in basis.findings),
        *_indent(estimate_rows(basis.estimates)),
    ]
    return [gate, *rows] if gate else rows


def _comparison_lines(comparison: ArmsComparison) -> list[str]:
    return [*_indent(estimate_rows(comparison.estimates)), f"    {comparison.sentence}"]


def _arms_table(view: ReleaseView) -> list[str]:
    release, step = view.release, view.evidence
    names = (release.control, *release.tried)
    versions = {arm.name: arm.version for arm in release.arms} or {"live": release.live, "candidate": release.candidate}
    rows = [(f"{name} ({release.name}:{versions[name]})", *_arm_cells(step.arm(name))) for name in names]
    lines = table(rows, ("ARM", "REQUESTS", "FAILED", "REFUSED", "P50", "P99", "LABELLED", "RIGHT")).splitlines()
    return [*lines, *_pair_lines(step)]


def _arm_cells(arm: ArmEvidence) -> tuple[str, ...]:
    return (
        f"{arm.requests:,}",
        _share(arm.server_errors, arm.requests),
        _share(arm.client_errors, arm.requests),
        _ms(arm.latency.quantile_ms(0.5)),
        _ms(arm.latency.quantile_ms(0.99)),
        f"{arm.labelled:,}",
        _share(arm.right, arm.labelled),
    )


def _pair_lines(step: StepEvidence) -> list[str]:
    kinds = (("shadow", "live", step.shadow), ("twin", "its uncompressed original", step.twin))
    return [_pair_text(name, against, pair) for name, against, pair in kinds if pair.pairs or pair.failures or pair.dropped]


def _pair_text(name: str, against: str, pair: PairEvidence) -> str:
    typical = pair.differences.quantile(0.5)
    numbers = f", largest difference {pair.largest_difference:.3g}" + (f", half below {typical:.3g}" if typical else "")
    gaps = f", {pair.failures:,} failed" * bool(pair.failures) + f", {pair.dropped:,} left out (busy)" * bool(pair.dropped)
    return f"{name}: {pair.pairs:,} compared with {against}, {_share(pair.flips, pair.pairs)} decided otherwise{numbers}{gaps}"


def _arm_text(arm: ArmEvidence, name: str) -> str:
    return f"{name} {arm.requests:,} ({_share(arm.server_errors, arm.requests)} failed, p99 {_ms(arm.latency.quantile_ms(0.99))})"


def _is_split(view: ReleaseView) -> bool:
    release = view.release
    return release.kind is ReleaseKind.EXPERIMENT or bool(release.steps and release.steps[release.step].share)


def _shadow_share(release: Release) -> float:
    return release.steps[release.step].shadow if release.steps else 0.0


def _servers_text(view: ReleaseView) -> str:
    if not view.servers:
        return "none runs that serves it"
    behind = [f"{server.label}: {server.problem}" for server in view.servers if server.problem]
    following = [server.label for server in view.servers if not server.problem]
    word = "follows" if len(following) == 1 else "follow"
    return "; ".join([*([f"{_listed(following)} {word}"] if following else []), *behind])


def _value(metric: str, value: float | None) -> str:
    if value is None:
        return "-"
    if not math.isfinite(value):
        return "any"
    said = re.match(r"\w*", metric)
    name = said[0].removesuffix("_rise").removesuffix("_drop") if said is not None else metric
    return _ms(value) if name in RULES and RULES[name].is_ratio else f"{value * 100:.3g}%"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g} ms"


def _share(part: int, whole: int) -> str:
    return "-" if not whole else f"{part / whole * 100:.3g}%"


def _listed(labels: Sequence[str]) -> str:
    return f"{', '.join(labels[:3])} and {len(labels) - 3} more" if len(labels) > 4 else ", ".join(labels)


def _sign(status: ReleaseStatus) -> str:
    return mark(is_good=True) if status in _GOOD else mark(is_good=False) if status in _BAD else "·"


def _indent(lines: Sequence[str]) -> list[str]:
    return [f"    {line}" for line in lines]
