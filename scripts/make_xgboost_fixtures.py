"""Make tests/data/trees/xgboost.{json,ubj,npz}: a small XGBoost model with gaps and categories, and what XGBoost answers.

python scripts/make_xgboost_fixtures.py      (needs the extra xgboost)
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xgboost

FOLDER = Path(__file__).parents[1] / "tests" / "data" / "trees"
ROWS = 200


def main() -> None:
    """Train, save both forms, and keep rows with margins and probabilities."""
    random = np.random.default_rng(0)
    rows = random.normal(size=(ROWS, 3)).astype(np.float32)
    rows[:, 2] = random.integers(0, 9, ROWS)
    rows[random.random(ROWS) < 0.2, 1] = np.nan
    options = {"feature_types": ["q", "q", "c"], "feature_names": ["width", "größe", "kind"], "enable_categorical": True}
    target = (np.nan_to_num(rows[:, 1]) + rows[:, 0] + (rows[:, 2] % 3 == 0) > 0.4).astype(int)
    parameters = {"objective": "binary:logistic", "max_depth": 3, "nthread": 1, "seed": 0, "max_cat_to_onehot": 2}
    booster = xgboost.train(parameters, xgboost.DMatrix(rows, target, **options), 6)
    for kind in ("json", "ubj"):
        booster.save_model(FOLDER / f"xgboost.{kind}")
    asked = xgboost.DMatrix(rows[:60], **options)
    np.savez(FOLDER / "xgboost.npz", x=rows[:60], margin=booster.predict(asked, output_margin=True), probability=booster.predict(asked))


if __name__ == "__main__":
    main()
