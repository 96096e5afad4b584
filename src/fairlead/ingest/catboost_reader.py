"""Reads CatBoost's own model files (.cbm) with a parser of our own; CatBoost is not needed and never sees the file here.

Takes the sandbox job's arguments; leaves the trees as data in scratch and gives interface, facts and notes. Raises SourceError for damage,
UnsupportedError by name for categorical, text and embedding features and for losses whose answer is not one number or one class.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fairlead.core.artifact import ArtifactForm
from fairlead.core.dtype import DType
from fairlead.core.interface import Decision, DecisionKind, Interface, Label, Task, TensorSpec
from fairlead.core.tree_ensemble import Split, TreeEnsemble
from fairlead.engines.tree_ensemble_file import TREES_FILE, write_tree_ensemble
from fairlead.engines.tree_ensemble_outputs import LABEL, PREDICTION, PROBABILITIES
from fairlead.security.catboost_model import SIZE_LIMIT_BYTES, parse_catboost
from fairlead.security.catboost_trees import Answers, answers_of, ensemble_of
from fairlead.stores.document import to_plain

_RANKERS = ("YetiRank", "PairLogit", "Query", "Stochastic", "LambdaMart")


def read_in_sandbox(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return form, file, interface, framework, facts and notes of the model in `arguments["path"]`."""
    with Path(arguments["path"]).open("rb") as file:
        model = parse_catboost(file.read(SIZE_LIMIT_BYTES + 1))
    answers, ensemble = answers_of(model), ensemble_of(model)
    write_tree_ensemble(Path(arguments["scratch"]) / TREES_FILE, ensemble)
    notes = ["ranks rows: the prediction is a score, larger is better"] if answers.loss.startswith(_RANKERS) else []
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
    if answers.labels:
        outputs = (
            TensorSpec(LABEL, _label_type(answers.labels), (None,)),
            TensorSpec(PROBABILITIES, DType.FP64, (None, len(answers.labels))),
        )
        decision = Decision(DecisionKind.LABEL, LABEL, scores=PROBABILITIES)
        return Interface(inputs, outputs, Task.CLASSIFICATION, decision, labels=answers.labels)
    prediction = TensorSpec(PREDICTION, DType.FP64, (None, ensemble.output_count))
    return Interface(inputs, (prediction,), Task.REGRESSION, Decision(DecisionKind.VALUE, PREDICTION))


def _label_type(labels: tuple[Label, ...]) -> DType:
    return {str: DType.BYTES, bool: DType.BOOL, int: DType.INT64, float: DType.FP64}[type(labels[0])]


def _facts(ensemble: TreeEnsemble, answers: Answers) -> dict[str, int | float | str]:
    leaves = int((ensemble.splits == Split.LEAF).sum())
    facts: dict[str, int | float | str] = {
        "estimator": "CatBoost",
        "objective": answers.loss,
        "feature_count": ensemble.feature_count,
        "tree_count": ensemble.tree_count,
        "leaf_count": leaves,
        "parameter_count": leaves * ensemble.leaf_values.shape[1] + ensemble.node_count - leaves,
        "accepts_missing": 1,
    }
    if answers.labels:
        facts["class_count"] = len(answers.labels)
    return facts


def inspect_in_sandbox(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the reader returns: its parser opens nothing but data."""
    return read_in_sandbox(arguments)
