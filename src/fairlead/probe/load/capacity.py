"""The search for the highest rate that keeps a promise on the 99th percentile, and how sure it is. Pure: others run the trials.

Takes the outcomes of trials; gives the next rate to try, and in the end a Capacity. The promise holds in a trial where at most 1 % of the
requests took longer, nothing was wrong, failed or left unanswered, and the rate was really sent. First rates double or halve until one
holds and a higher one does not, then the gap is halved (by ratio) until it is narrow enough; then the rate that held is tried again. A
trial that fails is repeated before it counts: one in a row may be another program's doing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

LATE_RATIO = 0.01  # a p99 holds where at most this share is late
_NARROW_RATIO = 1.05  # between the rate that held and the one that did not
_CONFIRMATION_COUNT = 3
_FAILURE_COUNT = 2
_TRIAL_LIMIT = 40


@dataclass(frozen=True)
class Trial:
    """A rate that was tried. `late_count` of `sent_count` answers came after the promised time; `bad_count` were wrong, failed or missing.
    `limit` says why the client may have been the bottleneck, "" where it was not: it explains a rate that does not hold, no more, since a
    late sender only makes requests look later.
    """

    rate: float
    sent_count: int
    late_count: int
    p99_ms: float
    bad_count: int = 0
    limit: str = ""

    @property
    def holds(self) -> bool:
        """Whether the promise was kept."""
        return self.sent_count > 0 and not self.bad_count and self.late_count <= LATE_RATIO * self.sent_count


@dataclass(frozen=True)
class Capacity:
    """The highest rate that held (0: none did), in `kept_count` of `run_count` runs, and the lowest that did not (None: none was found).

    `late_ratio_limit`: the share of late answers lies below it with 95 % confidence, from all runs at `rate`. `limit` says why the client,
    not the server, set the upper bound.
    """

    rate: float
    failed_rate: float | None
    run_count: int
    kept_count: int
    late_ratio_limit: float
    trials: tuple[Trial, ...]
    limit: str = ""

    @property
    def is_sure(self) -> bool:
        """Whether the rate was confirmed, and there were enough requests to tell 1 % late from more."""
        return self.rate > 0 and self.run_count > _CONFIRMATION_COUNT and self.late_ratio_limit <= LATE_RATIO


def next_rate(trials: Sequence[Trial], first_rate: float) -> float | None:
    """Return the rate to try next, None where the search is over."""
    if not trials:
        return first_rate
    if len(trials) >= _TRIAL_LIMIT:
        return None
    last = [trial for trial in trials if trial.rate == trials[-1].rate]
    if _verdict(last) is None:
        return trials[-1].rate
    held, ceiling = bounds(trials)
    if held == 0.0:
        return ceiling / 2 if ceiling > first_rate / 1024 else None
    if ceiling == math.inf:
        return held * 2
    if ceiling / held > _NARROW_RATIO:
        return math.sqrt(held * ceiling)
    return held if sum(trial.rate == held for trial in trials) <= _CONFIRMATION_COUNT else None


def _verdict(same: Sequence[Trial]) -> bool | None:
    """Whether a rate holds, from its trials; None where one more has to tell. One bad trial may be the machine's doing, two are not."""
    kept = sum(trial.holds for trial in same)
    failed = len(same) - kept
    return True if kept > failed else False if failed >= _FAILURE_COUNT else None


def bounds(trials: Sequence[Trial]) -> tuple[float, float]:
    """Return the highest rate that held below every rate that did not (0: none), and the lowest one that did not (inf: none)."""
    verdicts = {rate: _verdict([trial for trial in trials if trial.rate == rate]) for rate in {trial.rate for trial in trials}}
    ceiling = min((rate for rate, verdict in verdicts.items() if verdict is False), default=math.inf)
    held = max((rate for rate, verdict in verdicts.items() if verdict and rate < ceiling), default=0.0)
    return held, ceiling


def conclude(trials: Sequence[Trial]) -> Capacity:
    """Return what the trials say."""
    held, ceiling = bounds(trials)
    same = [trial for trial in trials if trial.rate == held]
    late, sent = sum(trial.late_count for trial in same), sum(trial.sent_count for trial in same)
    return Capacity(
        rate=held,
        failed_rate=None if ceiling == math.inf else ceiling,
        run_count=len(same),
        kept_count=sum(trial.holds for trial in same),
        late_ratio_limit=share_limit(late, sent),
        trials=tuple(trials),
        limit=next((trial.limit for trial in trials if trial.limit and trial.rate == ceiling), ""),
    )


def share_limit(count: int, total: int, *, quantile: float = 1.6449) -> float:
    """Return the share that lies above the true one with 95 % confidence (one-sided Wilson score, `quantile` of the normal law).

    1.0 where nothing was counted. Source: E. B. Wilson, 1927.
    """
    if total == 0:
        return 1.0
    share, squared = count / total, quantile**2
    middle = share + squared / (2 * total)
    spread = quantile * math.sqrt(share * (1 - share) / total + squared / (4 * total**2))
    return min((middle + spread) / (1 + squared / total), 1.0)
