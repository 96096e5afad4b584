"""A counterfactual: a row nearby that the model decides otherwise, made of values that real rows have.

Takes an engine, one row, background rows and the features that must stay; gives a core Counterfactual, or None where none was found. From
the nearest background rows that are decided otherwise, features are taken over one by one, the one that moves the answer most towards it
first, until the decision flips (after NICE: Brughmans, Leyman and Martens 2024, https://doi.org/10.1007/s10618-023-00930-y); what was not
needed is given back, and numbers go back as far towards the row's own as the decision allows. Of those found, one that is no more unusual
than real rows comes first, then the fewest changes, then the shortest way. Every one was answered by the model itself. Raises what
`aim_at` raises, UnsupportedError for what is no table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from fairlead.core.explanation import Change, Counterfactual
from fairlead.core.interface import Array, Label, Tensors
from fairlead.core.ports import Engine
from fairlead.explain.aim import Aim, aim_at
from fairlead.explain.game import no_check
from fairlead.explain.subject import score
from fairlead.explain.table import Table, one, repeated, table_of

_NEIGHBOURS = 8  # rows decided otherwise that are started from
_STEPS = 16  # values tried between the row's own and the other, twice


@dataclass
class Search:
    """Look for a counterfactual of `row` (one row). `kept` names features that must not change; `wanted` is the class that it should have,
    or for a number a bound like ">=200"; None is any other class. `of` names the number, where the model gives several. `check` is called
    before the model is asked, and may raise.
    """

    engine: Engine
    row: Tensors
    background: Tensors
    kept: Sequence[str] = ()
    wanted: str | None = None
    of: str | None = None
    check: Callable[[], None] = no_check
    asked_rows: int = field(default=0, init=False)

    def find(self) -> Counterfactual | None:
        """Return the smallest change that was found."""
        table = table_of(self.engine.interface, self.background)
        is_free = ~table.places(self.kept)
        aim = self._aim()
        others = {name: tensor.copy() for name, tensor in self.background.items()}
        for place in np.flatnonzero(~is_free):
            table.put(others, int(place), table.values(self.row, int(place)))
        decided, _ = self._ask(others, aim)
        ways = table.distances(others, self.row).sum(axis=1)
        starts = np.flatnonzero(aim.is_wanted(decided))
        starts = starts[np.argsort(ways[starts], kind="stable")][:_NEIGHBOURS]
        found = [self._from(table, one(others, int(start)), aim) for start in starts]
        nearest = _nearest(table)
        told = [self._told(table, rows, aim, nearest) for rows in found if rows is not None]
        return min(told, key=lambda item: (item.nearest_share == 0, len(item.changes), item.distance), default=None)

    def _aim(self) -> Aim:
        self.check()
        self.asked_rows += 1
        return aim_at(self.engine.interface, self.engine.run(self.row), self.wanted, self.of)

    def _ask(self, rows: Tensors, aim: Aim) -> tuple[Array, Array]:
        """Return decisions, and the number that is explained."""
        self.check()
        outputs = self.engine.run(rows)
        self.asked_rows += len(next(iter(rows.values())))
        return aim.decided(self.engine.interface, outputs), score(aim.subject, outputs)

    def _from(self, table: Table, other: Tensors, aim: Aim) -> dict[str, Array] | None:
        """Return a row between this one and `other`, which is decided as wanted, that is decided so, too; None where a second answer to the
        same row differs.
        """
        open_places = [int(place) for place in np.flatnonzero(table.distances(other, self.row)[0])]
        rows = repeated(self.row, 1)
        changed: list[int] = []
        while open_places:  # 1. take over what moves the answer most, until it flips
            tried = self._with_each(table, rows, other, open_places)
            decisions, scores = self._ask(tried, aim)
            flips = aim.is_wanted(decisions)
            best = int(np.argmax(np.where(flips | ~flips.any(), aim.gain(scores), -np.inf)))
            changed.append(open_places.pop(best))
            rows = one(tried, best)
            if flips[best]:
                return self._shrunk(table, rows, self._pruned(table, rows, changed, aim), aim)
        return None

    def _with_each(self, table: Table, rows: Tensors, source: Tensors, places: list[int]) -> dict[str, Array]:
        """Return the row with each of `places` in turn taken from `source`."""
        tried = repeated(rows, len(places))
        for number, place in enumerate(places):
            table.values(tried, place)[number] = table.values(source, place)[0]
        return tried

    def _pruned(self, table: Table, rows: dict[str, Array], changed: list[int], aim: Aim) -> list[int]:
        """2. Give back, in `rows` itself, what the decision does not need, the longest way first."""
        changed = list(changed)
        while len(changed) > 1:
            tried = self._with_each(table, rows, self.row, changed)
            flips = aim.is_wanted(self._ask(tried, aim)[0])
            if not flips.any():
                break
            ways = table.distances(rows, self.row)[0][changed]
            back = int(np.argmax(np.where(flips, ways, -1.0)))
            rows.update(one(tried, back))
            changed.pop(back)
        return changed

    def _shrunk(self, table: Table, rows: dict[str, Array], changed: list[int], aim: Aim) -> dict[str, Array]:
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
                flips = aim.is_wanted(self._ask(tried, aim)[0])
                if not flips.any():
                    near = float(steps[-1])
                    continue
                first = int(np.argmax(flips))
                rows.update(one(tried, first))
                near = float(steps[first - 1]) if first else near
        return rows

    def _told(self, table: Table, rows: Tensors, aim: Aim, nearest: Array) -> Counterfactual:
        ways = table.distances(rows, self.row)[0]
        changed = [int(place) for place in np.flatnonzero(ways)]
        after = self._ask(rows, aim)[0][0]
        changes = tuple(Change(table.columns[place].name, table.told(self.row, 0, place), table.told(rows, 0, place)) for place in changed)
        plain: Label = after.item() if isinstance(after, np.generic) else after
        share = float((nearest >= table.ways(table.background, rows).min()).mean())
        return Counterfactual(0, aim.before, plain, changes, float(ways.sum()), share, self.asked_rows, 0.0, is_value=aim.subject.is_value)


def _nearest(table: Table) -> Array:
    """Return how far each background row is from the nearest other one."""
    apart = table.ways(table.background, table.background)
    np.fill_diagonal(apart, np.inf)
    return np.asarray(apart.min(axis=1))
