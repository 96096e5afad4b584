from dataclasses import replace

import numpy as np
import pytest
from live import labelled
from numpy.random import Generator

from fairlead.core.outcome import LabelledRows, LossBasis, Reliability
from fairlead.monitor.quality.compression import bounded_loss, measured_loss
from fairlead.monitor.quality.reliability import estimate, learn
from fairlead.monitor.quality.support import distances, learn_support


def answers(random: Generator, count: int, *, sure: float = 2.0, honesty: float = 1.0) -> LabelledRows:
    """Answers whose chance to be right is their confidence to the power of 1 / honesty: 1 is calibrated."""
    confidence = random.beta(sure, 1.0, count) * 0.5 + 0.5
    is_right = random.random(count) < confidence ** (1.0 / honesty)
    said = random.integers(0, 4, count)
    return labelled(np.where(is_right, said, (said + 1) % 4), said, confidence=confidence)


@pytest.fixture(scope="module")
def learned() -> Reliability:
    found = learn(answers(np.random.default_rng(0), 4000))
    assert found is not None
    return found


def true_accuracy(rows: LabelledRows) -> float:
    return float((rows.right == rows.said).mean())


def unlabelled(rows: LabelledRows) -> LabelledRows:
    return replace(rows, is_labelled=np.zeros(rows.count, bool))


@pytest.mark.parametrize("sure", [1.0, 2.0, 8.0])
def test_accuracy_is_estimated_for_other_proportions_of_sure_answers(learned: Reliability, sure: float) -> None:
    rows = answers(np.random.default_rng(1), 8000, sure=sure)
    found = estimate(learned, unlabelled(rows))
    assert found.is_sound
    assert abs(found.accuracy.value - true_accuracy(rows)) < 0.02
    assert found.accuracy.low <= true_accuracy(rows) <= found.accuracy.high


def test_where_the_release_had_few_such_rows_the_interval_says_so(learned: Reliability) -> None:
    rows = answers(np.random.default_rng(1), 8000, sure=0.5)
    found = estimate(learned, unlabelled(rows)).accuracy
    assert found.low <= true_accuracy(rows) <= found.high
    assert found.high - found.low > 0.05


def test_confidences_need_not_be_honest_if_they_were_not_at_release_either() -> None:
    learned = learn(answers(np.random.default_rng(2), 4000, honesty=0.4))
    assert learned is not None
    rows = answers(np.random.default_rng(3), 6000, sure=1.0, honesty=0.4)
    assert abs(estimate(learned, unlabelled(rows)).accuracy.value - true_accuracy(rows)) < 0.02


def test_labels_that_contradict_the_estimate_break_its_assumption(learned: Reliability) -> None:
    drifted = answers(np.random.default_rng(4), 4000, honesty=0.3)
    found = estimate(learned, drifted)
    assert not found.is_sound
    assert "labels say" in found.doubts[0]
    assert estimate(learned, answers(np.random.default_rng(5), 4000)).is_sound


def test_rows_unlike_those_of_the_release_break_its_assumption() -> None:
    random = np.random.default_rng(6)
    known = random.normal(size=(2000, 6))
    support = learn_support(known)
    learned = learn(answers(random, 2000), support)
    assert learned is not None
    rows = unlabelled(answers(random, 1000))
    near, far = random.normal(size=(1000, 6)), random.normal(size=(1000, 6)) * 3 + 2
    assert estimate(learned, rows, near).is_sound
    strange = estimate(learned, rows, far)
    assert "unlike those of the release" in strange.doubts[0]
    assert strange.novel > 0.5


def test_where_live_rows_lie_corrects_what_confidence_cannot_know() -> None:
    random = np.random.default_rng(11)

    def draw(count: int, shift: float) -> tuple[np.ndarray, LabelledRows]:
        rows = random.normal(size=(count, 3)) + np.array([shift, 0.0, 0.0])
        is_right = random.random(count) < 1.0 / (1.0 + np.exp(-1.5 - rows[:, 0]))  # the confidence says nothing of it
        said = random.integers(0, 3, count)
        return rows, labelled(np.where(is_right, said, (said + 1) % 3), said, confidence=random.uniform(0.6, 0.9, count))

    known, answered = draw(2000, 0.0)
    learned = learn(answered, learn_support(known), known)
    assert learned is not None
    live, rows = draw(2000, -0.7)
    plain, moved = estimate(learned, unlabelled(rows)), estimate(learned, unlabelled(rows), live)
    assert plain.accuracy.value - true_accuracy(rows) > 0.05
    assert abs(moved.accuracy.value - true_accuracy(rows)) < 0.03
    assert moved.is_sound
    elsewhere = estimate(learned, unlabelled(rows), live - [3.0, 0.0, 0.0])
    assert any("hardly lie" in doubt for doubt in elsewhere.doubts)


