"""A counterfactual: a row nearby that the model decides otherwise, made of values that real rows have.

Takes an engine, one row, background rows and the features that must stay; gives a core Counterfactual, or None where none was found. From
the nearest background rows that are decided otherwise, features are taken over one by one, the one that moves the answer most first, until
the decision flips (after NICE: Brughmans, Leyman and Martens 2024, https://doi.org/10.1007/s10618-023-00930-y); what was not needed is
given back, and numbers go back as far towards the row's own as the decision allows. Of those found, one that is no more unusual than real
rows comes first, then the fewest changes, then the shortest way. Every one was answered by the model itself. Raises RequestError.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from fairlead.core.deciding import labelled
from fairlead.core.explanation import Change, Counterfactual, Subject
from fairlead.core.interface import Array, DecisionKind, Label, Tensors, shorten
from fairlead.core.ports import Engine
from fairlead.errors import RequestError
from fairlead.explain.game import no_check
from fairlead.explain.subject import score, subjects
from fairlead.explain.table import Table, one, repeated, table_of

_NEIGHBOURS = 8  # rows decided otherwise that are started from
_STEPS = 16  # values tried between the row's own and the other, twice
_BOUND = re.compile(r"\s*(<=|>=|<|>)\s*(-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)\s*")


@dataclass
class Search:
    """Look for a counterfactual of `row` (one row). `kept` names features that must not change; `wanted` is the class that it should have,
    or for a number a bound like ">=200"; None is any other class. `check` is called before the model is asked, and may raise.
    """

    engine: Engine
    row: Tensors
    background: Tensors
    kept: Sequence[str] = ()
    wanted: str | None = None
    check: Callable[[], None] = no_check
    asked_rows: int = field(default=0, init=False)

    def find(self) -> Counterfactual | None:
        """Return the smallest change that was found."""
        table = table_of(self.engine.interface, self.background)
        is_free = ~table.places(self.kept)
        before, subject, is_wanted = self._aim()
        others = {name: tensor.copy() for name, tensor in self.background.items()}
        for place in np.flatnonzero(~is_free):
            table.put(others, int(place), table.values(self.row, int(place)))
        decided, _ = self._ask(others, subject)
        ways = table.distances(others, self.row).sum(axis=1)
        starts = np.flatnonzero(is_wanted(decided))
        starts = starts[np.argsort(ways[starts], kind="stable")][:_NEIGHBOURS]
        found = [self._from(table, one(others, int(start)), subject, is_wanted) for start in starts]
        nearest = _nearest(table)
        told = [self._told(table, rows, before, subject, nearest) for rows in found if rows is not None]
        return min(told, key=lambda item: (item.nearest_share == 0, len(item.changes), item.distance), default=None)

    def _aim(self) -> tuple[Label | None, Subject, Callable[[Array], Array]]:
        """Return the row's decision, the number that shows how near another one is, and which decisions are wanted."""
        interface = self.engine.interface
        self.check()
        outputs = self.engine.run(self.row)
        self.asked_rows += 1
        before = labelled(interface, outputs)[0]
        plain = before.item() if isinstance(before, np.generic) else before
        rule = interface.decision
        if rule is not None and rule.kind is DecisionKind.VALUE:
            is_within = _bound(self.wanted)
            if is_within(np.array([float(plain)]))[0]:
                raise RequestError(f"The answer is {plain:.6g} already.", hint="Ask for another bound.")
            return plain, subjects(interface, outputs)[0], is_within
        labels = [str(label) for label in interface.labels]
        if self.wanted is not None and labels and self.wanted not in labels:
            raise RequestError(f"The model knows no class '{shorten(self.wanted)}'.", hint=f"It knows: {', '.join(labels[:10])}.")
        if self.wanted == str(plain):
            raise RequestError(f"The row is decided '{shorten(self.wanted)}' already.", hint="Ask for another class.")
        wanted = self.wanted

        def is_wanted(decisions: Array) -> Array:
            return np.array(
                [item is not None and (str(item) != str(plain) if wanted is None else str(item) == wanted) for item in decisions]
            )

        return plain, subjects(interface, outputs)[0], is_wanted

    def _ask(self, rows: Tensors, subject: Subject) -> tuple[Array, Array]:
        """Return decisions, and the number that is explained."""
        self.check()
        outputs = self.engine.run(rows)
        self.asked_rows += len(next(iter(rows.values())))
        return labelled(self.engine.interface, outputs), score(subject, outputs)

    def _from(self, table: Table, other: Tensors, subject: Subject, is_wanted: Callable[[Array], Array]) -> dict[str, Array] | None:
        """Return a row between this one and `other`, which is decided as wanted, that is decided so, too; None where a second answer to the
        same row differs.
        """
        open_places = [int(place) for place in np.flatnonzero(table.distances(other, self.row)[0])]
        rows = repeated(self.row, 1)
        own = float(self._ask(self.row, subject)[1][0])
        changed: list[int] = []
        while open_places:  # 1. take over what moves the answer most, until it flips
            tried = self._with_each(table, rows, other, open_places)
            decisions, scores = self._ask(tried, subject)
            flips = is_wanted(decisions)
            moves = np.where(np.isnan(scores), 0.0, np.abs(scores - own))
            best = int(np.argmax(np.where(flips, np.inf, moves) if not flips.any() else np.where(flips, moves, -1.0)))
            changed.append(open_places.pop(best))
            rows = one(tried, best)
            if flips[best]:
                return self._shrunk(table, rows, self._pruned(table, rows, changed, subject, is_wanted), subject, is_wanted)
        return None

    def _with_each(self, table: Table, rows: Tensors, source: Tensors, places: list[int]) -> dict[str, Array]:
        """Return the row with each of `places` in turn taken from `source`."""
        tried = repeated(rows, len(places))
        for number, place in enumerate(places):
            table.values(tried, place)[number] = table.values(source, place)[0]
        return tried

    def _pruned(
        self, table: Table, rows: dict[str, Array], changed: list[int], subject: Subject, is_wanted: Callable[[Array], Array]
    ) -> list[int]:
        """2. Give back, in `rows` itself, what the decision does not need, the longest way first."""
        changed = list(changed)
        while len(changed) > 1:
            tried = self._with_each(table, rows, self.row, changed)
            flips = is_wanted(self._ask(tried, subject)[0])
            if not flips.any():
                break
            ways = table.distances(rows, self.row)[0][changed]
            back = int(np.argmax(np.where(flips, ways, -1.0)))
            rows.update(one(tried, back))
            changed.pop(back)
        return changed

    def _shrunk(
        self, table: Table, rows: dict[str, Array], changed: list[int], subject: Subject, is_wanted: Callable[[Array], Array]
    ) -> dict[str, Array]:
        """3. Bring changed numbers as far back as the decision allows."""
        for place in changed:
            if not table.columns[place].is_number:
                continue
            near = float(table.values(self.row, place)[0])
            for _ in range(2):
                far = float(table.values(rows, place)[0])
                if not np.isfinite(near) or not np.isfinite(far):
                    break
                steps = near + (far - near) * np.arange(1, _STEPS) / _STEPS
                values = steps if table.values(rows, place).dtype.kind == "f" else np.round(steps)
                tried = repeated(rows, len(values))
                table.put(tried, place, values)
                flips = is_wanted(self._ask(tried, subject)[0])
                if not flips.any():
                    near = float(steps[-1])
                    continue
                first = int(np.argmax(flips))
                rows.update(one(tried, first))
                near = float(steps[first - 1]) if first else near
        return rows

    def _told(self, table: Table, rows: Tensors, before: Label | None, subject: Subject, nearest: Array) -> Counterfactual:
        ways = table.distances(rows, self.row)[0]
        changed = [int(place) for place in np.flatnonzero(ways)]
        after = self._ask(rows, subject)[0][0]
        changes = tuple(Change(table.columns[place].name, table.told(self.row, 0, place), table.told(rows, 0, place)) for place in changed)
        plain = after.item() if isinstance(after, np.generic) else after
        share = float((nearest >= table.ways(table.background, rows).min()).mean())
        return Counterfactual(0, before, plain, changes, float(ways.sum()), share, self.asked_rows, 0.0)


def _bound(wanted: str | None) -> Callable[[Array], Array]:
    """Return which numbers are wanted."""
    match = _BOUND.fullmatch(wanted or "")
    if match is None:
        raise RequestError("The model gives a number; it has to be said which numbers are wanted.", hint="Say it like --to '>=200'.")
    sign, number = match[1], float(match[2])

    def is_wanted(values: Array) -> Array:
        numbers = values.astype(np.float64)
        above = numbers >= number if sign == ">=" else numbers > number
        below = numbers <= number if sign == "<=" else numbers < number
        return np.asarray(above if sign[0] == ">" else below)

    return is_wanted


def _nearest(table: Table) -> Array:
    """Return how far each background row is from the nearest other one."""
    apart = table.ways(table.background, table.background)
    np.fill_diagonal(apart, np.inf)
    return np.asarray(apart.min(axis=1))
