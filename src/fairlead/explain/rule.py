"""A rule around a row: conditions under which the model nearly always decides as it does for the row.

Takes an engine, one row and background rows; gives a core Rule (after Anchors: Ribeiro, Singh and Guestrin 2018,
https://doi.org/10.1609/aaai.v32i1.11491). A condition holds a feature to the row's own value, or, for a number, to the quarter of the
background that the row lies in. Conditions are added one at a time, the one with the highest precision first, until its lower limit is as
high as was asked. Precision is the share of drawn rows that are decided alike: background rows with the held features drawn from background
rows that keep the condition. The interval (Wilson 1927) is of fresh rows that had no part in the choice. Raises what the engine raises.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from fairlead.core.deciding import labelled
from fairlead.core.explanation import Rule
from fairlead.core.interface import Array, DecisionKind, Label, Tensors
from fairlead.core.ports import Engine
from fairlead.errors import UnsupportedError
from fairlead.explain.game import no_check
from fairlead.explain.table import Table, table_of

PRECISION = 0.95
_TRIES, _FRESH = 128, 1000
_MOST_CONDITIONS = 6
_MOST_FEATURES = 64
_Z = 1.959964  # of a 95 % interval


@dataclass(frozen=True)
class _Condition:
    """What holds one feature: the values of background rows that keep it, and which rows these are."""

    place: int
    text: str
    values: Array
    keeps: Array


@dataclass
class RuleSearch:
    """Look for a rule around `row` (one row). `check` is called before the model is asked, and may raise."""

    engine: Engine
    row: Tensors
    background: Tensors
    precision: float = PRECISION
    seed: int = 0
    check: Callable[[], None] = no_check
    asked_rows: int = field(default=0, init=False)

    def find(self) -> Rule:
        """Return the rule; its precision may be lower than asked where no conditions make it higher."""
        rule = self.engine.interface.decision
        if rule is not None and rule.kind is DecisionKind.VALUE:
            raise UnsupportedError("A rule needs decisions; this model gives a number.", hint="Ask for a counterfactual: --counterfactual.")
        random = np.random.default_rng(self.seed)
        table = table_of(self.engine.interface, self.background)
        if len(table.columns) > _MOST_FEATURES:
            raise UnsupportedError(f"A rule is looked for among at most {_MOST_FEATURES} features; this model has {len(table.columns)}.")
        self.check()
        decision = _plain(labelled(self.engine.interface, self.engine.run(self.row))[0])
        options = [_condition(table, self.row, place) for place in range(len(table.columns))]
        held: list[_Condition] = []
        best = self._share(table, held, decision, random, _TRIES)
        while wilson(best, _TRIES)[0] < self.precision and options and len(held) < _MOST_CONDITIONS:
            shares = [self._share(table, [*held, option], decision, random, _TRIES) for option in options]
            first = int(np.argmax(shares))
            best = shares[first]
            held.append(options.pop(first))
        share = self._share(table, held, decision, random, _FRESH)
        keeps = np.ones(len(next(iter(self.background.values()))), dtype=np.bool_)
        for condition in held:
            keeps &= condition.keeps
        texts = tuple(condition.text for condition in held)
        return Rule(0, decision, texts, share, wilson(share, _FRESH), float(keeps.mean()), _FRESH, 0.0)

    def _share(self, table: Table, held: list[_Condition], decision: Label | None, random: np.random.Generator, count: int) -> float:
        """Return the share of `count` drawn rows that are decided as the row is."""
        self.check()
        drawn = random.integers(0, len(next(iter(self.background.values()))), count)
        rows = {name: tensor[drawn].copy() for name, tensor in self.background.items()}
        for condition in held:
            table.put(rows, condition.place, condition.values[random.integers(0, len(condition.values), count)])
        self.asked_rows += count
        decided = labelled(self.engine.interface, self.engine.run(rows))
        return float(np.mean([_plain(item) == decision for item in decided]))


def wilson(share: float, count: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share that was found in `count` draws."""
    square = _Z * _Z
    middle = (share + square / (2 * count)) / (1 + square / count)
    width = _Z / (1 + square / count) * math.sqrt(share * (1 - share) / count + square / (4 * count * count))
    return max(middle - width, 0.0), min(middle + width, 1.0)


def _condition(table: Table, row: Tensors, place: int) -> _Condition:
    column, own = table.columns[place], table.values(row, place)
    others = table.values(table.background, place)
    shown = table.told(row, 0, place)
    if not column.is_number:
        return _Condition(place, f"{column.name} is {shown}", own.copy(), others == own[0])
    numbers, value = others.astype(np.float64), float(own[0])
    known = numbers[~np.isnan(numbers)]
    if math.isnan(value) or not known.size:
        return _Condition(place, f"{column.name} is missing", own.copy(), np.isnan(numbers))
    edges = np.unique(np.percentile(known, (25, 50, 75)))
    low = max((float(edge) for edge in edges if edge < value), default=-math.inf)
    high = min((float(edge) for edge in edges if edge >= value), default=math.inf)
    keeps = (numbers > low) & (numbers <= high)
    values = np.concatenate([others[keeps], own])
    return _Condition(place, _between(column.name, low, high), values, keeps)


def _between(name: str, low: float, high: float) -> str:
    if math.isinf(low) and math.isinf(high):
        return f"{name} is any number"
    if math.isinf(low):
        return f"{name} <= {high:.6g}"
    return f"{name} > {low:.6g}" if math.isinf(high) else f"{low:.6g} < {name} <= {high:.6g}"


def _plain(value: object) -> Label | None:
    plain = value.item() if isinstance(value, np.generic) else value
    return plain if isinstance(plain, str | int | float | bool) else None
