"""XGBoost's own state in estimator files: not read. Raises UnsupportedError, and so keeps unchecked bytes from XGBoost."""

from __future__ import annotations

from fairlead.core.tree_ensemble import TreeEnsemble
from fairlead.errors import UnsupportedError

_REFUSAL = UnsupportedError(
    "XGBoost estimators in pickle, joblib and skops files are not read.", hint="Save the booster itself: model.save_model('model.json')."
)


def check_state(_: bytes) -> None:
    """Refuse."""
    raise _REFUSAL


def ensemble_of_model(_: bytes, *, round_count: int | None) -> TreeEnsemble:
    """Refuse."""
    del round_count
    raise _REFUSAL
