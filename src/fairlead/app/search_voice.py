"""What a search tells a person while trials run: which ones, what their training says, how much of the time is left. Pure but for a clock.

Takes what the trials report; gives one line to a Progress, which decides how often it is shown.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

from fairlead.core.interface import shorten
from fairlead.core.ports import Clock, Progress

_LINE = 100  # letters of what one trial says


@dataclass
class _Trial:
    number: int
    began: float
    said: str = ""


@dataclass
class SearchVoice:
    """`ends_at` is when the time for trials is up, by `clock`; infinite for no limit."""

    progress: Progress
    ends_at: float = math.inf
    clock: Clock = time.monotonic
    _running: dict[str, _Trial] = field(default_factory=dict)
    _count: int = 0

    def started(self, name: str) -> None:
        """A trial was started."""
        self._count += 1
        self._running[name] = _Trial(self._count, self.clock())
        self.tick()

    def said(self, name: str, line: str) -> None:
        """A pass of that trial says how far it is."""
        trial = self._running.get(name)
        if trial is not None:
            trial.said = shorten(" ".join(line.split()), _LINE)
            self.tick()

    def ended(self, name: str) -> None:
        """That trial has ended."""
        self._running.pop(name, None)

    def tick(self) -> None:
        """Say what runs."""
        now = self.clock()
        parts = [
            f"{name}: {trial.said or f'{now - trial.began:.0f} s'}"
            for name, trial in sorted(self._running.items(), key=lambda item: item[1].number)
        ]
        if parts:
            left_s = self.ends_at - now
            parts += [f"{_time(left_s)} left"] if math.isfinite(left_s) else []
            self.progress.tell("; ".join(parts))


def _time(seconds: float) -> str:
    seconds = max(seconds, 0.0)
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
