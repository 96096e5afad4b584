"""Reads LightGBM's model text (.txt) with a parser of our own; LightGBM is not needed and never sees the file here.

Takes the sandbox job's arguments; leaves the trees as data in scratch and gives interface, facts and notes. A model with linear leaves
stays the file that it is. Raises SourceError for damage, UnsupportedError for unknown objectives, and columns of categories whose codes the
file does not make plain.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fairlead.core.artifact import ArtifactForm
from fairlead.core.dtype import DType
from fairlead.core.interface import Decision, DecisionKind, Interface, Task, TensorSpec, shorten
from fairlead.core.tree_ensemble import Split, TreeEnsemble
from fairlead.engines.tree_ensemble_file import TREES_FILE, write_tree_ensemble
from fairlead.engines.tree_ensemble_outputs import LABEL, PREDICTION, PROBABILITIES
from fairlead.errors import UnsupportedError
from fairlead.security.lightgbm_linear import check_linear, has_linear_leaves
from fairlead.security.lightgbm_text import SIZE_LIMIT_BYTES, LightGbmText, parse_lightgbm
from fairlead.security.lightgbm_trees import ensemble_of
from fairlead.stores.document import to_plain

_CLASSIFIERS = frozenset({"binary", "multiclass", "multiclassova"})
_RANKERS = frozenset({"lambdarank", "rank_xendcg"})
_SHOWN_CATEGORIES = 12


def read_in_sandbox(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return form, file, interface, framework, facts and notes of the model in `arguments["path"]`."""
    with Path(arguments["path"]).open("rb") as file:
        model = parse_lightgbm(file.read(SIZE_LIMIT_BYTES + 1))
    interface = describe(model)
    notes = notes_of(model)
    if has_linear_leaves(model):
        check_linear(model)
        notes = ["its leaves hold linear models (linear_tree)", *notes]
        counts = {"leaf_count": sum(tree.leaf_count for tree in model.trees)}
        counts["parameter_count"] = sum(2 * tree.leaf_count - 1 + tree.array("leaf_coeff").size for tree in model.trees)
        return {
            "form": ArtifactForm.BOOSTER_FILE.value,
            "interface": to_plain(interface),
            "framework": "LightGBM",
            "facts": {**_common_facts(model), **counts},
            "notes": notes,
        }
    ensemble = ensemble_of(model)
    write_tree_ensemble(Path(arguments["scratch"]) / TREES_FILE, ensemble)
    return {
        "form": ArtifactForm.TREE_ENSEMBLE.value,
        "file": TREES_FILE,
        "interface": to_plain(interface),
        "framework": "LightGBM",
        "facts": facts_of(model, ensemble),
        "notes": notes,
    }


def describe(model: LightGbmText) -> Interface:
    """Return what the model takes and gives. Names that LightGBM made up (Column_0, ...) are none."""
    count = len(model.feature_names)
    made_up = tuple(f"Column_{number}" for number in range(count))
    columns = () if model.feature_names == made_up else model.feature_names
    inputs = (TensorSpec("x", DType.FP64, (None, count), columns),)
    if _objective(model) in _CLASSIFIERS:
        classes = max(2, model.outputs)
        outputs = (TensorSpec(LABEL, DType.INT64, (None,)), TensorSpec(PROBABILITIES, DType.FP64, (None, classes)))
        decision = Decision(DecisionKind.LABEL, LABEL, scores=PROBABILITIES)
        return Interface(inputs, outputs, Task.CLASSIFICATION, decision, labels=tuple(range(classes)))
    return Interface(
        inputs, (TensorSpec(PREDICTION, DType.FP64, (None, model.outputs)),), Task.REGRESSION, Decision(DecisionKind.VALUE, PREDICTION)
    )


def facts_of(model: LightGbmText, ensemble: TreeEnsemble) -> dict[str, int | float | str]:
    """Return plain numbers for planning and `inspect`."""
    leaves = int((ensemble.splits == Split.LEAF).sum())
    return {**_common_facts(model), "leaf_count": leaves, "parameter_count": leaves + int((ensemble.splits != Split.LEAF).sum())}


def _common_facts(model: LightGbmText) -> dict[str, int | float | str]:
    facts: dict[str, int | float | str] = {
        "estimator": "LightGBM random forest" if model.is_averaged else "LightGBM",
        "objective": shorten(" ".join(model.objective) or "custom", 100),
        "feature_count": len(model.feature_names),
        "tree_count": len(model.trees),
        "accepts_missing": 1,
    }
    if _objective(model) in _CLASSIFIERS:
        facts["class_count"] = max(2, model.outputs)
    return facts


def notes_of(model: LightGbmText) -> list[str]:
    """Return what a user has to know; raises UnsupportedError where the codes of categories could be taken for the categories."""
    notes = [f"column '{shorten(name)}' takes a category's number: {_coded(known)}" for name, known in _coded_columns(model)]
    if _objective(model) in _RANKERS:
        notes.append("ranks rows: the prediction is a score, larger is better")
    if _objective(model) in ("", "custom", "none"):
        notes.append("trained with an objective of its own: the prediction is the sum of the trees")
    return notes


def _objective(model: LightGbmText) -> str:
    return model.objective[0] if model.objective else ""


def _coded_columns(model: LightGbmText) -> list[tuple[str, tuple[object, ...]]]:
    """Columns that were categories of a data frame, with their categories in the order of their codes."""
    used = [known for known in model.categories if known != tuple(range(len(known)))]
    if not used:
        return []
    numbers = [number for number in model.category_columns if number < len(model.feature_names)]
    if len(numbers) != len(model.categories) or not all(isinstance(item, str) for known in used for item in known):
        raise UnsupportedError(
            "The LightGBM model was trained on categories of a data frame that are numbers, or whose columns the file does not name.",
            hint="Train it on their codes (frame[column].cat.codes), or as the last step of a Pipeline with an OrdinalEncoder.",
        )
    named = [(model.feature_names[number], known) for number, known in zip(numbers, model.categories, strict=True)]
    return [(name, known) for name, known in named if known in used]


def _coded(known: tuple[object, ...]) -> str:
    shown = ", ".join(f"{code} = {shorten(str(item), 30)}" for code, item in enumerate(known[:_SHOWN_CATEGORIES]))
    return shown + (f", ... ({len(known)} in all)" if len(known) > _SHOWN_CATEGORIES else "") + "; NaN for any other"
