"""How many requests of the candidate the gate's tests need for an effect of a given size, in theory. Pure.

Gives a SampleSize: `about`, where the expected wealth of the best single bet reaches the threshold (for a martingale of independent steps
that is Wald's identity: threshold over the growth per request, which is a Kullback-Leibler rate); and `enough`, within which the effect is
found with at least the stated power, by Chernoff's bound on the same bet: for the growth X of one request,

    P(not found in n) <= min over s > 0 of exp(s log threshold) E[exp(-s X)]^n.

The gate spreads its wealth over all bets and has more than the best one alone, so both are on the safe side. The share of requests that the
candidate happens to get enters at its own Chernoff bound, with a tenth of what the power leaves.

For latencies against live, the gate has to win at every value that live's quantile may have; a value counts with the smaller of the two
chances, that it is not excluded yet and that the bet does not win there, and these chances add up.

Sources: Wald, "Sequential tests of statistical hypotheses", Annals of Mathematical Statistics 16 (1945); Chernoff, "A measure of
asymptotic efficiency for tests of a hypothesis based on the sum of observations", Annals of Mathematical Statistics 23 (1952).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fairlead.core.betting import Floats, odds, two_sided
from fairlead.core.evidence import bucket_of, bucket_start_ns
from fairlead.register.gate.counts import Ints
from fairlead.register.gate.judgement import RESERVE
from fairlead.register.gate.latencies import scaled_buckets

_MOST = 1e12  # requests; an effect that needs more is never found
_TILTS: Floats = np.geomspace(0.01, 3.0, 60)
Later = Callable[[float], float]


@dataclass(frozen=True)
class SampleSize:
    """Requests (or labels, or pairs) of the candidate; None where no number is enough."""

    about: int | None
    enough: int | None


@dataclass(frozen=True)
class _Bet:
    """What one request of either arm does to one bet: with chance `good` it grows by `gain - price`, with chance `bad` by `-price`."""

    good: Floats
    bad: Floats
    gain: float
    price: float

    def growth(self) -> Floats:
        return self.good * self.gain - (self.good + self.bad) * self.price

    def log_miss(self, log_threshold: float, count: float) -> Floats:
        """The logarithm of Chernoff's bound on the chance that the threshold is not reached after `count` requests."""
        win = np.multiply.outer(self.good, np.expm1(-_TILTS * (self.gain - self.price)))
        loss = np.multiply.outer(self.bad, np.expm1(_TILTS * self.price))
        bounds: Floats = (_TILTS * log_threshold + count * np.log1p(win + loss)).min(axis=-1)
        return np.minimum(bounds, 0.0)


def against_bound(rate: float, bound: float, alpha: float, *, power: float = 0.95, is_above: bool = True) -> SampleSize:
    """Return how many answers it takes to prove that the chance of a bad one, truly `rate`, is above (or below) `bound`."""
    multiples = odds(is_above=is_above)
    log_threshold = math.log(len(multiples) / alpha)
    bets = [_Bet(np.array([rate]), np.array([1.0 - rate]), math.log(m), math.log1p(bound * (m - 1.0))) for m in multiples]
    about = min(_whole(log_threshold, float(one.growth()[0])) for one in bets)
    enough = _smallest(lambda count: min(float(one.log_miss(log_threshold, count)[0]) for one in bets) <= math.log(1.0 - power))
    return SampleSize(_count(about), _count(enough))


def against_live(live_rate: float, rate: float, share: float, alpha: float, *, power: float = 0.95) -> SampleSize:
    """Return how many answers of the candidate it takes to prove that its chance of a bad one is larger than live's, where it gets `share`
    of all requests.
    """
    multiples = odds(is_above=True)
    log_threshold = math.log(len(multiples) / alpha)
    chances = np.array([share * rate]), np.array([(1.0 - share) * live_rate])

    def bets(supposed: float) -> list[_Bet]:
        return [_Bet(*chances, math.log(m), math.log1p(supposed * (m - 1.0))) for m in multiples]

    def is_enough(count: float) -> bool:
        supposed = _most_share(share, count, (1.0 - power) / 10.0)
        return min(float(one.log_miss(log_threshold, count)[0]) for one in bets(supposed)) <= math.log(0.9 * (1.0 - power))

    about = min(_whole(log_threshold, float(one.growth()[0])) for one in bets(share))
    return SampleSize(_count(about * share), _count(_smallest(is_enough) * share))


