"""How likely a bound on what may be lost, which holds on some rows, holds on as many others that nobody has seen.

Takes counts of rows, or a QualityJob and a requirement; gives a probability. Pure, seeded. Whoever takes the best of many models by what
some rows show takes a lucky one: a model whose loss lies right at the bound keeps it on other rows only every other time.

- Rows that are right or wrong, or decided otherwise: what new rows show is drawn from the counts so far and a prior. The number of rows
  lost less the number won among m new ones is a sum of two beta-binomials then, and is added up exactly (J. Aitchison and I. R. Dunsmore,
  Statistical Prediction Analysis, Cambridge 1975, chapter 2). The prior is half a row of each kind (Jeffreys; L. D. Brown, T. T. Cai and
  A. DasGupta, Statistical Science 16, 2001, doi 10.1214/ss/1009213286), or, for the share of lost rows among those that moved, what other
  models of the search show that are about as fast or as small (`priors_of`): of many models, the one that seems to lose less than its like
  has mostly been lucky (priors from other cases: H. Robbins, Third Berkeley Symposium on Mathematical Statistics and Probability, 1956).
- Whoever chooses by such chances takes one that is too high, since what was learned is uncertain, too (A. P. Dawid, Selection paradoxes of
  Bayesian inference, IMS Lecture Notes 24, 1994). How much too high shows where the choice is made again among models like those found, on
  rows that are drawn (`drawn_again`; the parametric bootstrap of B. Efron and R. Tibshirani, An Introduction to the Bootstrap, 1993,
  chapter 17).
- Other metrics: the rows are weighed by the Bayesian bootstrap (D. B. Rubin, Annals of Statistics 9, 1981, doi 10.1214/aos/1176345338),
  m new ones drawn, and the metric measured on them, again and again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fairlead.core.interface import Array
from fairlead.core.requirement import Requirement, loss
from fairlead.verify.quality import QualityJob, measures_of

_DRAWS = 400
_ROWS_LIMIT = 4000  # of new rows: with more, what is not known of the model itself outweighs the draw of the rows
_PRIOR = 0.5
_FEW_MODELS, _FEW_ROWS = 5, 5  # from fewer, nothing is learned
_NEAR = 3.0  # places in the order of strength: the next two or three on each side count most
_WEIGHTS = tuple(2.0**power for power in range(1, 9))  # in rows, of what the other models show
Prior = tuple[float, float]
Counts = tuple[int, int]
JEFFREYS: Prior = (_PRIOR, _PRIOR)
_TAIL = 1e-9  # numbers of rows that are less likely than that, compared with the likeliest, count as impossible


@dataclass(frozen=True)
class Shown:
    """What a model of a search showed: rows `lost` and `won` against the original, or bad and good ones. `strength` puts models in the
    order of what the search looks for, a time or a size. Models of one `kin` come from the same network or trees, and mostly err in the
    same rows.
    """

    kin: str
    strength: float
    lost: float
    won: float


def priors_of(models: Sequence[Shown]) -> list[Prior]:
    """Return for each model the beta distribution from which the shares of lost rows among these and those won seem to come, of models
    about as strong and of another kin: its mean is theirs, its weight the one with which such means foretell best what each kin shows.
    Jeffreys' where there is little to learn from.
    """
    known = _by_kin(models)
    if len(known) <= _FEW_MODELS:
        return [JEFFREYS] * len(models)
    lost, won = (np.array(counts) for counts in zip(*((one.lost, one.won) for one in known), strict=True))
    places = np.arange(len(known))
    nearness = np.exp(-0.5 * ((np.abs(places[:, None] - places[None, :]) - 0.5) / _NEAR) ** 2)
    np.fill_diagonal(nearness, 0.0)
    means = (nearness @ lost + 1) / (nearness @ (lost + won) + 2)
    is_enough = nearness @ (lost + won) >= _FEW_ROWS

    def beta(mean: float, weight: float) -> Prior:
        return weight * mean, weight * (1 - mean)

    def likelihood(weight: float) -> float:
        return math.fsum(_log_likelihood(one, beta(mean, weight)) for one, mean in zip(known, means.tolist(), strict=True))

    best = max(_WEIGHTS, key=likelihood)
    learned = [beta(mean, best) if enough else JEFFREYS for mean, enough in zip(means.tolist(), is_enough, strict=True)]
    by_kin = {one.kin: prior for one, prior in zip(known, learned, strict=True)}
    return [by_kin[one.kin] for one in models]


def drawn_again(models: Sequence[Shown], rows: int, generator: np.random.Generator) -> tuple[list[Counts], list[Counts]]:
    """Return what models like these might show on `rows` rows, and then on as many others: (lost, won) of each. Their true shares are drawn
    from what is known of them; models of one kin lose and win the same rows, but for what they differed in.
    """
    first: dict[str, tuple[float, float]] = {}
    then: dict[str, tuple[float, float]] = {}
    for one, prior in zip(known := _by_kin(models), priors_of(known), strict=True):
        moved = one.lost + one.won
        share = generator.beta(one.lost + prior[0], one.won + prior[1])
        rate = 1.0 if moved >= rows else generator.beta(moved + _PRIOR, rows - moved + _PRIOR)
        for found in (first, then):
            count = generator.binomial(rows, rate)
            lost = generator.binomial(count, share)
            found[one.kin] = lost - one.lost, count - lost - one.won  # beside what the kin showed in the mean

    def counts(found: dict[str, tuple[float, float]]) -> list[Counts]:
        return [(max(round(one.lost + found[one.kin][0]), 0), max(round(one.won + found[one.kin][1]), 0)) for one in models]

    return counts(first), counts(then)


def _by_kin(models: Sequence[Shown]) -> list[Shown]:
    """Return one for each kin, with the means of what its models showed, in the order of their strength."""
    kins: dict[str, list[Shown]] = {}
    for one in models:
        kins.setdefault(one.kin, []).append(one)
    means = [
        Shown(kin, *(math.fsum(values) / len(found) for values in zip(*((one.strength, one.lost, one.won) for one in found), strict=True)))
        for kin, found in kins.items()
    ]
    return sorted(means, key=lambda one: one.strength)


def _log_likelihood(one: Shown, prior: Prior) -> float:
    alpha, beta = prior
    return _log_beta(one.lost + alpha, one.won + beta) - _log_beta(alpha, beta)


def _log_beta(alpha: float, beta: float) -> float:
    return math.lgamma(alpha) + math.lgamma(beta) - math.lgamma(alpha + beta)


def chance_of_loss(lost: int, won: int, rows: int, *, allowed: float, unseen: int, prior: Prior = JEFFREYS) -> float:
    """Return the probability that of `unseen` new rows, those lost less those won are at most `allowed` of all, where `lost` and `won` of
    `rows` were. `prior` is of the share of lost ones among those that moved.
    """
    unseen = min(unseen, _ROWS_LIMIT)
    moved, weights = _likely(unseen, lost + won + 2 * _PRIOR, rows - lost - won + _PRIOR)
    limit = math.floor(allowed * unseen + 1e-9)
    among = np.arange(int(moved.max(initial=0)) + 1)
    shares = _weights(moved[:, None], among[None, :], lost + prior[0], won + prior[1])
    is_kept = 2 * among[None, :] - moved[:, None] <= limit
    return min(float(weights @ np.where(is_kept, shares, 0.0).sum(axis=1)), 1.0)


def chance_of_count(count: int, rows: int, *, allowed: float, unseen: int, prior: Prior = JEFFREYS) -> float:
    """Return the probability that at most the share `allowed` of `unseen` new rows is of a kind that `count` of `rows` are of. `prior` is
    of the share of such rows.
    """
    unseen = min(unseen, _ROWS_LIMIT)
    numbers, weights = _likely(unseen, count + prior[0], rows - count + prior[1])
    return min(float(weights[numbers <= math.floor(allowed * unseen + 1e-9)].sum()), 1.0)


def moved_rows(job: QualityJob) -> tuple[int, int]:
    """Return how many rows the original decides rightly and the candidate does not, and the other way round."""
    before, after = (measures.right_rows() for measures in measures_of(job, "accuracy"))
    return int((before & ~after).sum()), int((after & ~before).sum())


def chance_of_metric(requirement: Requirement, job: QualityJob, unseen: int) -> float:
    """Return the probability that `requirement`, about a built-in metric, holds on `unseen` new rows, by drawing rows."""
    before, after = measures_of(job, requirement.metric)
    generator = np.random.default_rng(job.seed)
    rows, unseen = before.row_count, min(unseen, _ROWS_LIMIT)
    kept = 0
    for _ in range(_DRAWS):
        weights = generator.multinomial(unseen, generator.dirichlet(np.ones(rows))).astype(np.float64)
        value = after.measure(weights)
        if requirement.is_relative:
            value = loss(before.measure(weights), value, is_rise=requirement.is_rise)
        kept += requirement.is_met(value)
    return kept / _DRAWS


def _likely(count: int, alpha: float, beta: float) -> tuple[Array, Array]:
    """Return the values of a beta-binomial that are likely at all, and their probabilities."""
    numbers = np.arange(count + 1)
    weights = _weights(np.array([count]), numbers, alpha, beta)
    is_likely = weights >= _TAIL * weights.max()
    return numbers[is_likely], weights[is_likely] / weights[is_likely].sum()


def _weights(counts: Array, numbers: Array, alpha: float, beta: float) -> Array:
    """Return the beta-binomial probability of each of `numbers` out of `counts`, 0 where there are not so many."""
    others = np.maximum(counts - numbers, 0)
    most = int(counts.max(initial=0))
    rising = [np.concatenate([[0.0], np.cumsum(np.log(start + np.arange(most)))]) for start in (alpha, beta, alpha + beta)]
    choices = _LOG_FACTORIALS[counts] - _LOG_FACTORIALS[numbers] - _LOG_FACTORIALS[others]
    logs = choices + rising[0][numbers] + rising[1][others] - rising[2][counts]
    return np.where(numbers <= counts, np.exp(logs), 0.0)


_LOG_FACTORIALS = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, _ROWS_LIMIT + 1)))])
