"""What a row is explained with. A value; it does nothing."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from fairlead.core.explanation import Method, Subject
from fairlead.core.interface import Array, Tensors
from fairlead.core.ports import Engine
from fairlead.core.tree_ensemble import TreeEnsemble
from fairlead.explain.shapley import MOST_PAIRS

# Takes rows and what is explained; gives its number for each row, and its slope along every input element, of the input's shape.
Gradient = Callable[[Tensors, Subject], tuple[Array, dict[str, Array]]]


@dataclass(frozen=True)
class ExplainJob:
    """Explain `rows` against `background` (rows of the same interface). `method` None takes the most exact one that the time allows.

    `trees` are what the engine runs, where it runs nothing else; `gradient` is that of the engine's model. `of` names a class or a number
    to explain in place of the decision. `budget_s` is for all rows together, by `clock`; `pair_limit` bounds what is drawn for a row, and
    `piece_rows` what the engine is asked for at once.
    """

    engine: Engine
    rows: Tensors = field(repr=False)
    background: Tensors = field(repr=False)
    trees: TreeEnsemble | None = None
    gradient: Gradient | None = None
    method: Method | None = None
    of: str | None = None
    budget_s: float = math.inf
    pair_limit: int = MOST_PAIRS
    piece_rows: int = 1024
    seed: int = 0
    clock: Callable[[], float] = time.monotonic
