"""Texts: which words would have to go for another decision.

Takes an engine, one text and what is wanted; gives a core Counterfactual, or None where none was found. Words are left out one by one, the
one that moves the answer most towards the other decision first, until it flips; what need not go is given back. At least one word stays.
Every text was answered by the model itself. Raises what `aim_at` raises.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from fairlead.core.explanation import Change, Counterfactual
from fairlead.core.interface import Array, Label, Tensors
from fairlead.core.ports import Engine
from fairlead.explain.aim import Aim, aim_at
from fairlead.explain.game import no_check
from fairlead.explain.hiding import TextHiding
from fairlead.explain.subject import score


@dataclass
class WordSearch:
    """Look for words of `text` without which the model decides as `wanted` (see `aim_at`). `check` is called before the model is asked, and
    may raise.
    """

    engine: Engine
    row: Tensors
    text: TextHiding
    wanted: str | None = None
    of: str | None = None
    check: Callable[[], None] = no_check
    asked_rows: int = field(default=0, init=False)

    def find(self) -> Counterfactual | None:
        """Return the fewest words that were found."""
        self.check()
        aim = aim_at(self.engine.interface, self.engine.run(self.row), self.wanted, self.of)
        self.asked_rows += 1
        keep = np.ones(len(self.text.words), dtype=np.bool_)
        while keep.sum() > 1:
            places = np.flatnonzero(keep)
            decisions, scores = self._without(keep, places, aim)
            flips = aim.is_wanted(decisions)
            keep[places[np.argmax(np.where(flips | ~flips.any(), aim.gain(scores), -np.inf))]] = False
            if flips.any():
                return self._told(self._pruned(keep, aim), aim)
        return None

    def _without(self, keep: Array, places: Array, aim: Aim) -> tuple[Array, Array]:
        """Return decisions and scores for the text with each of `places` turned over: gone where it was kept, back where it was gone."""
        tried = np.repeat(keep[np.newaxis], len(places), axis=0)
        tried[np.arange(len(places)), places] ^= True
        self.check()
        outputs = self.engine.run(self.text.mixed(tried, np.zeros(len(places), dtype=np.int64)))
        self.asked_rows += len(places)
        return aim.decided(self.engine.interface, outputs), score(aim.subject, outputs)

    def _pruned(self, keep: Array, aim: Aim) -> Array:
        """Give back, one by one, what need not go."""
        while (places := np.flatnonzero(~keep)).size > 1:
            decisions, scores = self._without(keep, places, aim)
            flips = aim.is_wanted(decisions)
            if not flips.any():
                break
            keep[places[np.argmax(np.where(flips, aim.gain(scores), -np.inf))]] = True
        return keep

    def _told(self, keep: Array, aim: Aim) -> Counterfactual:
        outputs = self.engine.run(self.text.mixed(keep[np.newaxis], np.zeros(1, dtype=np.int64)))
        after = aim.decided(self.engine.interface, outputs)[0]
        plain: Label = after.item() if isinstance(after, np.generic) else after
        gone = np.flatnonzero(~keep)
        changes = tuple(Change(self.text.features[place], self.text.given[place], "") for place in gone)
        return Counterfactual(
            0, aim.before, plain, changes, float(len(gone)), None, self.asked_rows + 1, 0.0, is_value=aim.subject.is_value
        )
