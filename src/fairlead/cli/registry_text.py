"""Versions as text: what `fairlead show` prints."""

from __future__ import annotations

from datetime import UTC, datetime

from fairlead.app.catalogue import VersionView, Written
from fairlead.app.registry_tags import spoken_tag
from fairlead.cli.printing import check_mark, sections, table
from fairlead.core.fact import Retirement
from fairlead.core.strategy import Strategy
from fairlead.core.verdict import Verdict

_RETIRED_SHOWN = 5


def day(at: float) -> str:
    """Return a time (Unix seconds) in UTC."""
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError, OSError):  # what a clock said that was far off
        return "at no known time"


def tags_text(tags: dict[str, str | float]) -> str:
    """Return tags on one line."""
    return "  ".join(spoken_tag(key, value) for key, value in tags.items())


def version_text(view: VersionView) -> str:
    """Return everything that is known of a version."""
    verdict, version, written = view.verdict, view.version, view.written
    pointing = "  ".join(f"@{alias}" for alias in view.aliases) or "no alias points here"
    by = f" by {written.publisher}" if written.publisher else ""
    checks = [(f"{check_mark(check)} {check.name}", f"{check.measured:.6g}", check.bound, check.detail) for check in verdict.checks]
    speed = [
        f"batch {item.batch}: p50 {item.p50_ms:.3f} ms, p99 {item.p99_ms:.3f} ms, {item.throughput_rps:,.0f} rows/s"
        for item in verdict.speed
    ]
    quality = [
        f"{item.metric} {item.candidate:.4f} {_interval(item.candidate_interval)}, original {item.original:.4f}" for item in verdict.quality
    ]
    moves = [
        f"{day(move.moved_at)}  {move.reason}{f' by {move.author}' * bool(move.author)}: "
        f"{_place(move.name, move.previous)} -> {move.name}:{move.number}"
        for move in view.history
    ]
    steps = [f"{step.room}: {step.tool} -> sha256:{step.output_digest[:12]}" for step in view.lineage.steps]
    return sections(
        [
            (
                f"{version.label}  {pointing}",
                [f"sha256:{version.digest}", f"registered {day(version.created_at)} UTC{by}", *_said(written)],
            ),
            ("Takes", [spec.describe() for spec in view.interface.inputs]),
            ("Gives", [spec.describe() for spec in view.interface.outputs]),
            *([("Steps", view.ensemble.describe())] if view.ensemble is not None else []),
            ("Promise and checks", table(checks, ("CHECK", "MEASURED", "BOUND", "")).splitlines()),
            (f"Evidence ({verdict.data_description})", [*quality, *speed, _where(verdict)]),
            *([("Strategy", _strategy(view.strategy))] if view.strategy is not None else []),
            (f"Comes from {view.lineage.source_name}", steps),
            ("@production was moved", moves or ["never"]),
            *([("Retired", _retired(version.name, written.retired))] if written.retired else []),
            ("Report", [str(view.report)]),
        ]
    )


def _said(written: Written) -> list[str]:
    """Return what people wrote, and what is going on, a line each."""
    lines = [f"tags: {tags_text(dict(written.tags))}"] if written.tags else []
    lines += [f"stage: {written.stage}"] if written.stage else []
    lines += [f"note: {line}" for line in written.note.splitlines()]
    lines += [f"the model: {line}" for line in written.model_note.splitlines()]
    lines += [f"release: {written.release} is running"] if written.release else []
    if written.protection is not None:
        approved = f"approved by {written.approval.approver}" if written.approval is not None else "not approved"
        lines.append(f"protected ({', '.join('@' + alias for alias in written.protection.aliases)}): {approved}")
    elif written.approval is not None:
        lines.append(f"approved by {written.approval.approver}")
    return lines


def _where(verdict: Verdict) -> str:
    machine = verdict.machine
    return f"against {verdict.reference}, run by {verdict.engine} on {machine.processor}, {machine.core_count} cores"


def _strategy(strategy: Strategy) -> list[str]:
    led = ", ".join([*([strategy.scenario.value] if strategy.scenario else []), *(need.value for need in strategy.needs)])
    return [
        *([f"for {led}"] if led else []),
        f"roll-out: {strategy.rollout.kind.value}; keeps {strategy.retention.version_count} versions",
        *strategy.notes,
    ]


def _retired(name: str, retired: tuple[Retirement, ...]) -> list[str]:
    lines = [f"{name}:{one.number}  {day(one.at)}  {one.reason}" for one in retired[-_RETIRED_SHOWN:]]
    return lines if len(retired) <= _RETIRED_SHOWN else [f"{len(retired)} in all; the newest:", *lines]


def _place(name: str, number: int) -> str:
    return f"{name}:{number}" if number else "nothing"


def _interval(bounds: tuple[float, float]) -> str:
    return f"[{bounds[0]:.4f}, {bounds[1]:.4f}]"
