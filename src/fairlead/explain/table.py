"""Rows of a table, feature by feature: how far rows are apart, and rows that take single features from others.

Takes an interface, rows and background rows; gives a `Table`. Raises UnsupportedError for images, sequences and texts, whose elements mean
nothing alone, and RequestError for a feature that is not there. Pure.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from fairlead.core.interface import Array, Interface, Tensors, shorten
from fairlead.errors import RequestError, UnsupportedError
from fairlead.explain.hiding import layout_of, text_input, told

_MOST_FEATURES = 1024


@dataclass(frozen=True)
class Column:
    """One feature: where its values stand, whether they are numbers, and the width of the middle half of the background's numbers."""

    name: str
    input: str
    place: int
    is_number: bool
    spread: float


@dataclass(frozen=True)
class Table:
    """What the features of some rows are, and background rows."""

    columns: tuple[Column, ...]
    background: Tensors

    def values(self, rows: Tensors, feature: int) -> Array:
        """Return the values (rows,) of a feature; a view."""
        column = self.columns[feature]
        return rows[column.input].reshape(len(rows[column.input]), -1)[:, column.place]

    def put(self, rows: Tensors, feature: int, values: Array) -> None:
        """Write values (rows,) of a feature into rows."""
        self.values(rows, feature)[:] = values

    def distances(self, rows: Tensors, other: Tensors) -> Array:
        """Return how far each of `rows` is from the one row `other`, by feature: (rows, features)."""
        return np.stack([self._apart(rows, other, place)[:, 0] for place in range(len(self.columns))], axis=1)

    def ways(self, rows: Tensors, others: Tensors) -> Array:
        """Return how far each of `rows` is from each of `others`, all features together: (rows, others)."""
        return np.asarray(sum(self._apart(rows, others, place) for place in range(len(self.columns))))

    def told(self, rows: Tensors, row: int, feature: int) -> str:
        """Return a value for a person."""
        return told(self.values(rows, feature)[row : row + 1])

    def place(self, name: str) -> int:
        """Return the place of the feature called `name`."""
        for place, column in enumerate(self.columns):
            if column.name == name:
                return place
        known = ", ".join(shorten(column.name) for column in self.columns[:10])
        raise RequestError(f"There is no feature '{shorten(name)}'.", hint=f"The features are: {known}.")

    def places(self, names: Collection[str]) -> Array:
        """Return which features are named, bool (features,)."""
        found = np.zeros(len(self.columns), dtype=np.bool_)
        for name in names:
            found[self.place(name)] = True
        return found

    def _apart(self, rows: Tensors, others: Tensors, place: int) -> Array:
        """Return how far rows are from others in one feature; a missing number is one spread from any other."""
        column = self.columns[place]
        left, right = self.values(rows, place)[:, np.newaxis], self.values(others, place)[np.newaxis]
        if not column.is_number:
            return np.asarray(left != right, dtype=np.float64)
        with np.errstate(invalid="ignore"):  # of infinities
            apart = np.abs(left.astype(np.float64) - right) / column.spread
        return np.where(np.isnan(apart), (left != right) & ~(np.isnan(left) & np.isnan(right)), apart)


def table_of(interface: Interface, background: Tensors) -> Table:
    """Return the table that rows like `background` are."""
    shapes = [tensor.shape[1:] for tensor in background.values()]
    if text_input(interface, background) is not None or any(len(shape) > 1 for shape in shapes):
        raise UnsupportedError("This is for tables: a single pixel, position or word means nothing alone.", hint="Explain the row itself.")
    layout = layout_of(interface, background, limit=_MOST_FEATURES * len(interface.inputs))
    count = sum(int(np.prod(shape, dtype=np.int64)) for shape in shapes)
    if count != len(layout.features):
        raise UnsupportedError(f"The model has {count} features, more than {_MOST_FEATURES}.", hint="Explain the row itself.")
    columns = []
    for spec in interface.inputs:
        first = int(layout.groups[spec.name].reshape(-1)[0])
        tensor = background[spec.name].reshape(len(background[spec.name]), -1)
        is_number = tensor.dtype.kind in "fiu" and not spec.is_category
        for place in range(tensor.shape[1]):
            spread = _spread(tensor[:, place].astype(np.float64)) if is_number else 1.0
            columns.append(Column(layout.features[first + place], spec.name, place, is_number, spread))
    return Table(tuple(columns), background)


def repeated(row: Tensors, count: int) -> dict[str, Array]:
    """Return the one row `count` times, to be written to."""
    return {name: np.repeat(tensor, count, axis=0) for name, tensor in row.items()}


def one(rows: Tensors, place: int) -> dict[str, Array]:
    """Return one of some rows, as rows."""
    return {name: tensor[place : place + 1].copy() for name, tensor in rows.items()}


def _spread(values: Array) -> float:
    """Return the width of the middle half; the standard deviation where that is 0; 1 where all are equal."""
    known = values[np.isfinite(values)]
    if not known.size:
        return 1.0
    low, high = np.percentile(known, (25, 75))
    return float(high - low) or float(known.std()) or 1.0
