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
from collections.abc import Callable, Sequence
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


def rate_interval(hits: float, trials: float, alpha: float) -> tuple[float, float]:
    """Return the chances that a bettor on both sides has not refuted: they hold the true one at all times with probability 1 - alpha.

    The bets are spread over all chances by the Beta(1/2, 1/2) law, for which the wealth against a supposed p is
    B(s + 1/2, n - s + 1/2) / B(1/2, 1/2) / (p^s (1 - p)^(n - s)).
    """
    if trials <= 0:
        return 0.0, 1.0
    misses = trials - hits
    evidence = math.lgamma(hits + 0.5) + math.lgamma(misses + 0.5) - math.lgamma(trials + 1.0) - math.log(math.pi) + math.log(alpha)

    def is_refuted(chance: float) -> bool:
        likelihood = (hits * math.log(chance) if hits else 0.0) + (misses * math.log1p(-chance) if misses else 0.0)
        return evidence >= likelihood

    middle = hits / trials
    low = _edge(0.0, middle, is_refuted) if hits else 0.0
    high = _edge(1.0, middle, is_refuted) if misses else 1.0
    return low, high


def _edge(refuted: float, kept: float, is_refuted: Callable[[float], bool]) -> float:
    """Return the last refuted chance on the way from `refuted` to `kept`, within a thousandth of its distance from 0 or 1."""
    for _ in range(48):
        middle = (refuted + kept) / 2.0
        if middle in (refuted, kept) or abs(refuted - kept) < 1e-3 * min(kept, 1.0 - kept, refuted or 1.0, 1.0 - refuted or 1.0):
            break
        if is_refuted(middle):
            refuted = middle
        else:
            kept = middle
    return refuted
