"""Where the rows come from that a rule is tried on: what its conditions can be, and rows in which some of them hold.

Takes an interface, one row and background rows; gives a `Ground`. Of a table, a condition holds a feature to the row's own value, or, for a
number, to the quarter of the background that the row lies in; drawn rows are background rows with the held features taken from background
rows that keep the condition. Of a text, a condition is a word that stands there; drawn are texts in which each other word is left out with
an even chance. Raises UnsupportedError for images, sequences, and more than 64 features. Asks no model.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from fairlead.core.interface import Array, Interface, Tensors
from fairlead.errors import UnsupportedError
from fairlead.explain.hiding import TextHiding, text_of
from fairlead.explain.table import Table, table_of

_MOST_FEATURES = 64
_WORD = re.compile(r"\w+")


class Ground(Protocol):
    """`conditions` are texts for a person; methods take places among them."""

    @property
    def conditions(self) -> Sequence[str]:
        """What can be held."""
        ...

    def draw(self, held: Sequence[int], random: np.random.Generator, count: int) -> dict[str, Array]:
        """Return `count` rows in which the conditions `held` hold."""
        ...

    def coverage(self, held: Sequence[int]) -> float:
        """Return the share of background rows in which they hold."""
        ...


@dataclass(frozen=True)
class _Condition:
    """What holds one feature: the values of background rows that keep it, and which rows these are."""

    text: str
    values: Array
    keeps: Array


@dataclass(frozen=True)
class TableGround:
    """Rows of a table."""

    table: Table
    holding: tuple[_Condition, ...]

    @property
    def conditions(self) -> Sequence[str]:
        """What can be held, by feature."""
        return tuple(one.text for one in self.holding)

    def draw(self, held: Sequence[int], random: np.random.Generator, count: int) -> dict[str, Array]:
        """Return background rows with the held features drawn apart."""
        drawn = random.integers(0, len(self.holding[0].keeps), count)
        rows = {name: tensor[drawn].copy() for name, tensor in self.table.background.items()}
        for place in held:
            values = self.holding[place].values
            self.table.put(rows, place, values[random.integers(0, len(values), count)])
        return rows

    def coverage(self, held: Sequence[int]) -> float:
        """Return the share of background rows in which all held conditions hold."""
        keeps = np.ones(len(self.holding[0].keeps), dtype=np.bool_)
        for place in held:
            keeps &= self.holding[place].keeps
        return float(keeps.mean())


@dataclass(frozen=True)
class TextGround:
    """Texts made of the words of one. `background` holds the words of each background text."""

    text: TextHiding
    background: tuple[frozenset[str], ...]

    @property
    def conditions(self) -> Sequence[str]:
        """A word at its place, for each."""
        return tuple(f"word {place + 1} is '{word}'" for place, word in enumerate(self.text.given))

    def draw(self, held: Sequence[int], random: np.random.Generator, count: int) -> dict[str, Array]:
        """Return texts with the held words, and about half of the others."""
        keep = random.random((count, len(self.text.words))) < 0.5
        keep[:, list(held)] = True
        return self.text.mixed(keep, np.zeros(count, dtype=np.int64))

    def coverage(self, held: Sequence[int]) -> float:
        """Return the share of background texts in which all held words stand, wherever."""
        wanted = frozenset[str]().union(*(words_of(self.text.words[place]) for place in held))
        return float(np.mean([wanted <= words for words in self.background]))


def ground_of(interface: Interface, row: Tensors, background: Tensors) -> Ground:
    """Return the ground for one row."""
    text = text_of(interface, row, background)
    if text is not None:
        return TextGround(text, tuple(words_of(str(other)) for other in background[text.name].reshape(-1)))
    table = table_of(interface, background)
    if len(table.columns) > _MOST_FEATURES:
        raise UnsupportedError(
            f"A rule is looked for among at most {_MOST_FEATURES} features; this model has {len(table.columns)}.",
            hint="Ask for a counterfactual: --counterfactual.",
        )
    return TableGround(table, tuple(_condition(table, row, place) for place in range(len(table.columns))))


def words_of(text: str) -> frozenset[str]:
    """Return the words of a text, without punctuation, in lower case."""
    return frozenset(_WORD.findall(text.lower()))


def _condition(table: Table, row: Tensors, place: int) -> _Condition:
    column, own = table.columns[place], table.values(row, place)
    others = table.values(table.background, place)
    shown = table.told(row, 0, place)
    if not column.is_number:
        return _Condition(f"{column.name} is {shown}", own.copy(), others == own[0])
    numbers, value = others.astype(np.float64), float(own[0])
    known = numbers[~np.isnan(numbers)]
    if math.isnan(value):
        return _Condition(f"{column.name} is missing", own.copy(), np.isnan(numbers))
    if not known.size:
        return _Condition(f"{column.name} is {shown}", own.copy(), numbers == value)
    edges = np.unique(np.percentile(known, (25, 50, 75)))
    low = max((float(edge) for edge in edges if edge < value), default=-math.inf)
    high = min((float(edge) for edge in edges if edge >= value), default=math.inf)
    keeps = (numbers > low) & (numbers <= high)
    values = np.concatenate([others[keeps], own])
    return _Condition(_between(column.name, low, high), values, keeps)


def _between(name: str, low: float, high: float) -> str:
    if math.isinf(low) and math.isinf(high):
        return f"{name} is any number"
    if math.isinf(low):
        return f"{name} <= {high:.6g}"
    return f"{name} > {low:.6g}" if math.isinf(high) else f"{low:.6g} < {name} <= {high:.6g}"
