"""Why a registered version answers as it does: rows, what would have to change, when its decision holds, what it goes by on the whole.

`open_explainer` takes a reference and a House, gives an Explainer in this process: the version is opened as `fairlead predict` opens it.
Raises NotFoundError, DataError and RequestError for rows that do not fit, UnsupportedError for a model that cannot be explained so, and
DeadlineError where the time is too short; each says what to do.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from fairlead.app.explain_aids import Aids, gradient_of, read_aids
from fairlead.app.load import open_model
from fairlead.app.wiring import House
from fairlead.core.explanation import Counterfactual, Explanation, Method, Overview, Rule
from fairlead.core.interface import Interface, Tensors
from fairlead.core.ports import Engine
from fairlead.datasets.load import load_dataset, load_rows
from fairlead.errors import RequestError, SpecError
from fairlead.explain.counterfactual import Search
from fairlead.explain.explain_job import ExplainJob
from fairlead.explain.hiding import text_input, text_of
from fairlead.explain.overview import OverviewJob
from fairlead.explain.rule import RuleSearch
from fairlead.explain.shapley import too_short
from fairlead.explain.stage import explain
from fairlead.explain.word_overview import WordOverviewJob
from fairlead.explain.words import WordSearch

ROW_BUDGET_S = 2.0  # where nothing is said, of a model that has to be asked
_OVERVIEW_ROWS = 2000


@dataclass(frozen=True)
class Wish:
    """How to explain. `method` "" takes the most exact one that the time allows; `of` names a class other than the decided one; `keep` are
    features that must not change, `to` the class or number that is wanted instead; `budget_s` is for all rows together.
    """

    method: str = ""
    of: str | None = None
    keep: tuple[str, ...] = ()
    to: str | None = None
    budget_s: float | None = None
    seed: int = 0


@dataclass
class Explainer:
    """One opened version with what helps to explain it. Methods take rows that fit the interface."""

    label: str
    engine: Engine
    aids: Aids
    clock: Callable[[], float] = time.monotonic
    piece_rows: int = 1024
    notes: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.notes = (self.aids.background.note,) if self.aids.background.note else ()

    @property
    def interface(self) -> Interface:
        """What the model takes and gives."""
        return self.engine.interface

    def explain(self, rows: Tensors, wish: Wish) -> tuple[Explanation, ...]:
        """Return why each row has its answer."""
        method = _method(wish.method)
        trees = self.aids.trees if method in (None, Method.TREES) else None
        count = self.interface.check_inputs(rows)
        budget = math.inf if trees is not None else ROW_BUDGET_S * count
        job = ExplainJob(
            self.engine,
            rows,
            self.aids.background.rows,
            trees=trees,
            gradient=gradient_of(self.aids.graph) if method is Method.GRADIENTS else None,
            method=method,
            of=wish.of,
            budget_s=budget if wish.budget_s is None else wish.budget_s,
            seed=wish.seed,
            clock=self.clock,
            piece_rows=self.piece_rows,
        )
        return tuple(replace(found, notes=(*found.notes, *self.notes)) if found.background_count else found for found in explain(job))

    def counterfactuals(self, rows: Tensors, wish: Wish) -> tuple[Counterfactual | None, ...]:
        """Return, for each row, the smallest change that was found to be decided otherwise; None where none was."""
        found: list[Counterfactual | None] = []
        for place, row, began, check in self._each(rows, wish):
            text = text_of(self.interface, row, self.aids.background.rows)
            if text is not None and wish.keep:
                raise RequestError("The words of a text cannot be kept: they have no names.", hint="Leave --keep out.")
            search = (
                Search(self.engine, row, self.aids.background.rows, wish.keep, wish.to, wish.of, check)
                if text is None
                else WordSearch(self.engine, row, text, wish.to, wish.of, check)
            )
            one = search.find()
            found.append(None if one is None else replace(one, row=place, seconds=self.clock() - began))
        return tuple(found)

    def rules(self, rows: Tensors, wish: Wish) -> tuple[Rule, ...]:
        """Return, for each row, conditions under which the model nearly always decides as it does for the row."""
        found = []
        for place, row, began, check in self._each(rows, wish):
            rule = RuleSearch(self.engine, row, self.aids.background.rows, seed=wish.seed, check=check).find()
            found.append(replace(rule, row=place, seconds=self.clock() - began))
        return tuple(found)

    def overview(self, data: Path | None, target: str | None, wish: Wish, tell: Callable[[str], None]) -> Overview:
        """Return what the model goes by on the whole, from the rows in `data`, or the background rows."""
        notes = self.notes if data is None else ()
        if data is None:
            rows, answers = self.aids.background.rows, None
        else:
            dataset = load_dataset(data, self.interface, target=target, allow_missing=True)
            if dataset.rows > _OVERVIEW_ROWS:
                notes = (f"The first {_OVERVIEW_ROWS:,} of {dataset.rows:,} rows.",)
                dataset = dataset.take(0, _OVERVIEW_ROWS)
            rows, answers = dataset.inputs, dataset.target
        check = self._check(math.inf if wish.budget_s is None else wish.budget_s)
        text = text_input(self.interface, rows)
        if text is not None:
            found = WordOverviewJob(self.engine, rows, text.name, wish.of, check, tell, self.clock).run()
        else:
            found = OverviewJob(self.engine, rows, answers, wish.of, wish.seed, check, tell, self.clock).run()
        return replace(found, notes=(*found.notes, *notes))

    def _each(self, rows: Tensors, wish: Wish) -> Iterator[tuple[int, Tensors, float, Callable[[], None]]]:
        count = self.interface.check_inputs(rows)
        check = self._check(ROW_BUDGET_S * count if wish.budget_s is None else wish.budget_s)
        for place in range(count):
            yield place, {name: tensor[place : place + 1] for name, tensor in rows.items()}, self.clock(), check

    def _check(self, budget_s: float) -> Callable[[], None]:
        until = self.clock() + budget_s

        def check() -> None:
            if self.clock() > until:
                raise too_short(budget_s)

        return check


@contextmanager
def open_explainer(reference: str, house: House, background: Path | None = None) -> Iterator[Explainer]:
    """Open the version that `reference` names; `background` is a file of rows to explain against, in place of those kept with it."""
    with open_model(reference, house) as model:
        aids = read_aids(model.version, model.interface, house)
        if background is not None:
            aids = replace(aids, background=replace(aids.background, rows=load_rows(background, model.interface), note=""))
        yield Explainer(model.version.label, model.engine, aids)


def _method(text: str) -> Method | None:
    if not text:
        return None
    try:
        return Method(text)
    except ValueError:
        raise SpecError(f"There is no method '{text[:64]}'.", hint=f"There are: {', '.join(Method)}.") from None
