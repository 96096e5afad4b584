"""Judges latency quantiles: against a fixed promise, and of the candidate against the live version. Pure.

Against a promise such as p99_ms<=20, the bets are on the candidate's answers: the chance that one is later than 20 ms is 1 % at most.

Against live, an interval holds live's quantile x in each step at all times (a confidence sequence for a quantile, Howard and Ramdas 2022,
paid for by a tenth of alpha). Where the candidate is slower by the factor f at most, an answer of it is later than f x no more often than
an answer of live is later than x; so among such late answers each is the candidate's with its share of the requests at most, and bets are
made on whose a late answer is. Of all x in the interval, in every step that one counts which speaks most against the bet. What slows down
both arms for a while makes more late answers, but not more of the candidate's among them.

Ties and buckets: times count by buckets, so x is a bucket's upper edge, and f x is rounded to the edge that speaks against the bet.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fairlead.core.betting import Floats, Stratum, Wealth, bet, log_bets, nothing, odds, two_sided
from fairlead.core.evidence import bucket_of, bucket_start_ns
from fairlead.register.gate.counts import TOP, Ints, Tail, TailStep
from fairlead.register.gate.judgement import RESERVE, Judgement, Levels

_HIGHEST = bucket_of((1 << 42) - 1)


def against_bound(steps: Sequence[TailStep], quantile: float, bound_ms: float, levels: Levels) -> Judgement:
    """Judge whether the candidate's quantile keeps `bound_ms`."""
    chance = 1.0 - quantile
    bucket = bucket_of(int(bound_ms * 1e6))
    count = sum(step.candidate.count for step in steps)
    late, late_at_most = (sum(float(step.candidate.above(np.array([place]))[0]) for step in steps) for place in (bucket, bucket - 1))
    rates = [(hits + 0.5 * chance) / (count + 0.5) for hits in (late, late_at_most)]
    shown = [step for step in steps if step.candidate.count][-1:]
    low, high = bounds_ms(shown[0].candidate, chance, levels.safe) if shown else (None, None)
    return Judgement(
        bet([Stratum(late, count, chance)], Stratum(rates[0], 1.0, chance), is_above=True),
        bet([Stratum(late_at_most, count, chance)], Stratum(rates[1], 1.0, chance), is_above=False),
        shown[0].live.quantile_ms(quantile) if shown else None,
        shown[0].candidate.quantile_ms(quantile) if shown else None,
        low,
        high,
    )


def against_live(steps: Sequence[TailStep], quantile: float, limit: float, tolerance: float, levels: Levels) -> Judgement:
    """Judge by which factor the candidate's quantile is longer than live's."""
    chance = 1.0 - quantile
    known = [step for step in steps if step.candidate.count and step.live.count]
    if not known:
        lives = [step.live.quantile_ms(quantile) for step in steps]
        return Judgement(nothing(), nothing(), lives[-1] if lives else None, None, None, None)
    alarm_alpha, safe_alpha = (alpha * RESERVE / levels.step_count for alpha in (levels.alarm, levels.safe))
    low, high = _ratio(known, chance, levels)
    last = known[-1]
    return Judgement(
        wealth(known, chance, 1.0 + limit, alarm_alpha, is_above=True),
        wealth(known, chance, 1.0 + tolerance, safe_alpha, is_above=False),
        last.live.quantile_ms(quantile),
        last.candidate.quantile_ms(quantile),
        low,
        high,
    )


def quantile_buckets(tail: Tail, chance: float, alpha: float) -> tuple[int, int]:
    """Return the lowest and the highest bucket that may hold the quantile later than which `chance` of the answers are: they hold it at all
    times with probability 1 - alpha. TOP stands for "later than all that was seen".
    """
    log_limit = -math.log(alpha)
    limits = math.log(chance), math.log1p(-chance)

    def is_refuted(later: float) -> bool:
        return two_sided(later, tail.count) - later * limits[0] - (tail.count - later) * limits[1] >= log_limit

    middle, end = chance * tail.count, len(tail.later)
    first = bisect.bisect_left(tail.later, True, key=lambda later: not (later > middle and is_refuted(later)))  # so few lie above
    last = bisect.bisect_left(tail.later, True, key=lambda later: later < middle and is_refuted(later)) - 1  # so many lie in it or above
    low = 0 if first == 0 else int(tail.buckets[first - 1]) if first < end else TOP
    high = int(tail.buckets[max(last, 0)]) if last < end - 1 else TOP
    return low, max(low, high)


