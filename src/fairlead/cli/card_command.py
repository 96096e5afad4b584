"""`fairlead card`: the model card of a version, as Markdown or as a page."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from fairlead.app.model_card import card_of
from fairlead.app.wiring import build_house
from fairlead.cli.printing import home_option
from fairlead.explain.card import card_markdown, card_page

_PAGES = (".html", ".htm")


@click.command()
@click.argument("version")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write it here: .html for a page, anything else for Markdown.")
@click.option("--open", "is_opened", is_flag=True, help="Show it as a page in the browser.")
@home_option
def card(*, version: str, out: Path | None, is_opened: bool, home: str | None) -> None:
    """Print the model card of VERSION (digits, digits:3, digits@production): what it takes and gives, what it was proven to keep, how well
    it decides, what it costs, what its data looked like, how it was made, and what is not known.

    \b
    Examples:
      fairlead card digits:4
      fairlead card digits:4 --out digits-4.html --open
    """
    facts = card_of(version, build_house(home))
    if out is None and not is_opened:
        click.echo(card_markdown(facts), nl=False)
        return
    place = out or Path(tempfile.mkdtemp(prefix="fairlead-card-")) / f"{facts.name.replace(':', '-')}.html"
    is_page = out is None or place.suffix.lower() in _PAGES
    place.write_text(card_page(facts) if is_page else card_markdown(facts), encoding="utf-8")
    click.echo(str(place))
    if is_opened and click.launch(str(place)) != 0:
        click.echo(f"No browser could be started here. Open {place} yourself.", err=True)
