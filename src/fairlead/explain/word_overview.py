"""What a model of texts goes by on the whole: what a class's score loses without each word, in the texts that have it.

Takes an engine and texts; gives a core Overview without curves. A word is a run of letters and digits, whatever its case; it is left out of
every text that has it, and what is lost is the mean over these texts, with Student's 95 % interval. Words of fewer than five texts are not
looked at. Raises UnsupportedError where no word is in that many, DeadlineError from `check`, and what the engine raises.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from fairlead.core.explanation import Overview
from fairlead.core.interface import Array, Tensors
from fairlead.core.ports import Engine
from fairlead.errors import UnsupportedError
from fairlead.explain.game import no_check
from fairlead.explain.hiding import pieces_of
from fairlead.explain.overview import common_subject, importance
from fairlead.explain.rule_ground import words_of
from fairlead.explain.subject import score

_FEWEST_TEXTS = 5
_MOST_WORDS = 500
_TELL_EVERY = 20


@dataclass
class WordOverviewJob:
    """Texts to look at, in the one input called `input`; `of` names the class, None is the one that is decided most often."""

    engine: Engine
    rows: Tensors
    input: str
    of: str | None = None
    check: Callable[[], None] = no_check
    tell: Callable[[str], None] = lambda _: None
    clock: Callable[[], float] = time.monotonic
    asked_rows: int = field(default=0, init=False)

    def run(self) -> Overview:
        """Return the overview; `repeats` is 0, since nothing is exchanged."""
        began = self.clock()
        texts = [[(piece, words_of(piece)) for piece in pieces_of(str(text))] for text in self.rows[self.input].reshape(-1)]
        places = _places(texts)
        if not places:
            raise UnsupportedError(
                f"No word stands in {_FEWEST_TEXTS} of {len(texts)} texts, so nothing can be said of the whole.",
                hint="Give more: --data FILE.",
            )
        outputs = self._ask(self.rows)
        subject = common_subject(self.engine.interface, outputs, self.of)
        before = score(subject, outputs)
        found = []
        for number, (word, rows) in enumerate(places.items()):
            if number % _TELL_EVERY == 0:
                self.tell(f"word {number + 1} of {len(places)}")
            shorter = ["".join(piece for piece, words in texts[row] if word not in words) for row in rows]
            tensor = np.array(shorter, dtype=object).reshape(len(rows), *self.rows[self.input].shape[1:])
            found.append(importance(word, before[rows] - score(subject, self._ask({self.input: tensor}))))
        found.sort(key=lambda item: -item.loss)
        return Overview(subject.says, len(texts), 0, tuple(found), (), self.asked_rows, self.clock() - began)

    def _ask(self, rows: Tensors) -> dict[str, Array]:
        self.check()
        self.asked_rows += len(rows[self.input])
        return self.engine.run(rows)


def _places(texts: list[list[tuple[str, frozenset[str]]]]) -> dict[str, list[int]]:
    """Return the texts that have each word, for the words in most of them; a text is its pieces, each with its words."""
    places = defaultdict(list)
    for row, pieces in enumerate(texts):
        for word in sorted(frozenset[str]().union(*(words for _, words in pieces))):
            places[word].append(row)
    often = sorted((word for word, rows in places.items() if len(rows) >= _FEWEST_TEXTS), key=lambda word: -len(places[word]))
    return {word: places[word] for word in often[:_MOST_WORDS]}
