"""One row as a game that its features play: what the model answers where only some of them are known.

Takes an engine, a hiding and what is explained; gives numbers, and counts the rows that it asked. Asks in pieces that fit the memory, and
looks at the time between them. Raises DataError where the model answers with NaN, DeadlineError from `check`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from fairlead.core.explanation import Subject
from fairlead.core.interface import Array
from fairlead.core.ports import Engine
from fairlead.errors import DataError
from fairlead.explain.hiding import Hiding
from fairlead.explain.subject import score

_PIECE_ROWS = 1024
_PIECE_BYTES = 64 * 2**20


def no_check() -> None:
    """There is no time limit."""


@dataclass
class Game:
    """`check` is called before the model is asked, and may raise. `piece_rows` bounds what it is asked for at once."""

    engine: Engine
    hiding: Hiding
    subject: Subject
    check: Callable[[], None] = no_check
    piece_rows: int = _PIECE_ROWS
    asked_rows: int = field(default=0, init=False)

    @property
    def size(self) -> int:
        """How many features there are."""
        return len(self.hiding.features)

    def worths(self, keep: Array, others: Array) -> Array:
        """Return the answers for the row where `keep` (n, features) has it, and background rows `others` (n,) elsewhere: (n,)."""
        one = self.hiding.mixed(keep[:1], others[:1])
        row_bytes = sum(max(tensor.nbytes, 64) for tensor in one.values())
        step = max(min(_PIECE_BYTES // row_bytes, self.piece_rows), 1)
        return np.concatenate([self._ask(keep[at : at + step], others[at : at + step]) for at in range(0, len(keep), step)])

    def ends(self) -> tuple[Array, float]:
        """Return the answers for the background rows, all features hidden, and the answer for the row itself."""
        count = self.hiding.background_count
        keep = np.zeros((count + 1, self.size), dtype=np.bool_)
        keep[-1] = True
        found = self.worths(keep, np.append(np.arange(count), 0))
        return found[:-1], float(found[-1])

    def _ask(self, keep: Array, others: Array) -> Array:
        self.check()
        rows = self.hiding.mixed(keep, others)
        self.asked_rows += len(keep)
        found = score(self.subject, self.engine.run(rows, (self.subject.output,)))
        if np.isnan(found).any():
            whole = keep.all(axis=1)
            what = "this row" if np.isnan(found[whole]).any() else "rows made of this one and of background rows"
            raise DataError(
                f"The model answers {what} with NaN, which cannot be explained.", hint="Give a row, and background rows, that it answers."
            )
        return found
