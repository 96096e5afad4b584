"""Two tree ensembles, saved by XGBoost in its own JSON: 300 boosted trees of depth 6, and a random forest of 200 trees of depth 12."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xgboost

ROWS, FEATURES = 4000, 64


def boosted_trees(folder: Path) -> Path:
    """300 trees of depth 6 on 64 features, binary."""
    model = xgboost.XGBClassifier(n_estimators=300, max_depth=6, n_jobs=1, random_state=0)
    return _fit(model, folder / "boosted-trees.json")


def random_forest(folder: Path) -> Path:
    """200 trees of depth 12 on 64 features, binary."""
    model = xgboost.XGBRFClassifier(n_estimators=200, max_depth=12, n_jobs=1, random_state=0)
    return _fit(model, folder / "random-forest.json")


def _fit(model: xgboost.XGBModel, path: Path) -> Path:
    random = np.random.default_rng(0)
    rows = random.normal(size=(ROWS, FEATURES)).astype(np.float32)
    noise = random.normal(size=ROWS)
    model.fit(rows, (rows[:, :8].prod(axis=1) + rows[:, 8:16].sum(axis=1) + noise > 0).astype(int))
    model.save_model(path)
    return path
