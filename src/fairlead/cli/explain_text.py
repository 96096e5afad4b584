"""Explanations as text for a terminal. Takes core values, gives lines; prints nothing itself."""

from __future__ import annotations

import click

from fairlead.cli.printing import sections, table
from fairlead.core.explanation import Counterfactual, Explanation, Method, Overview, Rule
from fairlead.core.interface import shorten
from fairlead.explain.page import answered, beside, how, number
from fairlead.explain.rule import PRECISION

_LISTED = 15
_BAR = 16
_CURVES = 3
_MARKED = 0.1  # of the largest weight: lighter words are not marked in a text


def explanation_text(found: Explanation) -> str:
    """Return the weightiest features of one row, with bars and bounds."""
    shown = [place for place in found.ranked if found.weights[place]][:_LISTED]
    largest = max((abs(found.weights[place]) for place in shown), default=1.0)
    is_bounded = found.method is Method.SAMPLED
    rows = [
        [
            shorten(found.features[place], 32),
            *([] if found.text else [shorten(found.given[place], 20)]),
            f"{found.weights[place]:+.4g}",
            *([f"± {found.bounds[place]:.2g}"] if is_bounded else []),
            _bar(found.weights[place] / largest),
        ]
        for place in shown
    ]
    header = [*(["word"] if found.text else ["feature", "value"]), "weight", *(["bound"] if is_bounded else []), ""]
    decided = "" if found.decision is None else f": {answered(found.decision, is_value=found.subject.is_value)}"
    lines = [f"{found.subject.says[:1].upper()}{found.subject.says[1:]} is {number(found.output)}{beside(found)}."]
    if found.text:
        lines.append("".join(_marked(text, weight / largest) for text, weight in zip(found.text, found.weights, strict=True)))
    if rows:
        lines += table(rows, header).splitlines()
    else:
        lines.append("No feature weighs anything: the model answers this row as it answers the background rows.")
    hidden = len(found.weights) - len(shown)
    if hidden:
        lines.append(click.style(f"and {hidden} {'other' if hidden == 1 else 'others'}, together {found.others(shown):+.4g}", dim=True))
    picture = ("As a picture: --out why.html, or --open.",) if found.grid is not None else ()
    lines += [click.style(text, dim=True) for text in (how(found), *found.notes, *picture)]
    return sections([(f"Row {found.row}{decided}", lines)])


def counterfactual_text(row: int, found: Counterfactual | None) -> str:
    """Return what would have to change."""
    if found is None:
        said = "No change was found after which the model answers as wanted: of background values, or of fewer words of a text."
        return sections([(f"Row {row}", [said])])
    if found.nearest_share is None:
        lines = [f"Without {_plural(len(found.changes), 'word')}: {', '.join(one.feature for one in found.changes)}"]
        sure = f"{found.asked_rows:,} texts asked."
    else:
        lines = table([[one.feature, one.before, one.after] for one in found.changes], ["feature", "is", "would be"]).splitlines()
        share = "no" if found.nearest_share == 0 else f"{found.nearest_share:.0%} of"
        sure = f"{share} background rows are at least as unusual ({found.asked_rows:,} rows asked)."
    lines += [f"Then it would be {answered(found.other, is_value=found.is_value)}.", click.style(sure, dim=True)]
    return sections([(f"Row {found.row}: {answered(found.decision, is_value=found.is_value)}", lines)])


def rule_text(found: Rule) -> str:
    """Return the conditions, and how far they can be trusted."""
    low, high = found.interval
    lines = [f"where {' and '.join(found.conditions)}" if found.conditions else "nearly everywhere: it needs no condition"]
    lines.append(f"in {found.precision:.1%} of rows ({low:.1%} to {high:.1%}); it speaks about {found.coverage:.0%} of the background rows")
    if found.precision < PRECISION:
        lines.append(f"No few conditions were found under which the decision holds in {PRECISION:.0%} of rows.")
    return sections([(f"Row {found.row}: {answered(found.decision, is_value=False)}", lines)])


def overview_text(found: Overview) -> str:
    """Return what the model loses without each feature, and how its answer goes with the weightiest."""
    shown = found.importances[:_LISTED]
    rows = [[shorten(one.feature, 32), f"{one.loss:.4g}", f"{one.interval[0]:.4g} to {one.interval[1]:.4g}"] for one in shown]
    lines = table(rows, ["feature" if found.repeats else "word", "loss", "95 % interval"]).splitlines()
    if len(found.importances) > len(shown):
        lines.append(click.style(f"and {len(found.importances) - len(shown)} others, which lose less", dim=True))
    lines += [click.style(note, dim=True) for note in found.notes]
    where = f"{found.rows:,} rows" if found.repeats else f"where a word is left out of those of {found.rows:,} texts that have it"
    parts = [(f"What it goes by: {found.metric} lost, {where}", lines)]
    for curve in found.curves[:_CURVES]:
        ends = [(curve.values[place], curve.dependence[place]) for place in (0, len(curve.values) // 2, -1)]
        said = ", ".join(f"{number(value) if isinstance(value, float) else shorten(value, 20)}: {number(mean)}" for value, mean in ends)
        parts.append((f"{shorten(curve.feature, 32)} and {curve.subject}", [said]))
    return sections(parts)


def _marked(text: str, share: float) -> str:
    """Return a word of a text, in colour where it matters."""
    word = shorten(" ".join(text.split()), len(text) * 6)
    space = " " if text[-1:].isspace() else ""
    return (word if abs(share) < _MARKED else click.style(word, fg="red" if share > 0 else "blue", bold=abs(share) > 0.5)) + space


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _bar(share: float) -> str:
    """Return a bar; for is red, against is blue, as on the page."""
    return click.style("█" * max(round(abs(share) * _BAR), 1), fg="red" if share > 0 else "blue")
