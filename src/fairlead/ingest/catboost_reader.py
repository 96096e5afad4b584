"""Reads CatBoost's own model files (.cbm) with a parser of our own; CatBoost is not needed and never sees the file here.

Takes the sandbox job's arguments; leaves the trees as data in scratch and gives interface, facts and notes. A model that takes categories
stays the file that it is. Raises SourceError for damage, UnsupportedError by name for text and embedding features and for losses whose
answer is not one number or one class.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fairlead.core.artifact import ArtifactForm
from fairlead.core.dtype import DType
from fairlead.core.interface import Decision, DecisionKind, Interface, Label, Task, TensorSpec, shorten
from fairlead.core.tree_ensemble import Split, TreeEnsemble
from fairlead.engines.tree_ensemble_file import TREES_FILE, write_tree_ensemble
from fairlead.engines.tree_ensemble_outputs import LABEL, PREDICTION, PROBABILITIES
from fairlead.security.catboost_model import SIZE_LIMIT_BYTES, CatBoostModel, parse_catboost
from fairlead.security.catboost_trees import Answers, answers_of, ensemble_of
from fairlead.stores.document import to_plain

_RANKERS = ("YetiRank", "PairLogit", "Query", "Stochastic", "LambdaMart")
_SHOWN_COLUMNS = 12


def read_in_sandbox(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return form, file, interface, framework, facts and notes of the model in `arguments["path"]`."""
    with Path(arguments["path"]).open("rb") as file:
        model = parse_catboost(file.read(SIZE_LIMIT_BYTES + 1))
    answers = answers_of(model)
    notes = ["ranks rows: the prediction is a score, larger is better"] if answers.loss.startswith(_RANKERS) else []
    if model.categories.columns:
        return {
            "form": ArtifactForm.BOOSTER_FILE.value,
            "interface": to_plain(_interface(category_inputs(model), answers, model.dimension)),
            "framework": "CatBoost",
            "facts": _category_facts(model, answers),
            "notes": [*_category_notes(model), *notes],
        }
    ensemble = ensemble_of(model)
    write_tree_ensemble(Path(arguments["scratch"]) / TREES_FILE, ensemble)
    return {
        "form": ArtifactForm.TREE_ENSEMBLE.value,
        "file": TREES_FILE,
        "interface": to_plain(describe(ensemble, answers)),
        "framework": "CatBoost",
        "facts": _facts(ensemble, answers),
        "notes": notes,
    }


def describe(ensemble: TreeEnsemble, answers: Answers) -> Interface:
    """Return what the model takes and gives."""
    inputs = (TensorSpec("x", DType.FP32, (None, ensemble.feature_count), ensemble.feature_names),)
    return _interface(inputs, answers, ensemble.output_count)


def category_inputs(model: CatBoostModel) -> tuple[TensorSpec, ...]:
    """Return an input for each column: numbers as they are, categories as text; one table where all are categories without names."""
    categories = {category.column: category.name for category in model.categories.columns}
    names = {feature.column: feature.name for feature in model.features} | categories
    listed = [names.get(column, "") for column in range(model.column_count)]
    made_up = [str(column) for column in range(model.column_count)]
    has_names = all(listed) and len(set(listed)) == len(listed) and listed != made_up
    if not has_names and len(categories) == model.column_count:
        return (TensorSpec("x", DType.BYTES, (None, model.column_count), is_category=True),)
    return tuple(
        TensorSpec(name, DType.BYTES if column in categories else DType.FP32, (None, 1), (name,), is_category=column in categories)
        for column, name in enumerate(listed if has_names else [f"x{number}" for number in made_up])
    )


def _interface(inputs: tuple[TensorSpec, ...], answers: Answers, output_count: int) -> Interface:
    if answers.labels:
        outputs = (
            TensorSpec(LABEL, _label_type(answers.labels), (None,)),
            TensorSpec(PROBABILITIES, DType.FP64, (None, len(answers.labels))),
        )
        decision = Decision(DecisionKind.LABEL, LABEL, scores=PROBABILITIES)
        return Interface(inputs, outputs, Task.CLASSIFICATION, decision, labels=answers.labels)
    prediction = TensorSpec(PREDICTION, DType.FP64, (None, output_count))
    return Interface(inputs, (prediction,), Task.REGRESSION, Decision(DecisionKind.VALUE, PREDICTION))


def _label_type(labels: tuple[Label, ...]) -> DType:
    return {str: DType.BYTES, bool: DType.BOOL, int: DType.INT64, float: DType.FP64}[type(labels[0])]


def _facts(ensemble: TreeEnsemble, answers: Answers) -> dict[str, int | float | str]:
    leaves = int((ensemble.splits == Split.LEAF).sum())
    return {
        **_common_facts(answers),
        "feature_count": ensemble.feature_count,
        "tree_count": ensemble.tree_count,
        "leaf_count": leaves,
        "parameter_count": leaves * ensemble.leaf_values.shape[1] + ensemble.node_count - leaves,
    }


def _common_facts(answers: Answers) -> dict[str, int | float | str]:
    facts: dict[str, int | float | str] = {"estimator": "CatBoost", "objective": answers.loss, "accepts_missing": 1}
    if answers.labels:
        facts["class_count"] = len(answers.labels)
    return facts


def _category_facts(model: CatBoostModel, answers: Answers) -> dict[str, int | float | str]:
    return {
        **_common_facts(answers),
        "feature_count": model.column_count,
        "category_column_count": len(model.categories.columns),
        "tree_count": len(model.sizes),
        "leaf_count": len(model.leaf_values) // model.dimension,
        "parameter_count": len(model.leaf_values) + len(model.splits),
    }


def _category_notes(model: CatBoostModel) -> list[str]:
    columns = model.categories.columns
    named = ", ".join(shorten(item.name) or str(item.column) for item in columns[:_SHOWN_COLUMNS])
    return [
        f"takes categories as text, or as whole numbers (3 is '3'), in: {named}{', ...' if len(columns) > _SHOWN_COLUMNS else ''}",
        "CatBoost hashes categories: one that it was not trained on is answered without an error, as it does",
    ]


def inspect_in_sandbox(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the reader returns: its parser opens nothing but data."""
    return read_in_sandbox(arguments)