def test_a_release_whose_rows_are_in_order_is_known_by_all_of_them() -> None:
    random = np.random.default_rng(13)
    known = random.normal(size=(6000, 3))
    known = known[known[:, 0].argsort()]
    learned = learn(answers(random, 6000), learn_support(known), known)
    assert learned is not None
    live = random.normal(size=(2000, 3))
    assert estimate(learned, unlabelled(answers(random, 2000)), live).doubts == ()


def test_confidences_that_are_all_alike_are_no_error() -> None:
    random = np.random.default_rng(12)
    rows = labelled(random.integers(0, 2, 500), np.zeros(500), confidence=np.ones(500))
    learned = learn(rows)
    assert learned is not None
    assert estimate(learned, unlabelled(rows)).accuracy.value == pytest.approx(true_accuracy(rows), abs=0.02)


def test_a_value_that_never_varied_and_does_now_is_strange() -> None:
    random = np.random.default_rng(7)
    known = np.c_[random.normal(size=(1000, 3)), np.zeros(1000)]
    support = learn_support(known)
    assert support is not None
    usual = (distances(support, known) > support.limit).mean()
    moved = (distances(support, np.c_[random.normal(size=(1000, 3)), np.full(1000, 30.0)]) > support.limit).mean()
    assert usual < 0.03
    assert moved == 1.0


def test_missing_values_are_no_strangers() -> None:
    known = np.random.default_rng(8).normal(size=(1000, 3))
    support = learn_support(known)
    assert support is not None
    gaps = np.where(np.random.default_rng(9).random(known.shape) < 0.3, np.nan, known)
    assert (distances(support, gaps) > support.limit).mean() < 0.05


def test_doubts_of_others_are_believed(learned: Reliability) -> None:
    assert not estimate(learned, unlabelled(answers(np.random.default_rng(1), 100)), doubts=["age moved"]).is_sound


def test_few_rows_teach_nothing_and_nothing_is_estimated_of_nothing(learned: Reliability) -> None:
    assert learn(answers(np.random.default_rng(0), 99)) is None
    assert learn_support(np.zeros((50, 2))) is None
    none = labelled(np.zeros(5), np.zeros(5))
    assert not estimate(learned, none).is_sound


def test_a_class_that_is_worse_than_the_others_is_known_as_such() -> None:
    random = np.random.default_rng(10)
    said = random.integers(0, 2, 6000)
    confidence = random.uniform(0.5, 1.0, 6000)
    is_right = random.random(6000) < np.where(said == 0, 0.95, 0.55)
    learned = learn(labelled(np.where(is_right, said, 1 - said), said, confidence=confidence))
    assert learned is not None
    for said, accuracy in ((0.0, 0.95), (1.0, 0.55)):
        rows = labelled(np.zeros(500), np.full(500, said), confidence=random.uniform(0.5, 1.0, 500))
        assert estimate(learned, unlabelled(rows)).accuracy.value == pytest.approx(accuracy, abs=0.06)


def pair(random: Generator, count: int, lost: float, won: float, labels: float = 1.0) -> tuple[np.ndarray, ...]:
    """Two models: the original right in 90 %; the compressed one loses `lost` and wins `won` of all rows."""
    right = random.integers(0, 5, count).astype(float)
    original = np.where(random.random(count) < 0.9, right, (right + 1) % 5)
    compressed = original.copy()
    draw = random.random(count)
    compressed[(original == right) & (draw < lost / 0.9)] += 1
    compressed[(original != right) & (draw < won / 0.1)] = right[(original != right) & (draw < won / 0.1)]
    compressed %= 5
    return compressed, original, np.where(random.random(count) < labels, right, np.nan)


@pytest.mark.parametrize("labels", [1.0, 0.3])
def test_an_injected_loss_lies_in_its_interval(labels: float) -> None:
    held = 0
    for seed in range(40):
        found = measured_loss(*pair(np.random.default_rng(seed), 3000, 0.03, 0.005, labels))
        assert found.basis is LossBasis.LABELS
        held += found.loss.low <= 0.025 <= found.loss.high
    assert held >= 35  # 38 are expected


def test_without_labels_the_loss_is_bounded_by_what_differs() -> None:
    compressed, original, right = pair(np.random.default_rng(1), 2000, 0.03, 0.005, 0.0)
    found = measured_loss(compressed, original, right)
    assert found.basis is LossBasis.FLIPS
    assert not found.loss.is_known
    assert -found.loss.low == found.loss.high > 0.03
    assert bounded_loss(0, 0).pairs == 0


def test_equal_answers_lose_nothing_labels_or_none() -> None:
    said = np.zeros(500)
    found = measured_loss(said, said, np.full(500, np.nan))
    assert (found.loss.value, found.flips) == (0.0, 0)
    assert found.loss.high < 0.02
