"""A reference that knows the time of day or of the week: a window is held against earlier windows of its own hour. Pure.

Takes tallies with the times of their windows (Unix seconds; a season begins where UTC days and weeks do); gives the sum of those that lie
a whole number of seasons before. Traffic that swings by the hour is no drift then. What drifts slowly from one season to the next is: each
season is held against those before it, of which the oldest count as much as the newest.
"""

from __future__ import annotations

import enum

from fairlead.core.sketch import Tally

ENOUGH_ROWS = 200.0  # of a feature; with fewer rows in its season, the release's own data is the reference


class Season(enum.StrEnum):
    """After which time traffic repeats itself."""

    DAY = "day"
    WEEK = "week"

    @property
    def length_s(self) -> float:
        """How long it is."""
        return 86_400.0 if self is Season.DAY else 7 * 86_400.0


class SeasonalReference:
    """Remembers tallies of windows by their place in the season."""

    def __init__(self, season: Season, window_s: float) -> None:
        self._season, self._window_s = season, window_s
        self._sums: dict[tuple[int, str], Tally] = {}

    def reference(self, since: float, name: str) -> Tally | None:
        """Return what windows at this place of the season showed of a feature so far; None where that is too little."""
        tally = self._sums.get((self._place(since), name))
        return tally if tally is not None and tally.rows - tally.missing >= ENOUGH_ROWS else None

    def learn(self, since: float, name: str, tally: Tally) -> None:
        """Add a window, after it was judged."""
        key = (self._place(since), name)
        before = self._sums.get(key)
        self._sums[key] = tally if before is None else before + tally

    def _place(self, since: float) -> int:
        return int(since % self._season.length_s // self._window_s)
