"""What compression costs in production: the same rows answered by the compressed model and by its original. Pure.

Takes both answers, and labels as far as there are; gives a CompressionLoss. Accuracy can differ on rows only that both decide differently,
so labels of these alone say all: the loss is (rows that only the original has right - rows that only the compressed model has right) /
rows.

Intervals of 95 %: with labels for all differing rows, Newcombe's for a difference of paired shares (Statistics in Medicine 17, 1998,
"improved methods for intervals for differences between proportions based on paired data", method 8 without correction); where some are
missing, that of the labelled ones times the share that differs, both ends taken at worst; without labels, no more than the bound that the
number of differing rows gives. Confidences are not asked: where the two differ, neither's means what it means elsewhere.

Whether the loss is larger than what was promised is looked at again and again, so that is not left to these intervals: `exceeds` bets
against it, row by row (see core.betting). A row is worth 1 where only the original has it right, -1 where only the compressed model has,
else 0; where its mean is m at most, 1 + b (worth - m) is fair or worse for every b, so the product of all rows ever reaches 1 / alpha with
probability alpha at most (Ville). Source: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", Journal of
the Royal Statistical Society B 86, 2024.
"""

from __future__ import annotations

import math

import numpy as np

from fairlead.core.betting import rate_interval
from fairlead.core.interface import Array
from fairlead.core.intervals import wilson
from fairlead.core.outcome import NOTHING, CompressionLoss, LossBasis, Measured

_Z = 1.959963984540054  # 97.5 % quantile of the normal distribution
_BETS = np.array([0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9])  # spread evenly: nobody has to know how large a loss is


def measured_loss(compressed: Array, original: Array, right: Array) -> CompressionLoss:
    """Return the loss from class numbers that both said; `right` is NaN where no label is there."""
    count = len(compressed)
    if not count:
        return CompressionLoss(NOTHING, LossBasis.FLIPS, 0, 0, 0)
    differs = compressed != original
    flips, known = int(differs.sum()), differs & ~np.isnan(right)
    labelled = int(known.sum())
    if not labelled and flips:
        return bounded_loss(count, flips)
    lost = int((original[known] == right[known]).sum())
    won = int((compressed[known] == right[known]).sum())
    if labelled == flips:
        both = _both_right(compressed, right, differs, count)
        return CompressionLoss(_paired(lost, won, both, count), LossBasis.LABELS, count, flips, labelled, lost, won)
    share = flips / count
    low_share, high_share = wilson(share, count)
    part = _paired(lost, won, 0, labelled)
    ends = [end * size for end in (part.low, part.high) for size in (low_share, high_share)]
    measured = Measured(part.value * share, min(ends), max(ends), count)
    return CompressionLoss(measured, LossBasis.LABELS, count, flips, labelled, lost, won)


def exceeds(loss: CompressionLoss, limit: float, alpha: float) -> bool:
    """Whether the loss is surely larger than `limit` (0 to 1): said of a version that loses no more with probability `alpha` at most,
    however often one looks.
    """
    if loss.basis is LossBasis.FLIPS or not loss.labelled:
        return False
    needed, equal = -math.log(alpha), float(loss.pairs - loss.lost - loss.won)
    if loss.labelled < loss.flips:  # labelled flips stand for as many rows as flips are frequent, at least
        least = rate_interval(float(loss.flips), float(loss.pairs), alpha / 2)[0]
        equal = loss.labelled / max(least, 1e-9) - loss.lost - loss.won
        needed = -math.log(alpha / 2)
    bets = _BETS / (1.0 + max(limit, 0.0))
    wealth = loss.lost * np.log1p(bets * (1.0 - limit)) + loss.won * np.log1p(-bets * (1.0 + limit)) + equal * np.log1p(-bets * limit)
    top = float(wealth.max())
    return top + math.log(float(np.exp(wealth - top).mean())) >= needed


def bounded_loss(pairs: int, flips: int) -> CompressionLoss:
    """Return what the number of differing answers alone says: the loss is no larger, either way."""
    if not pairs:
        return CompressionLoss(NOTHING, LossBasis.FLIPS, 0, 0, 0)
    bound = wilson(flips / pairs, pairs)[1]
    return CompressionLoss(Measured(math.nan, -bound, bound, pairs), LossBasis.FLIPS, pairs, flips, 0)


def _both_right(compressed: Array, right: Array, differs: Array, count: int) -> int:
    """Return how many rows both have right: those with labels among the equal ones, brought up to all of them."""
    known = ~differs & ~np.isnan(right)
    share = float((compressed[known] == right[known]).mean()) if known.any() else 0.5
    return round(share * (count - int(differs.sum())))


def _paired(lost: int, won: int, both: int, count: int) -> Measured:
    """Return (lost - won) / count with Newcombe's interval for paired shares (method 8)."""
    neither = count - lost - won - both
    first, second = (both + lost) / count, (both + won) / count
    low_1, high_1 = wilson(first, count)
    low_2, high_2 = wilson(second, count)
    size = (both + lost) * (won + neither) * (both + won) * (lost + neither)
    phi = 0.0 if size == 0 else (both * neither - lost * won) / math.sqrt(size)
    value = first - second

    def root(one: float, two: float) -> float:
        return math.sqrt(max(one**2 - 2.0 * phi * one * two + two**2, 0.0))

    low = value - root(first - low_1, high_2 - second)
    high = value + root(high_1 - first, second - low_2)
    return Measured(value, low, high, count)
