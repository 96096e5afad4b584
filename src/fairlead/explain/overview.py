"""What a model goes by on the whole: how much it loses without each feature, and how its answer goes with the weightiest ones.

Takes an OverviewJob; gives a core Overview. Importance is permutation importance (Breiman 2001, https://doi.org/10.1023/A:1010933404324):
a feature's values are exchanged between rows, and what is lost is the mean over rows and repeats, with Student's 95 % interval over rows.
With right answers, that is accuracy or absolute error; without, how often decisions change, or by how much numbers move. Curves are partial
dependence (Friedman 2001, https://doi.org/10.1214/aos/1013203451) and accumulated local effects (Apley and Zhu 2020,
https://doi.org/10.1111/rssb.12377), which stay among rows that occur. Raises DeadlineError from `check`, and what the engine raises.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from fairlead.core.deciding import labelled
from fairlead.core.explanation import Curve, Importance, Overview, Subject
from fairlead.core.interface import Array, DecisionKind, Interface, Tensors
from fairlead.core.ports import Engine
from fairlead.explain.game import no_check
from fairlead.explain.shapley import t_quantile
from fairlead.explain.subject import score, subjects
from fairlead.explain.table import Table, table_of

_REPEATS = 5
_CURVES = 8
_POINTS = 16
_CURVE_ROWS = 256  # rows that each point of a curve is asked for
_MOST_CATEGORIES = 16


@dataclass
class OverviewJob:
    """`rows` to look at; `answers` are the right decisions, in the form that the model decides in, where they are known. `of` names the
    class that curves show; None is the one that is decided most often.
    """

    engine: Engine
    rows: Tensors
    answers: Array | None = None
    of: str | None = None
    seed: int = 0
    check: Callable[[], None] = no_check
    tell: Callable[[str], None] = lambda _: None
    clock: Callable[[], float] = time.monotonic
    asked_rows: int = field(default=0, init=False)

    def run(self) -> Overview:
        """Return the overview."""
        began = self.clock()
        table = table_of(self.engine.interface, self.rows)
        outputs = self._ask(self.rows)
        metric, loss = self._loss(outputs)
        random = np.random.default_rng(self.seed)
        importances = []
        for place, column in enumerate(table.columns):
            self.tell(f"feature {place + 1} of {len(table.columns)}")
            lost = np.mean([loss(self._ask(self._exchanged(table, place, random))) for _ in range(_REPEATS)], axis=0) - loss(outputs)
            importances.append(importance(column.name, lost))
        importances.sort(key=lambda item: -item.loss)
        subject = common_subject(self.engine.interface, outputs, self.of)
        curves = tuple(self._curves(table, [table.place(item.feature) for item in importances[:_CURVES]], subject))
        notes = () if self.answers is not None else ("Without right answers, importance says what moves the model, not what it needs.",)
        return Overview(
            metric, len(next(iter(self.rows.values()))), _REPEATS, tuple(importances), curves, self.asked_rows, self.clock() - began, notes
        )

    def _ask(self, rows: Tensors) -> dict[str, Array]:
        self.check()
        self.asked_rows += len(next(iter(rows.values())))
        return self.engine.run(rows)

    def _loss(self, outputs: Tensors) -> tuple[str, Callable[[Tensors], Array]]:
        """Return what is lost, by name, and how much each row loses."""
        interface, answers = self.engine.interface, self.answers
        rule = interface.decision
        if rule is not None and rule.kind is DecisionKind.VALUE:
            wanted = np.asarray(labelled(interface, outputs) if answers is None else answers, dtype=np.float64)
            name = "change of the answer" if answers is None else "absolute error"
            return name, lambda found: _off(np.asarray(labelled(interface, found), dtype=np.float64), wanted)
        texts = np.array([str(item) for item in (labelled(interface, outputs) if answers is None else answers)])
        name = "decisions that change" if answers is None else "accuracy"
        return name, lambda found: np.array([str(item) for item in labelled(interface, found)]) != texts

    def _exchanged(self, table: Table, place: int, random: np.random.Generator) -> dict[str, Array]:
        rows = {name: tensor.copy() for name, tensor in self.rows.items()}
        table.put(rows, place, random.permutation(table.values(self.rows, place)))
        return rows

    def _curves(self, table: Table, places: list[int], subject: Subject) -> Iterator[Curve]:
        few = {name: tensor[:_CURVE_ROWS] for name, tensor in self.rows.items()}
        for place in places:
            column = table.columns[place]
            values = table.values(self.rows, place)
            if column.is_number:
                known = values[np.isfinite(values)]
                points = np.unique(np.quantile(known, np.linspace(0, 1, _POINTS))) if known.size else known
                if points.size < 2:
                    continue
                if values.dtype.kind != "f":
                    points = np.unique(np.round(points))
                local, counts = self._local(table, place, points, subject)
                yield Curve(
                    column.name, subject.says, tuple(points.tolist()), self._dependence(table, place, points, few, subject), local, counts
                )
            else:
                kinds, sizes = np.unique(values.astype(str), return_counts=True)
                often = np.argsort(-sizes, kind="stable")[:_MOST_CATEGORIES]
                wanted = [next(value for value in values if str(value) == kinds[number]) for number in often]
                means = self._dependence(table, place, np.array(wanted, dtype=values.dtype), few, subject)
                yield Curve(column.name, subject.says, tuple(kinds[often].tolist()), means, (), tuple(sizes[often].tolist()))

    def _dependence(self, table: Table, place: int, points: Array, few: Tensors, subject: Subject) -> tuple[float, ...]:
        """Return the mean answer where all rows have each of the values."""
        means = []
        for point in points:
            rows = {name: tensor.copy() for name, tensor in few.items()}
            table.values(rows, place)[:] = point
            means.append(float(score(subject, self._ask(rows)).mean()))
        return tuple(means)

    def _local(self, table: Table, place: int, points: Array, subject: Subject) -> tuple[tuple[float, ...], tuple[int, ...]]:
        """Return the accumulated local effects at the points, centred over the rows, and how many rows lie between them."""
        values = table.values(self.rows, place)
        known = np.flatnonzero(np.isfinite(values))
        bins = np.clip(np.searchsorted(points, values[known], side="left") - 1, 0, len(points) - 2)
        sides = []
        for side in (0, 1):
            rows = {name: tensor[known] for name, tensor in self.rows.items()}
            table.put(rows, place, points[bins + side])
            sides.append(score(subject, self._ask(rows)))
        counts = np.bincount(bins, minlength=len(points) - 1)
        steps = np.bincount(bins, sides[1] - sides[0], len(points) - 1) / np.maximum(counts, 1)
        effects = np.concatenate([[0.0], np.cumsum(steps)])
        centre = float((counts * (effects[:-1] + effects[1:]) / 2).sum() / counts.sum())
        return tuple((effects - centre).tolist()), tuple(counts.tolist())


def common_subject(interface: Interface, outputs: Tensors, of: str | None) -> Subject:
    """Return what is shown of all rows: the score of class `of`, for None of the one that is decided most often."""
    found = subjects(interface, outputs, of)
    columns = [one.column for one in found]
    return found[columns.index(max(sorted(set(columns)), key=columns.count))]


def _off(found: Array, wanted: Array) -> Array:
    return np.asarray(np.abs(found - wanted).reshape(len(found), -1).mean(axis=1))


def importance(name: str, lost: Array) -> Importance:
    """Return the mean loss, and Student's interval over rows."""
    count = len(lost)
    mean = float(np.mean(lost))
    if count < 2:
        return Importance(name, mean, (-np.inf, np.inf))
    half = t_quantile(0.975, count - 1) * float(np.std(lost, ddof=1)) / count**0.5
    return Importance(name, mean, (mean - half, mean + half))
