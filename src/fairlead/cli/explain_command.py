"""`fairlead explain`: why a registered model answers as it does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from fairlead.app.explain_model import Explainer, Wish, open_explainer
from fairlead.app.wiring import build_house
from fairlead.cli.explain_text import counterfactual_text, explanation_text, overview_text, rule_text
from fairlead.cli.printing import Duration, StepProgress, emit_json, home_option, json_option, open_page, write_page
from fairlead.core.explanation import Method
from fairlead.core.interface import Tensors
from fairlead.datasets.load import load_rows
from fairlead.explain.page import Page, render_page

_MOST_ROWS = 20  # on a page


@click.command()
@click.argument("version")
@click.option("--input", "source", type=click.Path(path_type=Path), help="Rows to explain: .csv, .parquet, .npz, .npy or .json.")
@click.option("--counterfactual", "what", flag_value="counterfactual", help="What would have to change for another decision.")
@click.option("--rule", "what", flag_value="rule", help="Conditions under which the decision stays the same.")
@click.option("--global", "what", flag_value="global", help="What the model goes by on the whole.")
@click.option("--method", type=click.Choice([one.value for one in Method]), help="How, instead of the most exact one that the time allows.")
@click.option("--of", metavar="CLASS", help="Explain the score of this class (or this number) instead of the decision's.")
@click.option("--to", metavar="CLASS", help="With --counterfactual: the decision that is wanted, or for a number '>=200'.")
@click.option("--keep", multiple=True, metavar="FEATURE", help="With --counterfactual: this must not change. Repeat for more.")
@click.option("--data", type=click.Path(path_type=Path), help="With --global: rows to look at, instead of those kept with the version.")
@click.option("--target", metavar="COLUMN", help="With --data: the column with the right answers.")
@click.option("--background", type=click.Path(path_type=Path), help="Rows to explain against, instead of those kept with the version.")
@click.option("--budget", type=Duration(), help="Time for all rows: 2s, 1m.  [default: 2s a row where the model has to be asked]")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write pictures here, as one page (HTML).")
@click.option("--open", "is_opened", is_flag=True, help="Show the page in the browser.")
@home_option
@json_option
def explain(  # noqa: PLR0917 - click hands over its options by name
    version: str,
    source: Path | None,
    what: str | None,
    method: str | None,
    of: str | None,
    to: str | None,
    keep: tuple[str, ...],
    data: Path | None,
    target: str | None,
    background: Path | None,
    budget: float | None,
    out: Path | None,
    home: str | None,
    *,
    is_opened: bool,
    as_json: bool,
) -> None:
    """Say why VERSION (digits, digits:3 or digits@production) answers rows as it does: what each feature adds to the answer, exactly for
    trees, with a bound on the error for everything else.

    \b
    Examples:
      fairlead explain digits --input row.json --open
      fairlead explain loans --input row.json --counterfactual --keep age
      fairlead explain loans --global --data loans.csv --target approved
    """
    if (what == "global") == (source is not None):
        raise click.UsageError("Give rows to explain (--input FILE), or ask for the whole (--global), one of the two.")
    wish = Wish(method or "", of, keep, to, budget)
    with open_explainer(version, build_house(home), background) as explainer:
        if what == "global":
            _overview(explainer, data, target, wish, out, is_opened=is_opened, as_json=as_json)
            return
        rows = load_rows(source or Path(), explainer.interface)
        if what == "counterfactual":
            changes = explainer.counterfactuals(rows, wish)
            texts = [counterfactual_text(place, one) for place, one in enumerate(changes)]
            _say(explainer, "counterfactuals", changes, texts, as_json=as_json)
        elif what == "rule":
            rules = explainer.rules(rows, wish)
            _say(explainer, "rules", rules, [rule_text(one) for one in rules], as_json=as_json)
        else:
            _explanations(explainer, rows, wish, out, is_opened=is_opened, as_json=as_json)


def _explanations(explainer: Explainer, rows: Tensors, wish: Wish, out: Path | None, *, is_opened: bool, as_json: bool) -> None:
    found = explainer.explain(rows, wish)
    _say(explainer, "explanations", found, [explanation_text(one) for one in found], as_json=as_json)
    if out is not None or is_opened:
        _show(Page(explainer.label, found[:_MOST_ROWS], rows), out, is_opened=is_opened)
        if len(found) > _MOST_ROWS:
            click.echo(f"The page shows the first {_MOST_ROWS} of {len(found)} rows.", err=True)


def _overview(
    explainer: Explainer, data: Path | None, target: str | None, wish: Wish, out: Path | None, *, is_opened: bool, as_json: bool
) -> None:
    progress = StepProgress(is_silent=as_json)
    progress.step("explain: what the model goes by")
    found = explainer.overview(data, target, wish, progress.tell)
    progress.done(f"{found.asked_rows:,} rows asked")
    _say(explainer, "overview", found, [overview_text(found)], as_json=as_json)
    if out is not None or is_opened:
        _show(replace(Page(explainer.label), overview=found), out, is_opened=is_opened)


def _say(explainer: Explainer, name: str, found: object, texts: list[str], *, as_json: bool) -> None:
    if as_json:
        emit_json({"version": explainer.label, name: found})
        return
    click.echo("\n\n".join(texts))


def _show(page: Page, out: Path | None, *, is_opened: bool) -> None:
    """Write the page, and open it where that is wanted."""
    place = write_page(render_page(page), out, page.name)
    click.echo(str(place), err=True)
    if is_opened:
        open_page(place)
