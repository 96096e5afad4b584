"""Reads XGBoost's .json and .ubj with a parser of our own; XGBoost is not needed and never sees the file here.

Takes the sandbox job's arguments; leaves the trees as data in scratch and gives interface, facts and notes. A linear booster stays the file
that it is. Raises SourceError for damage, UnsupportedError for objectives that are not known.
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
from fairlead.engines.tree_ensemble_outputs import LABEL, PREDICTION, PROBABILITIES, SCORES
from fairlead.security.xgboost_model import SIZE_LIMIT_BYTES, XgboostModel, parse_xgboost
from fairlead.security.xgboost_trees import answering, ensemble_of
from fairlead.stores.document import to_plain

_PROBABLE = frozenset({"binary:logistic", "multi:softprob"})
_SEVERAL_LABELS = "binary:logistic"  # with several outputs: a probability for each label, of which any number may hold
_LABEL_ONLY = frozenset({"multi:softmax", "binary:hinge"})


def read_in_sandbox(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return form, file, interface, framework, facts and notes of the model in `arguments["path"]`."""
    with Path(arguments["path"]).open("rb") as file:
        model = parse_xgboost(file.read(SIZE_LIMIT_BYTES + 1))
    version = ".".join(map(str, model.version))
    common = {
        "interface": to_plain(describe(model)),
        "framework": f"XGBoost {version}" if version else "XGBoost",
        "notes": notes_of(model),
    }
    if model.linear is not None:
        answering(model)  # raises for objectives that are not known
        facts = {"estimator": "XGBoost linear", "feature_count": model.feature_count, "parameter_count": model.linear.size}
        return {"form": ArtifactForm.BOOSTER_FILE.value, "facts": {**facts, **_answer_facts(model)}, **common}
    trees = ensemble_of(model, round_count=model.best_round or None)
    write_tree_ensemble(Path(arguments["scratch"]) / TREES_FILE, trees)
    return {"form": ArtifactForm.TREE_ENSEMBLE.value, "file": TREES_FILE, "facts": facts_of(model, trees), **common}


def describe(model: XgboostModel) -> Interface:
    """Return what the model takes and gives: for a classifier what XGBClassifier's predict and predict_proba give."""
    inputs = (TensorSpec("x", DType.FP32, (None, model.feature_count), model.feature_names),)
    classes = max(2, model.output_count)
    label = TensorSpec(LABEL, DType.INT64, (None,))
    if model.objective == _SEVERAL_LABELS and model.output_count > 1:
        scores = TensorSpec(SCORES, DType.FP32, (None, model.output_count))
        rule = Decision(DecisionKind.THRESHOLD, SCORES, SCORES)
        return Interface(inputs, (scores,), Task.CLASSIFICATION, rule, tuple(range(model.output_count)))
    if model.objective in _PROBABLE:
        outputs: tuple[TensorSpec, ...] = (label, TensorSpec(PROBABILITIES, DType.FP32, (None, classes)))
        decision = Decision(DecisionKind.LABEL, LABEL, scores=PROBABILITIES)
        return Interface(inputs, outputs, Task.CLASSIFICATION, decision, tuple(range(classes)))
    if model.objective in _LABEL_ONLY:
        return Interface(inputs, (label,), Task.CLASSIFICATION, Decision(DecisionKind.LABEL, LABEL), tuple(range(classes)))
    if model.objective == "binary:logitraw":
        scores = TensorSpec(SCORES, DType.FP32, (None, 1))
        return Interface(inputs, (scores,), Task.CLASSIFICATION, Decision(DecisionKind.THRESHOLD, SCORES, SCORES, 0.0), (0, 1))
    values = TensorSpec(PREDICTION, DType.FP32, (None, model.output_count))
    return Interface(inputs, (values,), Task.REGRESSION, Decision(DecisionKind.VALUE, PREDICTION))


def facts_of(model: XgboostModel, trees: TreeEnsemble) -> dict[str, int | float | str]:
    """Return plain numbers for planning and `inspect`."""
    leaves = int((trees.splits == Split.LEAF).sum())
    return {
        "estimator": "XGBoost",
        "feature_count": trees.feature_count,
        "tree_count": trees.tree_count,
        "leaf_count": leaves,
        "parameter_count": trees.node_count,
        **_answer_facts(model),
    }


def _answer_facts(model: XgboostModel) -> dict[str, int | float | str]:
    facts: dict[str, int | float | str] = {"objective": shorten(model.objective, 100), "accepts_missing": 1}
    if model.objective in _PROBABLE | _LABEL_ONLY:
        facts["class_count"] = max(2, model.output_count)
    return facts


def notes_of(model: XgboostModel) -> list[str]:
    """Return what a user has to know."""
    notes = []
    if model.linear is not None:
        notes.append("a linear booster: a missing value adds nothing")
    elif model.best_round and model.best_round < len(model.rounds) - 1:
        notes.append(f"early stopping: the first {model.best_round} of {len(model.rounds) - 1} rounds answer, as in XGBClassifier.predict")
    coded = [name or str(number) for number, (name, kind) in enumerate(_typed(model)) if kind == "c"]
    if coded:
        notes.append(f"takes a category's number in: {', '.join(shorten(name) for name in coded[:8])}{', ...' if len(coded) > 8 else ''}")
    if model.objective == _SEVERAL_LABELS and model.output_count > 1:
        notes.append(f"{model.output_count} labels at once: each has a probability, and holds above 0.5")
    if model.objective.startswith("rank:"):
        notes.append("ranks rows: the prediction is a score, larger is better")
    return notes


def _typed(model: XgboostModel) -> list[tuple[str, str]]:
    names = model.feature_names or ("",) * len(model.feature_types)
    return list(zip(names, model.feature_types, strict=False))
