"""Which of two is faster, decided from pairs of measurements at a stated confidence, whenever one stops looking. Pure; reads no clock.

Takes log(time of A / time of B) pair by pair; gives a Comparison. Each pair is measured in random order, so that where A and B are equal,
either is as likely to be ahead, whatever the machine does between pairs: drift, bursts and other tenants cancel out.

The interval is a confidence sequence for the median of the pairs' ratios: it holds the median at all times at once with the stated
confidence, so stopping as soon as it says enough is allowed, which repeated use of a fixed-sample test is not. For a supposed median m, the
number s of n pairs above m is a sum of fair coins, and

    M_n(s) = 2^n B(s + 1, n - s + 1) = 2^n / ((n + 1) C(n, s))

is the wealth of a bettor who mixes over all biases, a martingale that starts at 1. By Ville's inequality it ever reaches 1 / alpha with
probability alpha at most; the m for which it has not are the interval, whose ends are two of the sorted ratios.

Sources: Howard, Ramdas, McAuliffe, Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence sequences", Annals of Statistics 49
(2021); Howard, Ramdas, "Sequential estimation of quantiles with applications to A/B testing", Bernoulli 28 (2022); Waudby-Smith, Ramdas,
"Estimating means of bounded random variables by betting", JRSS-B 86 (2024).
"""

from __future__ import annotations

import bisect
import enum
import math
from dataclasses import dataclass

CONFIDENCE = 0.99
SMALLEST_EFFECT = 0.02  # differences below are none: two copies of one model, loaded twice, differ by as much


class Outcome(enum.StrEnum):
    """What pairs say about A against B."""

    FASTER = "faster"
    SLOWER = "slower"
    EQUAL = "equal"  # the whole interval lies within the smallest effect that counts
    OPEN = "open"  # the time was up before the interval said anything


@dataclass(frozen=True)
class Comparison:
    """A against B: the median of time(A) / time(B) over `pair_count` pairs, and the interval from `low` to `high` that holds it."""

    ratio: float
    low: float
    high: float
    outcome: Outcome
    pair_count: int
    confidence: float = CONFIDENCE

    def __str__(self) -> str:
        interval = f"{self.confidence:.0%} {self.low:.3g}-{self.high:.3g}, {self.pair_count} pairs"
        if self.outcome is Outcome.FASTER:
            return f"{1 / self.ratio:.3g}x faster (time {self.ratio:.3g}, {interval})"
        if self.outcome is Outcome.SLOWER:
            return f"{self.ratio:.3g}x slower ({interval})"
        said = "as fast" if self.outcome is Outcome.EQUAL else "not told apart"
        return f"{said} (time {self.ratio:.3g}, {interval})"


class PairedTest:
    """Gathers pairs until they say which is faster. FASTER and SLOWER mean by more than `smallest_effect`, with that confidence."""

    def __init__(self, *, confidence: float = CONFIDENCE, smallest_effect: float = SMALLEST_EFFECT) -> None:
        if not 0.5 < confidence < 1 or smallest_effect < 0:
            raise ValueError("a confidence lies between one half and 1, an effect at 0 or above")
        self._confidence = confidence
        self._limit = -math.log(1 - confidence)
        self._effect = math.log1p(smallest_effect)
        self._sorted: list[float] = []
        self._cut = 0  # the smallest count above a supposed median that is not refuted: the interval's ends are that far from the edges

    def add(self, log_ratio: float) -> None:
        """Take one pair: log(time of A / time of B)."""
        if not math.isfinite(log_ratio):
            raise ValueError("a pair needs two times above zero")
        bisect.insort(self._sorted, log_ratio)
        while self._cut <= len(self._sorted) / 2 and self._log_wealth(self._cut) >= self._limit:
            self._cut += 1

    def _log_wealth(self, above: int) -> float:
        count = len(self._sorted)
        choices = math.lgamma(count + 1) - math.lgamma(above + 1) - math.lgamma(count - above + 1)
        return count * math.log(2) - math.log(count + 1) - choices

    @property
    def interval(self) -> tuple[float, float]:
        """The interval of the log ratio's median."""
        if self._cut == 0:
            return -math.inf, math.inf
        return self._sorted[self._cut - 1], self._sorted[-self._cut]

    @property
    def outcome(self) -> Outcome:
        """What is known so far."""
        low, high = self.interval
        if high < -self._effect:
            return Outcome.FASTER
        if low > self._effect:
            return Outcome.SLOWER
        return Outcome.EQUAL if -self._effect <= low and high <= self._effect else Outcome.OPEN

    def comparison(self) -> Comparison:
        """Return what the pairs say; raises ValueError where there are none."""
        if not self._sorted:
            raise ValueError("no pair was measured")
        low, high = self.interval
        middle = len(self._sorted) // 2
        median = self._sorted[middle] if len(self._sorted) % 2 else (self._sorted[middle - 1] + self._sorted[middle]) / 2
        return Comparison(math.exp(median), math.exp(low), math.exp(high), self.outcome, len(self._sorted), self._confidence)
