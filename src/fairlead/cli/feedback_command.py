"""`fairlead feedback`: right answers that came later."""

from __future__ import annotations

from pathlib import Path

import click

from fairlead.cli.printing import StepProgress, emit_json, home_option, json_option, mark


@click.command()
@click.argument("model")
@click.option("--file", "path", type=click.Path(path_type=Path), required=True, help="File with labels: .csv, .jsonl or .parquet.")
@click.option("--id-column", default="request_id", show_default=True, help="Column with the request's id.")
@click.option("--label-column", default="label", show_default=True, help="Column with the right answer.")
@click.option("--row-column", default="row", show_default=True, help="Column with the row's place in its request, from 0; may be missing.")
@home_option
@json_option
def feedback(*, model: str, path: Path, id_column: str, label_column: str, row_column: str, home: str | None, as_json: bool) -> None:
    """Keep right answers for MODEL that came later, by the id of the request (x-request-id, or the id in its body).

    Labels may come in any order, twice, and before the log knows the request: the newest counts. What can be no answer of the model is
    left out and counted.

    \b
    Examples:
      fairlead feedback digits --file labels.csv
      fairlead feedback digits --file outcomes.parquet --id-column order --label-column was_fraud
    """
    from fairlead.app.feedback import LabelColumns, feed  # noqa: PLC0415 - --help needs none of it
    from fairlead.app.wiring import build_house  # noqa: PLC0415 - likewise

    progress = StepProgress(is_silent=as_json)
    found = feed(model, path, build_house(home), progress, LabelColumns(id_column, label_column, row_column))
    if as_json:
        emit_json(found)
        return
    match = found.match
    counts = (
        (match.joined, "belong to rows in the log"),
        (match.duplicate, "say what was said before"),
        (match.contradicting, "contradict a label that was there: the new one counts"),
        (match.unknown, "are of requests that the log does not know (yet): they wait"),
        (match.ambiguous, "have an id that several requests had: they say nothing"),
        (found.empty, "had no id or no label"),
        (found.unfit, f"can be no answer of the model, e.g. '{found.example}'"),
    )
    is_good = bool(match.joined or match.duplicate or match.contradicting)
    click.echo(f"{mark(is_good=is_good)} {found.kept:,} of {found.labels:,} labels for {found.model} are kept.")
    for count, what in counts:
        if count:
            click.echo(f"  {count:>11,} {what}")
    if match.joined:
        click.echo(f"See: fairlead quality {found.model}")