def wealth(steps: Sequence[TailStep], chance: float, factor: float, alpha: float, *, is_above: bool) -> Wealth:
    """Return the wealth of bets that the candidate's quantile is more (or less) than `factor` times live's, which is known at `alpha`."""
    multiples = odds(is_above=is_above)
    total = np.full(len(multiples), math.log1p(-RESERVE))
    for step in steps:
        low, high = quantile_buckets(step.live, chance, alpha)
        buckets = _between(low, high, step)
        late, live_late = _late(step, buckets, factor, is_above=is_above)
        supposed = step.most if is_above else step.least
        price = np.log1p(supposed * (multiples - 1.0))
        bets = np.multiply.outer(late, np.log(multiples)) - np.multiply.outer(late + live_late, price)
        total = total + bets.min(axis=0)
    return Wealth(total, _growth(steps[-1], chance, factor, is_above=is_above))


def _between(low: int, high: int, step: TailStep) -> Ints:
    """The buckets whose edges may be live's quantile; above what either arm ever reached one stands for all."""
    seen = [int(tail.buckets[-1]) for tail in (step.live, step.candidate) if len(tail.buckets)]
    last = max([low if low < TOP else 0, *seen]) + 1
    return np.arange(min(low, last), min(high, last) + 1, dtype=np.int64)


def _late(step: TailStep, buckets: Ints, factor: float, *, is_above: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How many answers of the candidate are later than `factor` times each bucket's edge, and of live later than the edge."""
    scaled = scaled_buckets(buckets, factor)
    return step.candidate.above(scaled if is_above else scaled - 1), step.live.above(buckets)


def scaled_buckets(buckets: Ints, factor: float) -> Ints:
    """Return the buckets that hold `factor` times the largest time of each of `buckets`."""
    edges = _start_ns(np.minimum(buckets, _HIGHEST) + 1) - 1.0
    return bucket_of_each(np.floor(edges * factor))


def _growth(step: TailStep, chance: float, factor: float, *, is_above: bool) -> Floats:
    """By how much each bet grows with one more request of the candidate, at what seems to be live's quantile."""
    place = int(np.argmax(step.live.later[1:] <= chance * step.live.count + 1e-9)) if len(step.live.buckets) else 0
    buckets = step.live.buckets[place : place + 1]
    if not len(buckets):
        return np.zeros(len(odds(is_above=is_above)))
    late, live_late = (float(part[0]) for part in _late(step, buckets, factor, is_above=is_above))
    rate = (late + 0.5 * chance) / (step.candidate.count + 0.5)
    supposed = step.most if is_above else step.least
    beside = (1.0 - supposed) / supposed if supposed else 0.0
    return log_bets([Stratum(rate, rate + beside * live_late / step.live.count, supposed)], is_above=is_above)


def _ratio(steps: Sequence[TailStep], chance: float, levels: Levels) -> tuple[float | None, float | None]:
    """An interval for candidate over live, less 1: in each step from both arms' own, all steps together."""
    alpha = levels.safe / 2 / levels.step_count
    ends = []
    for step in steps:
        low, high = bounds_ms(step.candidate, chance, alpha)
        live_low, live_high = bounds_ms(step.live, chance, alpha)
        ends.append((_over(low, live_high), _over(high, live_low)))
    lows = [low for low, _ in ends if low is not None]
    highs = [high for _, high in ends if high is not None]
    low, high = max(lows, default=None), min(highs, default=None)
    return (low, high) if low is None or high is None or low <= high else ends[-1]


def _over(value: float | None, other: float | None) -> float | None:
    return None if value is None or not other else value / other - 1.0


def bounds_ms(tail: Tail, chance: float, alpha: float) -> tuple[float | None, float | None]:
    """Return the interval of the quantile later than which `chance` of the answers are, in milliseconds; None for an end not known."""
    low, high = quantile_buckets(tail, chance, alpha)
    if low == TOP and len(tail.buckets):  # later than all that was seen
        low = int(tail.buckets[-1]) + 1
    return bucket_start_ns(low) / 1e6 if 0 < low < TOP else None, bucket_start_ns(high + 1) / 1e6 if high < TOP else None


def _start_ns(buckets: Ints) -> Floats:
    """`bucket_start_ns` of each."""
    shift = np.maximum((buckets >> 6) - 1, 0)
    starts: Ints = (buckets - (shift << 6)) << shift
    return starts.astype(np.float64)


def bucket_of_each(times_ns: Floats) -> Ints:
    """Return `bucket_of` each time; exact, since a double holds times of days in whole nanoseconds."""
    shift = np.maximum(np.frexp(times_ns)[1].astype(np.int64) - 7, 0)
    buckets: Ints = (shift << 6) + (times_ns.astype(np.int64) >> shift)
    return buckets
