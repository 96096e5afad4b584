"""What the counts say about one metric, before anybody decides. Values only."""

from __future__ import annotations

from dataclasses import dataclass

from fairlead.core.betting import Wealth

RESERVE = 0.1  # the share of a test's alpha that pays for knowing the live version's rate or quantile within an interval


@dataclass(frozen=True)
class Levels:
    """The levels of a metric's two tests: `alarm` for "worse than allowed", `safe` for "no worse than tolerated"; and over how many steps
    whatever is known of each step alone has to hold.
    """

    alarm: float
    safe: float
    step_count: int


@dataclass(frozen=True)
class Judgement:
    """`alarm` bets that the candidate is worse than allowed, `safe` that it is not worse than tolerated. The regression lies between `low`
    and `high`. `growth` in both is by request of the candidate.
    """

    alarm: Wealth
    safe: Wealth
    live: float | None
    candidate: float | None
    low: float | None
    high: float | None
