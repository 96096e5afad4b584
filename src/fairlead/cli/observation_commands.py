"""`fairlead observe` says what is kept of a model's requests; `fairlead observations` shows it, and answers questions in SQL."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from fairlead.app import observations as use
from fairlead.app.observing_rules import Observing, ObservingChange, change_observing, observing_of
from fairlead.app.wiring import build_house, settings_for
from fairlead.cli.printing import ByteSize, Duration, emit_json, home_option, json_option, table
from fairlead.cli.top_screen import size as bytes_text
from fairlead.core.observation_log import LABEL, LogSize
from fairlead.core.release_text import parse_share

if TYPE_CHECKING:
    from fairlead.stores.prediction_log_compaction import Compacted

_TEXT_LIMIT = 24
_COMPACT_S = 900.0
_FIRST = ("at", "request_id", "version", "arm", "status", "latency_s")


@click.command()
@click.argument("name", required=False)
@click.option("--since", "since_s", type=Duration(), default="24h", show_default=True, help="How far to look back: 90s, 10m, 1h, 7d.")
@click.option("--until", "until_s", type=Duration(), default="0s", help="Where to stop looking, in the same way.  [default: now]")
@click.option("--version", type=click.IntRange(1), help="Only what this version answered.")
@click.option("--limit", type=click.IntRange(0, 1_000_000), default=20, show_default=True, help="How many rows to show, the newest.")
@click.option("--sql", "question", metavar="QUESTION", help="Ask DuckDB about the table `observations` instead.")
@click.option("--compact", "is_compacted", is_flag=True, help="Make few files of many small ones. Servers do so by themselves.")
@home_option
@json_option
def observations(
    name: str | None,
    *,
    since_s: float,
    until_s: float,
    version: int | None,
    limit: int,
    question: str | None,
    is_compacted: bool,
    home: str | None,
    as_json: bool,
) -> None:
    """Show what is kept of NAME's requests; without a NAME, of which models something is kept.

    \b
    Examples:
      fairlead observations digits --since 1h
      fairlead observations digits --sql "select version, status, count(*), avg(latency_s) from observations group by all"
      fairlead observations digits --since 7d --sql "select label, count(*) from observations where label is not null group by 1"
      fairlead observations digits --limit 1000 --json > rows.json
    """
    if is_compacted:
        _print_compacted(use.compact(name, settings_for(home), limit_s=_COMPACT_S), as_json=as_json)
        return
    house = build_house(home)
    if name is None:
        if question is not None:
            raise click.UsageError("Say of which model: fairlead observations NAME --sql ...")
        _print_logs(use.logs(house), as_json=as_json)
        return
    window = use.window_of(name, house, since_s=since_s, until_s=until_s, version=version)
    if question is not None:
        _print_answer(use.ask(question, window, house, limit=limit), as_json=as_json)
        return
    shown = use.show(window, house, limit=limit)
    if as_json:
        emit_json(shown)
        return
    click.echo(_headline(shown.model, shown.size))
    if shown.rows:
        click.echo("\n" + _rows_table(shown.rows))
        hidden = len(shown.columns) - len(_columns(shown.rows))
        click.echo(f"\n{hidden} more columns: --json, or --sql." if hidden > 0 else "", nl=hidden > 0)


@click.command()
@click.argument("name")
@click.option("--on/--off", "is_on", default=None, help="Keep requests of this model, or none of them.")
@click.option("--share", metavar="SHARE", help="Which share of its requests is kept, e.g. 10%.")
@click.option("--redact", metavar="RULES", help="E.g. 'email=drop, age=bucket(10), city=keep, *_id=hash'; '' for none.")
@click.option("--keep", "keep_s", type=Duration(), help="How long: 7d, 30d; 0: for ever.")
@click.option("--keep-size", "keep_bytes", type=ByteSize(), help="How much of this model at most: 500MB, 2GiB; 0: no limit.")
@click.option("--reset", "is_reset", is_flag=True, help="Forget first what was said about this model before.")
@home_option
@json_option
def observe(
    name: str,
    *,
    is_on: bool | None,
    share: str | None,
    redact: str | None,
    keep_s: float | None,
    keep_bytes: int | None,
    is_reset: bool,
    home: str | None,
    as_json: bool,
) -> None:
    """Say what is kept of NAME's requests, and change it. Running servers follow within seconds.

    Rules name columns; * stands for anything, the first that fits counts. What can be done with a column: keep, drop, hash (equal values
    stay equal), known (texts of the training data stay, others are hashed), bucket(10) or bucket(0;18;65), summary (of an image or a text).

    \b
    Examples:
      fairlead observe digits
      fairlead observe churn --redact "customer_id=hash, age=bucket(10), city=keep"
      fairlead observe churn --share 10% --keep 7d
      fairlead observe churn --off
    """
    house = build_house(home)
    change = ObservingChange(is_on, None if share is None else parse_share(share), redact, keep_s, keep_bytes, is_reset=is_reset)
    found = observing_of(name, house) if change == ObservingChange() else change_observing(name, change, house)
    if as_json:
        emit_json(found)
        return
    click.echo("\n".join(_observing_lines(found)))


def _print_compacted(done: Compacted, *, as_json: bool) -> None:
    if as_json:
        emit_json(done)
        return
    if not done.source_count and not done.removed_count:
        click.echo("Nothing is to be done: the files of an hour become few when it is over, ten minutes later.")
    else:
        click.echo(f"{done.source_count} files became {done.made_count}; {done.removed_count} that were replaced an hour ago are removed.")
    if not done.has_ended:
        click.echo("There is more to do: say it again.")


def _observing_lines(found: Observing) -> list[str]:
    if not found.share:
        return [f"{found.model}: nothing is kept of its requests. Keep them: fairlead observe {found.model} --on"]
    kept_for = f"for {found.keep_s / 86_400:g} days" if found.keep_s else "for ever"
    size = f", {bytes_text(found.keep_bytes)} at most" if found.keep_bytes else ""
    head = f"{found.model}: {found.share:.4g} of its requests are kept {kept_for}{size}; of version {found.version}:"
    head = head.replace(f"{found.share:.4g} of its", "all" if found.share == 1.0 else f"{found.share * 100:.4g} % of its")
    rows = [(column.name, column.treatment, column.origin) for column in found.columns]
    return [head, "", table(rows, ("COLUMN", "WHAT", "WHY"))]


def _print_logs(found: Sequence[use.ModelLog], *, as_json: bool) -> None:
    if as_json:
        emit_json(found)
        return
    if not found:
        click.echo("Nothing is kept yet. Requests to a running server are: fairlead serve")
        return
    rows = [(item.model, f"{item.size.row_count:,}", bytes_text(item.size.size_bytes), *_span(item.size)) for item in found]
    click.echo(table(rows, ("MODEL", "ROWS", "SIZE", "FROM", "TO")))
    for item in found:
        _warn(item.size)


def _print_answer(answer: use.Asked, *, as_json: bool) -> None:
    if as_json:
        emit_json([dict(zip(answer.columns, row, strict=True)) for row in answer.rows])
        return
    click.echo(table([[_cell(value) for value in row] for row in answer.rows], answer.columns))
    if answer.is_cut:
        click.echo("There are more rows: --limit", err=True)


def _headline(model: str, size: LogSize) -> str:
    _warn(size)
    if not size.row_count:
        return f"Nothing of '{model}' is kept from that time. Look back further: --since 7d"
    first, last = _span(size)
    files = f"{size.file_count} file{'s' * (size.file_count != 1)}"
    return f"{model}: {size.row_count:,} rows in {files} ({bytes_text(size.size_bytes)}), {first} to {last}"


def _warn(size: LogSize) -> None:
    if size.unreadable:
        more = f" and {len(size.unreadable) - 3} more" if len(size.unreadable) > 3 else ""
        click.echo(f"Left out, torn or of somebody else: {', '.join(size.unreadable[:3])}{more}", err=True)


def _columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the columns that fit on the screen: what a request is first, its label, then answers and inputs."""
    names = list(rows[0])
    first = [name for name in _FIRST if name in names and any(row[name] != "" for row in rows)]
    label = [LABEL] if any(row.get(LABEL) is not None for row in rows) else []
    rest = [name for name in names if name.startswith("output:")] + [name for name in names if name.startswith("input:")]
    room, chosen = shutil.get_terminal_size().columns, list[str]()
    for name in (*first, *label, *rest):
        width = 2 + max(len(name), *(len(_shown(name, row[name])) for row in rows))
        if width > room and chosen:
            break
        chosen.append(name)
        room -= width
    return chosen


def _rows_table(rows: Sequence[Mapping[str, Any]]) -> str:
    names = _columns(rows)
    return table([[_shown(name, row[name]) for name in names] for row in rows], [_title(name) for name in names])


def _title(name: str) -> str:
    return {"at": "AT", "request_id": "REQUEST", "latency_s": "MS", LABEL: "LABEL"}.get(name, name if ":" in name else name.upper())


def _shown(name: str, value: Any) -> str:
    if name == "at":
        return datetime.fromtimestamp(value).astimezone().strftime("%m-%d %H:%M:%S")
    return f"{value * 1e3:.2f}" if name == "latency_s" else _cell(value)


def _cell(value: Any) -> str:
    """Return a value for a table; control characters of what a client sent are escaped."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    text = f"{value:.5g}" if isinstance(value, float) else str(value)
    text = text if text.isprintable() else text.encode("unicode_escape").decode("ascii")
    return text if len(text) <= _TEXT_LIMIT else text[: _TEXT_LIMIT - 1] + "…"


def _span(size: LogSize) -> tuple[str, str]:
    if not size.row_count:
        return "-", "-"
    first, last = (datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S") for at in (size.first_at, size.last_at))
    return first, last
