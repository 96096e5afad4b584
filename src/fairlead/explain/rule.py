"""A rule around a row: conditions under which the model nearly always decides as it does for the row.

Takes an engine, one row and background rows; gives a core Rule (after Anchors: Ribeiro, Singh and Guestrin 2018,
https://doi.org/10.1609/aaai.v32i1.11491). Conditions are added one at a time, the one with the highest precision first, until its lower
limit is as high as was asked. Precision is the share of drawn rows, in which they hold, that are decided alike; where they come from is
told in `rule_ground`. The interval (Wilson 1927) is of fresh rows that had no part in the choice. Raises UnsupportedError where a row has
no single decision, DataError where it is answered with NaN, and what the engine raises.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from fairlead.core.deciding import labelled
from fairlead.core.explanation import Rule
from fairlead.core.interface import DecisionKind, Label, Tensors
from fairlead.core.intervals import wilson
from fairlead.core.ports import Engine
from fairlead.errors import UnsupportedError
from fairlead.explain.aim import single_decision
from fairlead.explain.game import no_check
from fairlead.explain.rule_ground import Ground, ground_of

PRECISION = 0.95
_TRIES, _FRESH = 128, 1000
_MOST_CONDITIONS = 6


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
        interface = self.engine.interface
        rule = interface.decision
        if rule is not None and rule.kind is DecisionKind.VALUE:
            raise UnsupportedError("A rule needs decisions; this model gives a number.", hint="Ask for a counterfactual: --counterfactual.")
        random = np.random.default_rng(self.seed)
        ground = ground_of(interface, self.row, self.background)
        self.check()
        decision = single_decision(interface, self.engine.run(self.row))
        options = list(range(len(ground.conditions)))
        held: list[int] = []
        best = self._share(ground, held, decision, random, _TRIES)
        while wilson(best, _TRIES)[0] < self.precision and options and len(held) < _MOST_CONDITIONS:
            shares = [self._share(ground, [*held, option], decision, random, _TRIES) for option in options]
            first = int(np.argmax(shares))
            best = shares[first]
            held.append(options.pop(first))
        share = self._share(ground, held, decision, random, _FRESH)
        texts = tuple(ground.conditions[place] for place in held)
        return Rule(0, decision, texts, share, wilson(share, _FRESH), ground.coverage(held), _FRESH, 0.0)

    def _share(self, ground: Ground, held: list[int], decision: Label, random: np.random.Generator, count: int) -> float:
        """Return the share of `count` drawn rows that are decided as the row is."""
        self.check()
        self.asked_rows += count
        decided = labelled(self.engine.interface, self.engine.run(ground.draw(held, random, count)))
        return float(np.mean([item is not None and item == decision for item in decided]))
