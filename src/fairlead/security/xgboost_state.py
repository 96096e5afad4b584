"""XGBoost's state in estimator files: UBJSON of its configuration and its model, checked before XGBoost restores it.

Takes bytes; gives nothing (`check_state`) or the trees of a booster's own dump (`ensemble_of_model`). Raises SourceError for damage,
UnsupportedError by name for boosters that are no trees.
"""

from __future__ import annotations

from fairlead.core.tree_ensemble import TreeEnsemble
from fairlead.security.xgboost_model import damaged, decode_xgboost, model_of, parse_xgboost
from fairlead.security.xgboost_trees import ensemble_of

_PARTS = {"Config", "Model"}


def check_state(data: bytes) -> None:
    """Raise unless `data` is what Booster.__getstate__ gives, with trees that keep their law."""
    state = decode_xgboost(data)
    if state.keys() != _PARTS or not all(isinstance(part, dict) for part in state.values()):
        raise damaged("its state is not a configuration and a model")
    ensemble_of(model_of(state["Model"]))


def ensemble_of_model(data: bytes, *, round_count: int | None) -> TreeEnsemble:
    """Return the trees of `Booster.save_raw("ubj")`; of the first rounds where training was stopped early."""
    return ensemble_of(parse_xgboost(data), round_count=round_count)
