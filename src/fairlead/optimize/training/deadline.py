"""How long a pass may still take. Time is handed out in shares, so that the last step has some left."""

from __future__ import annotations

import math
import time


class Deadline:
    """`time_s` seconds from now; 0 means no limit. A `reserve_ratio` of it is kept for writing and proving."""

    def __init__(self, time_s: float, *, reserve_ratio: float = 0.1) -> None:
        self._end = time.monotonic() + time_s * (1 - reserve_ratio) if time_s > 0 else math.inf

    def left_s(self) -> float:
        """Return the seconds left, infinite where there is no limit, never below 0."""
        return max(0.0, self._end - time.monotonic())

    def is_over(self) -> bool:
        """Whether the time is up."""
        return self.left_s() <= 0.0

    def share(self, ratio: float) -> Deadline:
        """Return a deadline of `ratio` of the time that is left."""
        left = self.left_s()
        part = Deadline(0.0)
        if not math.isinf(left):
            part._end = time.monotonic() + left * ratio
        return part
