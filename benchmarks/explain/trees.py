"""Exact explanations of tree ensembles beside the reference library's: the same values to 1e-6, and how long 1,000 rows take.

    python benchmarks/explain/trees.py [--write docs/reference/explaining.md] [--rows 1000]

Models are trained on scikit-learn's digits (even or odd, 64 pixels); 100 background rows. The reference is `shap` with the same definition
(interventional). Beside it stand the times of its faster, other definition (by training counts, without background rows) and of the
boosting library's own contributions: processor seconds of one thread, the best of three, in turns. Exits with 1 where values differ by more
than 1e-6 or ours take longer. With --write, puts the table between the marks `<!-- trees -->`. Needs xgboost, lightgbm, scikit-learn, shap.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path.append(str(Path(__file__).resolve().parents[1] / "optimize"))

import lightgbm
import numpy as np
import shap
import xgboost
from results import publish
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier

from fairlead.core.dtype import DType
from fairlead.core.interface import Array
from fairlead.core.tree_ensemble import Split, TreeEnsemble
from fairlead.explain.tree_shapley import tree_shapley
from fairlead.security import lightgbm_text, lightgbm_trees, xgboost_model, xgboost_trees

BACKGROUND, ROUNDS, LIMIT = 100, 3, 1e-6


@dataclass(frozen=True)
class Case:
    """A trained model: as ours, as the reference takes it, and its library's own contributions of rows, where it has them."""

    trees: TreeEnsemble
    model: Any
    own: Callable[[Array], Any] | None


def data() -> tuple[Array, Array]:
    """Return the digits in drawn order, and whether each is odd."""
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.data))
    return digits.data[order].astype(np.float32), digits.target[order] % 2


def of_xgboost(estimator: Any) -> Case:
    rows, labels = data()
    booster = estimator.fit(rows[:797], labels[:797]).get_booster()
    trees = xgboost_trees.ensemble_of(xgboost_model.parse_xgboost(bytes(booster.save_raw("ubj"))))
    return Case(trees, estimator, lambda some: booster.predict(xgboost.DMatrix(some, nthread=1), pred_contribs=True))


def of_lightgbm(estimator: Any) -> Case:
    rows, labels = data()
    booster = estimator.fit(rows[:797].astype(np.float64), labels[:797]).booster_
    trees = lightgbm_trees.ensemble_of(lightgbm_text.parse_lightgbm(booster.model_to_string().encode()))
    return Case(trees, estimator, lambda some: booster.predict(some, pred_contrib=True, num_threads=1))


def of_forest(estimator: Any) -> Case:
    rows, labels = data()
    estimator.fit(rows[:797], labels[:797])
    parts = [tree.tree_ for tree in estimator.estimators_]
    starts = np.cumsum([0, *(part.node_count for part in parts)])
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in ("children_left", "children_right", "threshold")}
    features, values = (np.concatenate([getattr(part, name) for part in parts]) for name in ("feature", "value"))
    inner = joined["children_left"] >= 0
    offsets = np.repeat(starts[:-1], np.diff(starts))
    count = int(starts[-1])
    trees = TreeEnsemble(
        feature_count=64,
        output_count=2,
        roots=starts[:-1].astype(np.int32),
        groups=np.zeros(len(parts), np.int32),
        splits=np.where(inner, Split.LESS_OR_EQUAL, Split.LEAF).astype(np.uint8),
        features=np.where(inner, features, 0).astype(np.int32),
        thresholds=np.where(inner, joined["threshold"], 0.0),
        left=np.where(inner, joined["children_left"] + offsets, 0).astype(np.int32),
        right=np.where(inner, joined["children_right"] + offsets, 0).astype(np.int32),
        missing=np.zeros(count, np.uint8),
        missing_left=np.zeros(count, np.bool_),
        leaf_values=np.where(inner[:, np.newaxis], 0.0, values[:, 0, :]),
        base=np.zeros(2),
        category_offsets=np.zeros(count + 1, np.int32),
        category_values=np.zeros(0, np.int32),
        unknown_category_left=np.zeros(count, np.bool_),
        compare_dtype=DType.FP64,
        sum_dtype=DType.FP64,
        is_averaged=True,
    )
    trees.check()
    return Case(trees, estimator, None)


CASES: dict[str, Callable[[], Case]] = {
    "XGBoost, 100 trees of depth 6": lambda: of_xgboost(xgboost.XGBClassifier(n_estimators=100, max_depth=6, n_jobs=1, random_state=0)),
    "XGBoost, 500 trees of depth 3": lambda: of_xgboost(xgboost.XGBClassifier(n_estimators=500, max_depth=3, n_jobs=1, random_state=0)),
    "LightGBM, 100 trees of 31 leaves": lambda: of_lightgbm(
        lightgbm.LGBMClassifier(n_estimators=100, n_jobs=1, random_state=0, verbose=-1)
    ),
    "scikit-learn forest, 100 full-grown trees": lambda: of_forest(RandomForestClassifier(100, random_state=0)),
}


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Return the processor seconds of a call, and what it gave."""
    began = time.process_time()
    found = call()
    return time.process_time() - began, found


def measure(title: str, row_count: int, rounds: int) -> tuple[str, bool]:
    """Return the table's line of one model, and whether it holds."""
    case = CASES[title]()
    rows = data()[0]
    rows, background = rows[797 : 797 + row_count], rows[:BACKGROUND]
    exact = shap.TreeExplainer(case.model, data=background, feature_perturbation="interventional", model_output="raw")
    counted = shap.TreeExplainer(case.model, feature_perturbation="tree_path_dependent")
    contestants = {
        "ours": lambda: tree_shapley(case.trees, rows, background).weights[:, :, -1],
        "reference": lambda: exact.shap_values(rows, check_additivity=False),
        "other": lambda: counted.shap_values(rows, check_additivity=False),
    }
    if case.own is not None:
        own = case.own
        contestants["own"] = lambda: own(rows)
    times = dict.fromkeys(contestants, np.inf)
    values = {}
    for _ in range(rounds):
        for name, call in contestants.items():
            seconds, values[name] = timed(call)
            times[name] = min(times[name], seconds)
    theirs = np.asarray(values["reference"])
    theirs = theirs[..., 1] if theirs.ndim == 3 else theirs
    off = float(np.abs(values["ours"] - theirs).max())
    cells = " | ".join(f"{times[name]:.2f}" if name in times else "" for name in ("ours", "reference", "other", "own"))
    line = f"| {title} | {off:.1e} | {cells} | {times['reference'] / times['ours']:.1f} |"
    return line, off <= LIMIT and times["ours"] <= times["reference"]


def main() -> int:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", type=Path)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--only", default="", help="models whose names hold this")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    arguments = parser.parse_args()
    lines = [
        "| model | largest difference | Fairlead, s | shap, s | shap by counts, s | the library's own, s | times shap |",
        "|---|---|---|---|---|---|---|",
    ]
    holds = True
    for title in CASES:
        if arguments.only in title:
            line, is_good = measure(title, arguments.rows, arguments.rounds)
            print(line, file=sys.stderr)
            lines.append(line)
            holds &= is_good
    count = f"{arguments.rows:,}"
    text = "\n".join([*lines, "", f"{count} rows, {BACKGROUND} background rows, 64 features; processor seconds of one thread."])
    publish("trees", text, arguments.write)
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
