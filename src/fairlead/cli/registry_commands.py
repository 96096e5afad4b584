"""`fairlead models`, `versions`, `show`, `search`, `tag`, `note`, `stage`: what is registered, and what people write on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import click

from fairlead.app import catalogue, registry_tags
from fairlead.app.registry_search import search as find
from fairlead.app.wiring import build_house
from fairlead.cli.printing import emit_json, home_option, json_option, table
from fairlead.cli.registry_text import day, tags_text, version_text
from fairlead.core.fact import TAG_PREFIX
from fairlead.core.manifest import readable_size
from fairlead.core.query import Hit

_SHOWN = 20
_NO_MODELS = "No models yet. Deploy one: fairlead deploy model.h5 --name digits --data digits.npz"
_METRICS = ("accuracy", "f1", "auc", "r2", "rmse", "mae")  # the first one that a list's versions have is shown


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
        click.echo(_NO_MODELS)
        return
    columns: list[tuple[str, Callable[[catalogue.ModelRow], str]]] = [
        ("NAME", lambda row: row.name),
        ("VERSIONS", lambda row: str(row.version_count)),
        ("PRODUCTION", lambda row: f"{row.name}:{row.production}" if row.production else "-"),
        ("SINCE", lambda row: day(row.created_at)),
        ("PROMISE", lambda row: ", ".join(row.requirements) or "none stated"),
        ("RELEASE", lambda row: row.release),
        ("PROTECTED", lambda row: " ".join(f"@{alias}" for alias in row.protected)),
        ("NOTE", lambda row: _short(row.note)),
    ]
    shown = [column for number, column in enumerate(columns) if number < 5 or any(column[1](row) for row in rows)]
    click.echo(table([tuple(text(row) for _, text in shown) for row in rows], tuple(title for title, _ in shown)))


@click.command()
@click.argument("name")
@click.option("--limit", type=click.IntRange(min=1), default=_SHOWN, show_default=True, help="How many, counted from the newest.")
@home_option
@json_option
def versions(name: str, limit: int, home: str | None, *, as_json: bool) -> None:
    """List the versions of a model, newest first."""
    house = build_house(home)
    found = catalogue.list_versions(name, house, limit=limit + 1)
    rows = found[:limit]
    if as_json:
        emit_json(rows)
        return
    metric = next((key for key in _METRICS if any(key in row.traits for row in rows)), "")
    lines = [
        (
            row.version,
            day(row.created_at),
            " ".join(f"@{alias}" for alias in row.aliases),
            row.stage,
            _cell(metric, row.traits.get(metric, "")),
            _cell("size_bytes", row.traits.get("size_bytes", "")),
            _cell("p99_ms", row.traits.get("p99_ms", "")),
            str(row.traits.get("publisher", "")),
            tags_text(dict(row.tags)),
        )
        for row in rows
    ]
    header = ("VERSION", "REGISTERED", "ALIASES", "STAGE", metric.upper(), "SIZE", "P99 MS", "BY", "TAGS")
    click.echo(_without_empty(lines, header))
    if len(found) > limit:
        click.echo(f"There are more than {limit}: --limit {limit * 5} shows older ones.")
    retired = house.records.retired(name)
    if retired:
        click.echo(f"{len(retired)} retired, the newest of them {name}:{retired[-1].number} ({retired[-1].reason})")


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
    click.echo(version_text(view))


@click.command()
@click.argument("query", nargs=-1)
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="How many versions at most.")
@home_option
@json_option
def search(query: tuple[str, ...], limit: int, home: str | None, *, as_json: bool) -> None:
    """Find versions, e.g. "framework:xgboost accuracy>0.9 alias:production tag:team=vision name:dig*"."""
    found = find(" ".join(query), build_house(home), limit=limit)
    if as_json:
        emit_json(found)
        return
    if not found.hits:
        click.echo(_NO_MODELS if found.is_empty else "No version is like that.")
        return
    keys = [key for key in found.keys if key != "tag:stage"]
    if "size_bytes" not in keys:
        keys.append("size_bytes")
    lines = [
        (hit.label, " ".join(f"@{alias}" for alias in hit.aliases), _stage(hit), day(hit.created_at), *(_told(hit, key) for key in keys))
        for hit in found.hits
    ]
    header = ("VERSION", "ALIASES", "STAGE", "REGISTERED", *(key.removesuffix("_bytes").replace("_", " ").upper() for key in keys))
    click.echo(_without_empty(lines, header))
    if found.is_cut:
        click.echo(f"There are more than {limit}: say more of what you look for, or give --limit.")


@click.command()
@click.argument("version")
@click.argument("tags", nargs=-1, metavar="[KEY=VALUE | KEY]...")
@click.option("--remove", multiple=True, metavar="KEY", help="Take a tag away. Repeat for more.")
@home_option
@json_option
def tag(version: str, tags: tuple[str, ...], remove: tuple[str, ...], home: str | None, *, as_json: bool) -> None:
    """Write tags on a version, e.g. team=vision reviewed; without any, show them. One tagged `protected` is never collected."""
    tagged = registry_tags.tag(version, tags, build_house(home), remove=remove)
    if as_json:
        emit_json(tagged)
        return
    click.echo(f"{tagged.version}  {tags_text(dict(tagged.tags)) or 'no tags'}")


@click.command()
@click.argument("version")
@click.argument("text", required=False)
@click.option("--remove", "is_removed", is_flag=True, help="Take the description away.")
@home_option
@json_option
def note(version: str, text: str | None, home: str | None, *, is_removed: bool, as_json: bool) -> None:
    """Describe a version (digits:4) or a model (digits); without a text, show the description."""
    if text and is_removed:
        raise click.UsageError("Give a text, or --remove.")
    house = build_house(home)
    found = registry_tags.write_note(version, text or "", house) if text or is_removed else registry_tags.read_note(version, house)
    if as_json:
        emit_json(found)
        return
    click.echo(f"{found.subject}: {found.text or 'no description'}")


@click.command()
@click.argument("version")
@click.argument("stage", metavar="[STAGE]", type=click.Choice(registry_tags.STAGES), required=False)
@click.option("--remove", "is_removed", is_flag=True, help="Take the stage away.")
@home_option
@json_option
def stage(version: str, stage: str | None, home: str | None, *, is_removed: bool, as_json: bool) -> None:
    """Say how far a version has come: development, staging, production or archived. A label for people and searches: requests follow
    aliases, see fairlead promote.
    """
    if (stage is None) != is_removed:
        raise click.UsageError("Give a stage, or --remove.")
    tagged = registry_tags.stage(version, stage or "", build_house(home))
    if as_json:
        emit_json(tagged)
        return
    click.echo(f"{tagged.version}  stage: {tagged.stage or 'none'}")


def _stage(hit: Hit) -> str:
    return str(hit.traits.get("tag:stage", ""))


def _told(hit: Hit, key: str) -> str:
    return _cell(key, hit.traits.get(key, ""))


def _cell(key: str, value: str | float) -> str:
    if isinstance(value, str):
        return _short("yes" if value == registry_tags.SET else value)
    if key.startswith(TAG_PREFIX):
        return registry_tags.spoken_value(value)
    return readable_size(int(value)) if key.endswith("_bytes") else f"{value:.4g}"


def _short(text: str) -> str:
    line = text.splitlines()[0] if text else ""
    return line if len(line) <= 48 else line[:47] + "…"


def _without_empty(lines: Sequence[tuple[str, ...]], header: tuple[str, ...]) -> str:
    """Return the table without columns in which nothing stands."""
    kept = [number for number in range(len(header)) if any(line[number] for line in lines)]
    return table([tuple(line[number] for number in kept) for line in lines], tuple(header[number] for number in kept))
