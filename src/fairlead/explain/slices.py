"""How well a model decides in parts of its data: by the values of a column, or by quarters of its numbers.

Takes an interface, rows of a table with their right answers, and what the model said; gives `Slice`s with 95 % intervals. Raises
RequestError for a column that is not there, UnsupportedError for what is no table or has no single decision per row, DataError where
answers and decisions differ in shape. Pure.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fairlead.core.answers import Answers, align, metric_of
from fairlead.core.interface import Array, DecisionKind, Interface, Tensors
from fairlead.core.intervals import bootstrap, wilson
from fairlead.errors import UnsupportedError
from fairlead.explain.table import Table, table_of

_MOST_VALUES = 12
_QUARTERS = (25, 50, 75)


@dataclass(frozen=True)
class Slice:
    """`metric` of the `rows` in which `column` is `values`, with its 95 % interval."""

    column: str
    values: str
    rows: int
    metric: str
    measured: float
    interval: tuple[float, float]


def slices_of(interface: Interface, rows: Tensors, target: Array, outputs: Tensors, by: tuple[str, ...]) -> tuple[Slice, ...]:
    """Return the slices of each column named in `by`, in order."""
    answers = align(interface, target, outputs)
    table = table_of(interface, rows)
    if len(answers.right) != len(next(iter(rows.values()))):
        raise UnsupportedError("The model makes several decisions for each row, which have no common slices.", hint="Leave --by out.")
    rule = interface.decision
    metric = "rmse" if rule is not None and rule.kind is DecisionKind.VALUE else "accuracy"
    return tuple(
        _measured(column, values, metric, _part(answers, inside))
        for column in by
        for values, inside in _parts(table, rows, table.place(column))
        if inside.any()
    )


def _parts(table: Table, rows: Tensors, place: int) -> Iterator[tuple[str, Array]]:
    """Yield what the values of a part are, and which rows it has."""
    if table.columns[place].is_number:
        yield from _number_parts(table.values(rows, place).astype(np.float64))
        return
    texts = np.array([table.told(rows, row, place) for row in range(len(table.values(rows, place)))])
    kinds, counts = np.unique(texts, return_counts=True)
    often = kinds[np.argsort(-counts, kind="stable")[:_MOST_VALUES]]
    yield from ((str(kind), texts == kind) for kind in often)
    if len(kinds) > len(often):
        yield f"{len(kinds) - len(often)} others", ~np.isin(texts, often)


def _number_parts(numbers: Array) -> Iterator[tuple[str, Array]]:
    """Yield each value of few, else quarters."""
    distinct = np.unique(numbers[~np.isnan(numbers)])
    if len(distinct) <= _MOST_VALUES:
        yield from ((f"{value:.6g}", numbers == value) for value in distinct)
    else:
        edges = np.unique(np.percentile(numbers[np.isfinite(numbers)], _QUARTERS))
        texts = [
            f"up to {edges[0]:.4g}",
            *(f"{low:.4g} to {high:.4g}" for low, high in itertools.pairwise(edges)),
            f"above {edges[-1]:.4g}",
        ]
        bins = np.searchsorted(edges, numbers, side="left")
        yield from ((text, (bins == place) & ~np.isnan(numbers)) for place, text in enumerate(texts))
    if np.isnan(numbers).any():
        yield "missing", np.isnan(numbers)


def _part(answers: Answers, inside: Array) -> Answers:
    return Answers(answers.right[inside], answers.said[inside], None, answers.is_binary)


def _measured(column: str, values: str, metric: str, answers: Answers) -> Slice:
    count = len(answers.right)
    measure = metric_of(metric, answers)
    value = measure(np.ones(count))
    interval = wilson(value, count) if metric == "accuracy" else bootstrap(measure, count, seed=0)
    return Slice(column, values, count, metric, value, interval)
