"""Whether a loss by compression is larger than promised: told soon where it is, nearly never where it is not, however often one looks."""

import numpy as np
import pytest

from fairlead.core.outcome import CompressionLoss, LossBasis, Measured
from fairlead.monitor.quality.compression import bounded_loss, exceeds

LIMIT, ALPHA = 0.01, 0.01
LOOKS = np.arange(250, 20_001, 250)


def first_told(lost: float, won: float, seed: int, labels: float = 1.0) -> int:
    """Return after how many rows a loss of `lost` - `won` is told; 0: never within 20,000."""
    random = np.random.default_rng(seed)
    kinds = random.choice(3, int(LOOKS[-1]), p=[lost, won, 1.0 - lost - won])
    has_label = random.random(len(kinds)) < labels
    for count in LOOKS:
        part, known = kinds[:count], has_label[:count]
        flips = part < 2
        found = CompressionLoss(
            Measured(lost - won, 0.0, 1.0, int(count)),
            LossBasis.LABELS,
            int(count),
            int(flips.sum()),
            int((flips & known).sum()),
            int((known & (part == 0)).sum()),
            int((known & (part == 1)).sum()),
        )
        if exceeds(found, LIMIT, ALPHA):
            return int(count)
    return 0


@pytest.mark.parametrize("labels", [1.0, 0.2])
def test_a_loss_that_is_just_allowed_is_hardly_ever_told_in_eighty_looks(labels: float) -> None:
    assert sum(first_told(0.02, 0.01, seed, labels) > 0 for seed in range(100)) <= 3  # one is expected, at most


def test_a_larger_loss_is_told_within_some_thousand_rows() -> None:
    told = [first_told(0.06, 0.02, seed) for seed in range(30)]
    assert 0 not in told
    assert np.median(told) <= 2000


def test_with_few_labels_it_takes_longer_and_is_told_all_the_same() -> None:
    told = [first_told(0.06, 0.02, seed, 0.2) for seed in range(20)]
    assert 0 not in told


def test_without_labels_nothing_is_told_whatever_differs() -> None:
    assert not exceeds(bounded_loss(1000, 500), LIMIT, ALPHA)


def test_a_gain_and_a_loss_of_nothing_are_no_loss() -> None:
    gained = CompressionLoss(Measured(-0.1, -0.2, 0.0, 5000), LossBasis.LABELS, 5000, 500, 500, 0, 500)
    same = CompressionLoss(Measured(0.0, 0.0, 0.0, 5000), LossBasis.LABELS, 5000, 0, 0)
    assert not exceeds(gained, LIMIT, ALPHA)
    assert not exceeds(same, 0.0, ALPHA)