def latency_against_live(
    live: Later,
    candidate: Later,
    *,
    quantile: float,
    limit: float,
    share: float,
    alpha: float,
    step_count: int = 1,
    power: float = 0.95,
) -> SampleSize:
    """Return how many answers of the candidate it takes to prove that its quantile is more than (1 + `limit`) times live's. `live` and
    `candidate` give the chance that an answer takes longer than so many nanoseconds.
    """
    chance, multiples = 1.0 - quantile, odds(is_above=True)
    log_threshold = math.log(len(multiples) / (alpha * (1.0 - RESERVE)))
    level = alpha * RESERVE / step_count
    buckets = _around(live, chance)
    before, after = (np.array([live(bucket_start_ns(int(place) + more) - 1.0) for place in buckets]) for more in (0, 1))
    worse = np.array([candidate(bucket_start_ns(int(place) + 1) - 1.0) for place in scaled_buckets(buckets, 1.0 + limit)])

    def bets(supposed: float) -> list[_Bet]:
        return [_Bet(share * worse, (1.0 - share) * after, math.log(m), math.log1p(supposed * (m - 1.0))) for m in multiples]

    def is_about(count: float) -> bool:
        low, high = _compatible((1.0 - share) * count, chance, level)
        inside = (after < high) & (before > low)
        return any(float((count * one.growth())[inside].min()) >= log_threshold for one in bets(share)) if inside.any() else True

    def is_enough(count: float) -> bool:
        supposed = _most_share(share, count, (1.0 - power) / 10.0)
        stays = _log_stays(before, after, (1.0 - supposed) * count, chance, level)
        missed = (np.exp(np.minimum(stays, one.log_miss(log_threshold, count))).sum() for one in bets(supposed))
        return bool(min(missed) <= 0.9 * (1.0 - power))

    return SampleSize(_count(_smallest(is_about) * share), _count(_smallest(is_enough) * share))


def _log_stays(before: Floats, after: Floats, count: float, chance: float, level: float) -> Floats:
    """Bounds on the chance that each bucket is still thought to hold live's quantile after `count` answers of live."""
    low, high = _compatible(count, chance, level)
    above = np.where(after > high, -count * _divergence(high, after), 0.0)
    below = np.where(before < low, -count * _divergence(low, before), 0.0)
    return np.minimum(above, below)


def _compatible(count: float, chance: float, level: float) -> tuple[float, float]:
    """The shares of `count` answers between which a chance is not refuted."""
    log_limit = -math.log(level)

    def is_refuted(share: float) -> bool:
        hits = share * count
        return two_sided(hits, count) - hits * math.log(chance) - (count - hits) * math.log1p(-chance) >= log_limit

    ends = []
    for end in (0.0, 1.0):
        refuted, kept = end, chance
        if not is_refuted(end):
            ends.append(-1.0 if end == 0.0 else 2.0)
            continue
        for _ in range(40):
            middle = (refuted + kept) / 2.0
            refuted, kept = (middle, kept) if is_refuted(middle) else (refuted, middle)
        ends.append(refuted)
    return ends[0], ends[1]


def _around(live: Later, chance: float) -> Ints:
    """The buckets from where half of live's answers are later to where hardly any are."""
    low = high = 1
    while bucket_start_ns(high) < 1 << 41 and live(bucket_start_ns(high)) > chance * 1e-4:
        high += 1
        if live(bucket_start_ns(high)) > max(0.5, 1.0 - (1.0 - chance) / 2.0):
            low = high
    return np.arange(max(low, bucket_of(128)), high + 1, dtype=np.int64)


def _divergence(one: float, other: Floats) -> Floats:
    """The Kullback-Leibler divergence of a coin of chance `one` from coins of chance `other`."""
    safe = np.clip(other, 1e-300, 1.0 - 1e-15)
    first = one * (math.log(one) - np.log(safe)) if one > 0 else np.zeros_like(safe)
    rest: Floats = (1.0 - one) * (math.log1p(-one) - np.log1p(-safe)) if one < 1 else np.zeros_like(safe)
    return first + rest


def _most_share(share: float, count: float, chance: float) -> float:
    """The share that the candidate gets of `count` requests is below this, except with probability `chance` (Chernoff)."""
    low, high = share, 1.0
    for _ in range(40):
        middle = (low + high) / 2.0
        is_beyond = count * float(_divergence(middle, np.array([share]))[0]) >= -math.log(chance)
        low, high = (low, middle) if is_beyond else (middle, high)
    return high


def _smallest(is_enough: Callable[[float], bool]) -> float:
    """The smallest count, within half a percent, that is enough; infinite above a million millions."""
    high = 1.0
    while not is_enough(high):
        high *= 2.0
        if high > _MOST:
            return math.inf
    low = high / 2.0
    while high > low * 1.005 + 1.0:
        middle = (low + high) / 2.0
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high


def _whole(log_threshold: float, growth: float) -> float:
    return log_threshold / growth if growth > 0 else math.inf


def _count(number: float) -> int | None:
    return math.ceil(number) if math.isfinite(number) else None
