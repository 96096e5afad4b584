"""The small XGBoost model of tests/data/trees, to be changed in tests, and what XGBoost 3.2 answered to its rows."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parents[2] / "data" / "trees"
JSON, UBJ = ((FOLDER / f"xgboost.{kind}").read_bytes() for kind in ("json", "ubj"))
DOCUMENT: dict[str, Any] = json.loads(JSON)


def answers() -> dict[str, np.ndarray]:
    """Rows `x`, with the `margin` and the `probability` that XGBoost gives them."""
    with np.load(FOLDER / "xgboost.npz") as archive:
        return {name: archive[name] for name in archive.files}


def document() -> dict[str, Any]:
    """A copy that a test may change."""
    return copy.deepcopy(DOCUMENT)


def forest(model: dict[str, Any]) -> dict[str, Any]:
    """The part with the trees."""
    found: dict[str, Any] = model["learner"]["gradient_booster"]["model"]
    return found


def tree(model: dict[str, Any], number: int = 0) -> dict[str, Any]:
    """One of its trees."""
    found: dict[str, Any] = forest(model)["trees"][number]
    return found


def encoded(model: dict[str, Any]) -> bytes:
    """As XGBoost writes JSON: names as they are, no \\u."""
    return json.dumps(model, ensure_ascii=False, separators=(",", ":")).encode()
