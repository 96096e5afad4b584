"""`fairlead models`, `show`, `promote`, `rollback`, `export`: what is registered, and where production points."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from fairlead.app import catalogue
from fairlead.app.wiring import build_house
from fairlead.cli.printing import check_mark, emit_json, home_option, json_option, sections, table
from fairlead.core.version import PRODUCTION, AliasMove


@click.command()
@home_option
@json_option
def models(home: str | None, *, as_json: bool) -> None:
    """List the registered models."""
    rows = catalogue.list_models(build_house(home))
    if as_json:
        emit_json(rows)
        return
    if not rows:
        click.echo("No models yet. Deploy one: fairlead deploy model.h5 --name digits --data digits.npz")
        return
    lines = [
        (row.name, str(row.version_count), f"{row.name}:{row.production}" if row.production else "-", _day(row.created_at), _promise(row))
        for row in rows
    ]
    click.echo(table(lines, ("NAME", "VERSIONS", "PRODUCTION", "SINCE", "PROMISE")))


@click.command()
@click.argument("version")
@home_option
@json_option
def show(version: str, home: str | None, *, as_json: bool) -> None:
    """Show a version: its promise, evidence and history. VERSION is digits, digits:3 or digits@production."""
    view = catalogue.show(version, build_house(home))
    if as_json:
        emit_json(view)
        return
    click.echo(_describe(view))


@click.command()
@click.argument("version")
@click.option("--to", "alias", default=PRODUCTION, show_default=True, help="The alias to move.")
@home_option
@json_option
def promote(version: str, alias: str, home: str | None, *, as_json: bool) -> None:
    """Point @production at a version, e.g. digits:3."""
    _say(catalogue.promote(version, build_house(home), alias=alias), as_json=as_json)


@click.command()
@click.argument("name")
@click.option("--alias", default=PRODUCTION, show_default=True, help="The alias to move.")
@home_option
@json_option
def rollback(name: str, alias: str, home: str | None, *, as_json: bool) -> None:
    """Take @production back to the version before. A running server follows at once."""
    _say(catalogue.rollback(name, build_house(home), alias=alias), as_json=as_json)


@click.command()
@click.argument("version")
@click.option("--layout", "--to", "layout", default="open-inference", show_default=True, help="open-inference or mlflow.")
@click.option("--out", "folder", type=click.Path(path_type=Path), required=True, help="Folder to write into.")
@home_option
@json_option
def export(version: str, layout: str, folder: Path, home: str | None, *, as_json: bool) -> None:
    """Write a version as a folder that other servers take."""
    written = catalogue.export(version, layout, folder, build_house(home))
    if as_json:
        emit_json({name: str(path) for name, path in written.items()})
        return
    for path in written.values():
        click.echo(str(path))


def _say(move: AliasMove, *, as_json: bool) -> None:
    if as_json:
        emit_json(move)
        return
    click.echo(f"@{move.alias} -> {move.name}:{move.number} (before: {_place(move.name, move.previous)})")


def _place(name: str, number: int) -> str:
    return f"{name}:{number}" if number else "nothing"


def _interval(bounds: tuple[float, float]) -> str:
    return f"[{bounds[0]:.4f}, {bounds[1]:.4f}]"


def _promise(row: catalogue.ModelRow) -> str:
    return ", ".join(row.requirements) or "none stated"


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")


def _describe(view: catalogue.VersionView) -> str:
    verdict, version = view.verdict, view.version
    pointing = "  ".join(f"@{alias}" for alias in view.aliases) or "no alias points here"
    checks = [(f"{check_mark(check)} {check.name}", f"{check.measured:.6g}", check.bound, check.detail) for check in verdict.checks]
    speed = [
        f"batch {item.batch}: p50 {item.p50_ms:.3f} ms, p99 {item.p99_ms:.3f} ms, {item.throughput_rps:,.0f} rows/s"
        for item in verdict.speed
    ]
    quality = [
        f"{item.metric} {item.candidate:.4f} {_interval(item.candidate_interval)}, original {item.original:.4f}" for item in verdict.quality
    ]
    moves = [
        f"{_day(move.moved_at)}  {move.reason}: {_place(move.name, move.previous)} -> {move.name}:{move.number}" for move in view.history
    ]
    steps = [f"{step.room}: {step.tool} -> sha256:{step.output_digest[:12]}" for step in view.lineage.steps]
    return sections(
        [
            (f"{version.label}  {pointing}", [f"sha256:{version.digest}", f"registered {_day(version.created_at)} UTC"]),
            ("Takes", [spec.describe() for spec in view.interface.inputs]),
            ("Gives", [spec.describe() for spec in view.interface.outputs]),
            *([("Steps", view.ensemble.describe())] if view.ensemble is not None else []),
            ("Promise and checks", table(checks, ("CHECK", "MEASURED", "BOUND", "")).splitlines()),
            (f"Evidence ({verdict.data_description})", [*quality, *speed, f"against {verdict.reference}, run by {verdict.engine}"]),
            (f"Comes from {view.lineage.source_name}", steps),
            ("@production was moved", moves or ["never"]),
            ("Report", [str(view.report)]),
        ]
    )
