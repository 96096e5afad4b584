"""How likely a bound on what may be lost, which holds on some rows, holds on as many others that nobody has seen.

Takes counts of rows, or a QualityJob and a requirement; gives a probability. Pure, seeded. Whoever takes the best of many models by what
some rows show takes a lucky one: a model whose loss lies right at the bound keeps it on other rows only every other time.

- Rows that are right or wrong, or decided otherwise: what new rows show is drawn from the counts so far and a prior. That is half a row of
  each kind (Jeffreys), or, for the share of lost rows among those that moved, what other models of the same search show (`prior_of`): of
  many models, the one that seems to lose nothing has mostly been lucky. The number of rows lost less the number won among m new ones is a
  sum of two beta-binomials then, and is added up exactly (J. Aitchison and I. R. Dunsmore, Statistical Prediction Analysis, Cambridge
  1975, chapter 2; Jeffreys' prior: L. D. Brown, T. T. Cai and A. DasGupta, Statistical Science 16, 2001, doi 10.1214/ss/1009213286; priors
  from other cases: H. Robbins, Third Berkeley Symposium on Mathematical Statistics and Probability, 1956).
- Other metrics: the rows are weighed by the Bayesian bootstrap (D. B. Rubin, Annals of Statistics 9, 1981, doi 10.1214/aos/1176345338),
  m new ones drawn, and the metric measured on them, again and again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fairlead.core.interface import Array
from fairlead.core.requirement import METRICS, Direction, Requirement
from fairlead.verify.quality import QualityJob, measures_of

_DRAWS = 400
_ROWS_LIMIT = 4000  # of new rows: with more, what is not known of the model itself outweighs the draw of the rows
_PRIOR = 0.5
_FEW_MODELS, _FEW_ROWS = 5, 20  # from fewer, nothing is learned
_WEIGHTS = (2.0, 4.0, 8.0, 16.0, 32.0, 64.0)  # in rows, of what the other models show
Prior = tuple[float, float]
JEFFREYS: Prior = (_PRIOR, _PRIOR)
_TAIL = 1e-9  # numbers of rows that are less likely than that, compared with the likeliest, count as impossible


def prior_of(moved: Sequence[tuple[int, int]]) -> Prior:
    """Return the beta distribution from which the models' shares of lost rows among moved ones seem to come, by (lost, won) of each: its
    mean is theirs, its weight the likeliest of a few. Jeffreys' where there is little to learn from.
    """
    lost, won = (sum(counts) for counts in zip(*moved, strict=True)) if moved else (0, 0)
    if len(moved) < _FEW_MODELS or lost + won < _FEW_ROWS:
        return JEFFREYS
    mean = (lost + 1) / (lost + won + 2)
    return max(((weight * mean, weight * (1 - mean)) for weight in _WEIGHTS), key=lambda prior: _log_likelihood(moved, prior))


def _log_likelihood(moved: Sequence[tuple[int, int]], prior: Prior) -> float:
    alpha, beta = prior
    return sum(_log_beta(lost + alpha, won + beta) - _log_beta(alpha, beta) for lost, won in moved)


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


def chance_of_count(count: int, rows: int, *, allowed: float, unseen: int) -> float:
    """Return the probability that at most the share `allowed` of `unseen` new rows is of a kind that `count` of `rows` are of."""
    unseen = min(unseen, _ROWS_LIMIT)
    numbers, weights = _likely(unseen, count + _PRIOR, rows - count + _PRIOR)
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
    is_higher_better = METRICS[requirement.metric].better is Direction.HIGHER
    kept = 0
    for _ in range(_DRAWS):
        weights = generator.multinomial(unseen, generator.dirichlet(np.ones(rows))).astype(np.float64)
        value = after.measure(weights)
        if requirement.is_relative:
            original = before.measure(weights)
            value = original - value if is_higher_better else value - original
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
