"""Estimated explanations beside exact ones: do they add up, and do their bounds hold?

    python benchmarks/explain/sampled.py [--write docs/reference/explaining.md] [--rows 1000]

Four models of eight columns of scikit-learn's diabetes data, 1,000 rows that are drawn from it with noise, 20 background rows. Exact values
come from trying all 256 sets. A row's bounds hold where every weight is within its own. Exits with 1 where they hold in less than 95 % of
rows, or where weights and mean are further than 0.001 from the answer. With --write, puts the table between `<!-- sampled -->`. Needs
scikit-learn.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path.append(str(Path(__file__).resolve().parents[1] / "optimize"))

import numpy as np
from results import publish
from sklearn.datasets import load_diabetes
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPRegressor
from sklearn.svm import SVR

from fairlead.core.dtype import DType
from fairlead.core.explanation import Subject
from fairlead.core.interface import Array, Decision, DecisionKind, Interface, Task, TensorSpec
from fairlead.explain.game import Game
from fairlead.explain.hiding import hiding_of
from fairlead.explain.shapley import Budget, enumerate_shapley, sample_shapley

FEATURES, BACKGROUND, PAIRS = 8, 20, (16, 64, 256)
ADDITIVE, HELD = 1e-3, 0.95
SUBJECT = Subject("y", 0, "y")


class Estimator:
    """A function of rows as an engine."""

    description = "scikit-learn"

    def __init__(self, predict: Callable[[Array], Array]) -> None:
        self.interface = Interface(
            (TensorSpec("x", DType.FP64, (None, FEATURES)),),
            (TensorSpec("y", DType.FP64, (None, 1)),),
            Task.REGRESSION,
            Decision(DecisionKind.VALUE, "y"),
        )
        self._predict = predict

    def run(self, inputs: Any, outputs: Any = ()) -> dict[str, Array]:
        """Return the estimator's answer."""
        del outputs
        return {"y": np.asarray(self._predict(inputs["x"]), dtype=np.float64).reshape(-1, 1)}

    def close(self) -> None:
        """Hold nothing."""


def data() -> tuple[Array, Array]:
    """Return standardized columns, and the standardized target."""
    rows, target = load_diabetes(return_X_y=True)
    rows = rows[:, :FEATURES]
    return (rows - rows.mean(axis=0)) / rows.std(axis=0), (target - target.mean()) / target.std()


def models() -> dict[str, Estimator]:
    """Return the models, trained."""
    rows, target = data()
    logistic = LogisticRegression().fit(rows, target > 0)
    network = MLPRegressor(hidden_layer_sizes=(32, 32), max_iter=800, random_state=0).fit(rows, target)
    machine = SVR(C=10).fit(rows, target)
    forest = RandomForestRegressor(20, max_depth=5, random_state=0).fit(rows, target)
    return {
        "logistic regression, probability": Estimator(lambda x: logistic.predict_proba(x)[:, 1]),
        "network of 32 and 32": Estimator(network.predict),
        "support vectors, radial": Estimator(machine.predict),
        "random forest, 20 of depth 5": Estimator(forest.predict),
    }


def measure(title: str, engine: Estimator, row_count: int) -> tuple[list[str], bool]:
    """Return the table's lines of one model, and whether they hold."""
    random = np.random.default_rng(1)
    rows = data()[0]
    background = {"x": rows[random.permutation(len(rows))[:BACKGROUND]]}
    drawn = rows[random.integers(0, len(rows), row_count)] + 0.3 * random.normal(size=(row_count, FEATURES))
    games = [Game(engine, hiding_of(engine.interface, {"x": row[np.newaxis]}, background), SUBJECT) for row in drawn]
    exact = [enumerate_shapley(game).weights for game in games]
    lines, holds = [], True
    for pairs in PAIRS:
        began = time.process_time()
        found = [sample_shapley(game, Budget(lambda: 0.0, pair_limit=pairs), seed) for seed, game in enumerate(games)]
        each_ms = (time.process_time() - began) / row_count * 1e3
        off = np.abs(np.stack([one.weights for one in found]) - np.stack(exact))
        bounds = np.stack([one.bounds for one in found])
        held = float((off <= bounds + 1e-12).all(axis=1).mean())
        gap = max(abs(one.output - one.base - float(one.weights.sum())) for one in found)
        spread = float(np.ptp([one.output for one in found]))
        lines.append(
            f"| {title} | {pairs} | {held:.1%} | {gap:.0e} | {off.mean() / spread:.2%} | {bounds.mean() / spread:.2%} | {each_ms:.1f} |"
        )
        print(lines[-1], file=sys.stderr)
        holds &= held >= HELD and gap <= ADDITIVE
    return lines, holds


def main() -> int:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", type=Path)
    parser.add_argument("--rows", type=int, default=1000)
    arguments = parser.parse_args()
    lines = [
        "| model | pairs of orders | rows whose bounds hold | gap | mean error | mean bound | ms a row |",
        "|---|---|---|---|---|---|---|",
    ]
    holds = True
    for title, engine in models().items():
        found, is_good = measure(title, engine, arguments.rows)
        lines += found
        holds &= is_good
    sizes = f"{arguments.rows:,} rows, {FEATURES} features, {BACKGROUND} background rows"
    said = f"{sizes}; error and bound in per cent of the answers' range; processor time."
    text = "\n".join([*lines, "", said])
    publish("sampled", text, arguments.write)
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
