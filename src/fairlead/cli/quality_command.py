"""`fairlead quality`: how well a model answers in production."""

from __future__ import annotations

from pathlib import Path

import click

from fairlead.cli.printing import Duration, emit_json, home_option, json_option


@click.command()
@click.argument("model")
@click.option("--since", "since_s", type=Duration(), default="7d", show_default=True, help="How far to look back.")
@click.option("--window", "width_s", type=Duration(), default="0s", show_default="what fits", help="Length of one piece of time.")
@click.option("--by", default="", metavar="COLUMN", help="Quality by the values of an input, or of arm, route or version.")
@click.option("--metric", "metrics", multiple=True, help="Also this one: f1, auc, ece, mae, rmse. Repeat for more.")
@click.option("--values", "costs", type=click.Path(path_type=Path), help="What decisions are worth (.yaml), for business value.")
@click.option("--replay/--no-replay", "is_replayed", default=True, help="Ask the uncompressed original, too, what it would have said.")
@home_option
@json_option
def quality(
    *,
    model: str,
    since_s: float,
    width_s: float,
    by: str,
    metrics: tuple[str, ...],
    costs: Path | None,
    is_replayed: bool,
    home: str | None,
    as_json: bool,
) -> None:
    """Say how well MODEL (digits, digits:3) answers: over time, by slice, against its release, and by every promise.

    Right answers come by fairlead feedback or POST /v2/models/MODEL/feedback. Without any, accuracy is estimated from how sure the answers
    are; it is said where that cannot be believed. Intervals are of 95 %.

    \b
    Examples:
      fairlead quality digits
      fairlead quality digits --by segment --since 30d
      fairlead quality fraud --metric f1 --values values.yaml
    """
    from fairlead.app.costs import read_costs  # noqa: PLC0415 - --help needs none of it
    from fairlead.app.quality_report import QualityRequest  # noqa: PLC0415 - likewise
    from fairlead.app.quality_report import quality as look  # noqa: PLC0415 - likewise
    from fairlead.app.wiring import build_house  # noqa: PLC0415 - likewise
    from fairlead.cli.quality_text import quality_text  # noqa: PLC0415 - likewise

    matrix = read_costs(costs) if costs is not None else None
    view = look(QualityRequest(model, since_s, by, metrics, width_s, matrix, is_replayed), build_house(home))
    if as_json:
        emit_json(view)
        return
    click.echo(quality_text(view, by=by, unit=matrix.unit if matrix is not None else ""))
