"""The one test that every decision of the gate is made of: bets on binomial counts, good at any time.

Takes counts (successes, trials, and the chance of a success that is supposed); gives Wealth. Pure; raises nothing.

A bettor with wealth 1 bets on each trial that the odds of a success are m times what is supposed. Fair odds for a supposed chance p make
each success multiply the wealth by m / (1 - p + p m) and each failure by 1 / (1 - p + p m), so that after s successes in n trials it is

    m^s (1 - p + p m)^-n,

a martingale where the chance is p, and for m > 1 a supermartingale where it is p at most, given all that was seen before. The bettor
spreads its wealth evenly over several m, so nobody has to know how large an effect is. By Ville's inequality the wealth ever reaches
1 / alpha with probability alpha at most, however often and whenever one looks: the wealth is an e-value, and its reciprocal a p-value that
may be watched. The chance may differ from stratum to stratum: only sums enter.

Sources: Ville, "Etude critique de la notion de collectif" (1939); Robbins, "Statistical methods related to the law of the iterated
logarithm", Annals of Mathematical Statistics 41 (1970); Lindon and Malek, "Anytime-valid inference for multinomial count data", NeurIPS
2022; Lindon, Ham, Tingley, Bojinov, "Rapid regression detection in software deployments through sequential testing", KDD 2022; Howard and
Ramdas, "Sequential estimation of quantiles with applications to A/B testing and best-arm identification", Bernoulli 28 (2022); Vovk and
Wang, "E-values: calibration, combination and applications", Annals of Statistics 49 (2021).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

ODDS: Floats = np.array([1.1, 1.2, 1.35, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0, 6.0, 10.0, 30.0, 100.0])
LARGEST_LOG = 690.0  # of an e-value that is written down: the largest double is e^709


class Stratum(NamedTuple):
    """Trials of one kind: `hits` of `trials`, where the chance is supposed to be `chance`."""

    hits: float
    trials: float
    chance: float


@dataclass(frozen=True)
class Wealth:
    """What the bettor has: `log_bets`, the logarithm of the wealth of each of its equal parts, and by how much each is expected to grow
    with one more request of the candidate (`growth`) if what was seen so far goes on.
    """

    log_bets: Floats
    growth: Floats

    @property
    def log(self) -> float:
        """The logarithm of all of it."""
        top = float(self.log_bets.max())
        return top + math.log(float(np.exp(self.log_bets - top).mean())) if math.isfinite(top) else top

    @property
    def value(self) -> float:
        """All of it; at most 10^300."""
        return math.exp(min(self.log, LARGEST_LOG))

    def needed(self, log_threshold: float) -> float | None:
        """Return about how many more requests of the candidate make it reach the threshold; None where nothing tells."""
        missing = log_threshold + math.log(len(self.log_bets)) - self.log_bets
        growing = self.growth > 1e-12
        if self.log >= log_threshold:
            return 0.0
        return float((missing[growing] / self.growth[growing]).min()) if growing.any() else None


def odds(*, is_above: bool) -> Floats:
    """Return the multiples of the odds that are bet on, for a chance above what is supposed or below."""
    return ODDS if is_above else 1.0 / ODDS


def log_bets(strata: Sequence[Stratum], *, is_above: bool) -> Floats:
    """Return the logarithm of the wealth of each bet after these counts, against "the chance is `chance` at most" (or at least)."""
    multiples = odds(is_above=is_above)
    hits, trials, chances = np.array(strata, dtype=np.float64).reshape(-1, 3).T
    price: Floats = trials @ np.log1p(np.multiply.outer(chances, multiples - 1.0))
    gain: Floats = hits.sum() * np.log(multiples)
    return gain - price


def nothing() -> Wealth:
    """Return the wealth of one who never bet."""
    return Wealth(np.zeros(1), np.zeros(1))


def bet(strata: Sequence[Stratum], expected: Stratum, *, is_above: bool, reserve: float = 0.0) -> Wealth:
    """Return the wealth after `strata`; `expected` are the counts that one more request brings on average. The share `reserve` was paid
    for knowing something that the test supposes.
    """
    bets = log_bets(strata, is_above=is_above) + math.log1p(-reserve)
    return Wealth(bets, log_bets((expected,), is_above=is_above))


def mixed(*parts: Wealth) -> Wealth:
    """Return the wealth of one who put an equal part into each bet of each of `parts`."""
    return Wealth(np.concatenate([part.log_bets for part in parts]), np.concatenate([part.growth for part in parts]))


def two_sided(hits: float, trials: float) -> float:
    """Return the part of the logarithm of a bettor's wealth that does not depend on the supposed chance p. The bets are on both sides,
    spread over all chances by the Beta(1/2, 1/2) law; the whole is less s log p + (n - s) log(1 - p): the wealth is
    B(s + 1/2, n - s + 1/2) / B(1/2, 1/2) / (p^s (1 - p)^(n - s)).
    """
    return math.lgamma(hits + 0.5) + math.lgamma(trials - hits + 0.5) - math.lgamma(trials + 1.0) - math.log(math.pi)


def rate_interval(hits: float, trials: float, alpha: float) -> tuple[float, float]:
    """Return the chances that the bettor on both sides has not refuted: they hold the true one at all times with probability 1 - alpha."""
    if trials <= 0:
        return 0.0, 1.0
    misses = trials - hits
    evidence = two_sided(hits, trials) + math.log(alpha)
    low = _root(hits, trials, evidence) if hits else -math.inf
    high = -_root(misses, trials, evidence) if misses else math.inf
    return _chance(low), _chance(high)


def _root(hits: float, trials: float, evidence: float) -> float:
    """Return the lower log-odds u at which the wealth is just enough: evidence - hits u + trials log(1 + e^u) = 0.

    The left side is convex, and positive where we start; so each of Newton's steps comes nearer from the refuted side, and stopping early
    only widens the interval.
    """
    place = evidence / hits
    for _ in range(60):
        value = evidence - hits * place + trials * (math.log1p(math.exp(-abs(place))) + max(place, 0.0))
        step = value / (hits - trials * _chance(place))
        if not step > 1e-4:  # a hundredth of a percent of the chance
            break
        place += step
    return place


def _chance(log_odds: float) -> float:
    return 1.0 / (1.0 + math.exp(-log_odds)) if log_odds > -700.0 else 0.0
