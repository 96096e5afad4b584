"""Explanations as one HTML page: pictures first, then how sure they are.

Takes core values of explanations and the rows that they are about; gives one self-contained page: no script, no font, no address from
elsewhere. Every text is escaped, names of columns and values included. Computes no figure that the values do not hold.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import jinja2

from fairlead.core.explanation import Explanation, Method, Overview
from fairlead.core.interface import Array, Label, Tensors, shorten
from fairlead.explain.picture import (
    Bars,
    Forces,
    Patches,
    Word,
    draw_bars,
    draw_curve,
    draw_forces,
    draw_importance,
    draw_patches,
    draw_words,
)

_METHODS: Mapping[Method, str] = {
    Method.TREES: "Exact Shapley values, computed from the trees.",
    Method.ENUMERATED: "Exact Shapley values: every set of features was tried",
    Method.SAMPLED: "Shapley values estimated from drawn orders of the features",
    Method.OCCLUSION: "Occlusion: what is lost where one feature is hidden. Such weights do not add up to the answer",
    Method.GRADIENTS: "Integrated gradients from the mean of the background rows",
}


@dataclass(frozen=True)
class Page:
    """What the page shows: a version's name, explanations, the rows that they are about, and what the model goes by on the whole."""

    name: str
    explanations: tuple[Explanation, ...] = ()
    rows: Tensors = field(default_factory=dict, repr=False)
    overview: Overview | None = None


@dataclass(frozen=True)
class _Row:
    found: Explanation
    bars: Bars
    forces: Forces | None
    patches: Patches | None
    words: tuple[Word, ...]


def render_page(page: Page) -> str:
    """Return the page."""
    environment = make_environment()
    rows = [
        _Row(found, draw_bars(found), draw_forces(found), draw_patches(found, _pixels(page, found)), draw_words(found))
        for found in page.explanations
    ]
    overview = page.overview
    return environment.get_template("explanation.html.j2").render(
        page=page,
        rows=rows,
        importance=None if overview is None else draw_importance(overview),
        curves=() if overview is None else tuple(draw_curve(curve) for curve in overview.curves),
    )


def make_environment() -> jinja2.Environment:
    """Return the environment of this room's templates: everything is escaped, nothing may be left undefined."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("fairlead.explain"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., str]] = {
        "number": number,
        "answered": answered,
        "sentence": _sentence,
        "how": how,
        "beside": beside,
    }
    environment.filters |= filters
    return environment


def answered(value: Label | None, *, is_value: bool) -> str:
    """Return what was answered as a person reads it: a decision, or the number of a regression."""
    said = number(value) if isinstance(value, float) else shorten(str(value))
    return f"answered {said}" if is_value else f"decided {said}"


def beside(found: Explanation) -> str:
    """Return what the answer is held against, to stand behind it; "" where weights do not add up to the difference."""
    if not found.method.is_additive:
        return ""
    if found.background_count == 0:
        return f"; without any word it is {number(found.base)}"
    rows = f"{found.background_count} background {'row' if found.background_count == 1 else 'rows'}"
    if found.method is Method.GRADIENTS:
        return f"; for the mean of {rows} it is {number(found.base)}"
    return f"; over {rows} it is {number(found.base)} on average"


def how(found: Explanation) -> str:
    """Return how the weights were found, and how sure they are, in one sentence or two."""
    said = _METHODS[found.method]
    if found.method is Method.TREES:
        return said
    said += f" ({found.asked_rows:,} rows asked in {found.seconds:.2g} s)."
    if found.method is Method.SAMPLED:
        said += " The bounds of a row hold together for 95 % of rows."
    if found.method is Method.GRADIENTS:
        said += f" They add up but for {abs(found.gap):.2g}."
    return said


def number(value: float) -> str:
    """Return a number as a person reads it, with four significant digits."""
    return f"{value:.4g}" if math.isfinite(value) else str(value)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _pixels(page: Page, found: Explanation) -> Array | None:
    """Return the pixels of a row, where it is one image."""
    if found.grid is None or len(page.rows) != 1:
        return None
    (tensor,) = page.rows.values()
    return tensor[found.row] if found.row < len(tensor) else None
