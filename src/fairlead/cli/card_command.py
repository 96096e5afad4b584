"""`fairlead card`: the model card of a version, as Markdown or as a page."""

from __future__ import annotations

from pathlib import Path

import click

from fairlead.app.model_card import SliceWish, card_of
from fairlead.app.wiring import build_house
from fairlead.cli.printing import home_option, open_page, write_page
from fairlead.explain.card import card_markdown, card_page

_PAGES = (".html", ".htm")


@click.command()
@click.argument("version")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write it here: .html for a page, anything else for Markdown.")
@click.option("--data", type=click.Path(path_type=Path), help="Measure anew in parts of these rows; needs --target and --by.")
@click.option("--target", metavar="COLUMN", help="With --data: the column with the right answers.")
@click.option("--by", multiple=True, metavar="COLUMN", help="With --data: an input whose values part the rows. Repeat for more.")
@click.option("--open", "is_opened", is_flag=True, help="Show it as a page in the browser.")
@home_option
def card(
    *, version: str, out: Path | None, data: Path | None, target: str | None, by: tuple[str, ...], is_opened: bool, home: str | None
) -> None:
    """Print the model card of VERSION (digits, digits:3, digits@production): what it takes and gives, what it was proven to keep, how well
    it decides, what it costs, what its data looked like, how it is explained and watched, how it was made, and what is not known. What only
    people know comes from tags: card.purpose, card.users, card.out-of-scope, card.training-data, card.risks, card.owner.

    \b
    Examples:
      fairlead card digits:4
      fairlead card digits:4 --out digits-4.html --open
      fairlead tag loans:2 card.purpose="Decides on consumer loans up to 20,000 EUR"
      fairlead card loans:2 --data loans.csv --target approved --by job --by age
    """
    if bool(data) != bool(by) or bool(data) != bool(target):
        raise click.UsageError("Slices need rows, their right answers and what parts them: --data FILE --target COLUMN --by COLUMN.")
    wish = None if data is None else SliceWish(data, target or "", by)
    facts = card_of(version, build_house(home), wish)
    if out is None and not is_opened:
        click.echo(card_markdown(facts), nl=False)
        return
    is_page = out is None or out.suffix.lower() in _PAGES
    place = write_page(card_page(facts) if is_page else card_markdown(facts), out, facts.name)
    click.echo(str(place))
    if is_opened:
        open_page(place)
