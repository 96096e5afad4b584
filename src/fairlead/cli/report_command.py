"""`fairlead report`: the page with a version's evidence, as a file and in the browser."""

from __future__ import annotations

from pathlib import Path

import click

from fairlead.app import catalogue
from fairlead.app.wiring import build_house
from fairlead.cli.printing import emit_json, home_option, json_option, open_page


@click.command()
@click.argument("version")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write a copy of the page here.")
@click.option("--open", "is_opened", is_flag=True, help="Open it in the browser.")
@home_option
@json_option
def report(*, version: str, out: Path | None, is_opened: bool, home: str | None, as_json: bool) -> None:
    """Show the evidence of VERSION (digits, digits:3, digits@production) as one page: the promise, what was measured, what was tried
    and why not the others. The page holds no script and asks for nothing from elsewhere.

    \b
    Examples:
      fairlead report digits --open
      fairlead report digits:3 --out digits-3.html
    """
    page = catalogue.report(version, build_house(home), out)
    if as_json:
        emit_json({"report": str(page)})
    else:
        click.echo(str(page))
    if is_opened:
        open_page(page)
