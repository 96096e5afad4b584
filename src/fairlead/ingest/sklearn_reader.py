"""Reads scikit-learn estimators: what they are, what they take and give. `read_in_sandbox` is the child's side.

Takes a checked pickle, joblib or skops file inside the sandbox; gives the interface and facts as plain data. Raises SourceError for what
is not a fitted estimator, UnsupportedError for one that Fairlead cannot serve. Never opens a file outside of the sandbox, never trains.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fairlead.core.artifact import ArtifactForm
from fairlead.core.dtype import DType
from fairlead.core.interface import Array, Decision, DecisionKind, Interface, Label, Task, TensorSpec
from fairlead.engines.estimator_rows import (
    BOOSTER_MODULES,
    LABEL,
    OUTLIER_CLASSES,
    PREDICTION,
    PROBABILITIES,
    SCORES,
    classes_of,
    parts,
)
from fairlead.errors import SourceError, UnsupportedError
from fairlead.ingest.sklearn_columns import input_specs
from fairlead.ingest.sklearn_trial import accepts_missing, try_it
from fairlead.stores.document import to_plain


def read_in_sandbox(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return form, file (none), interface, framework, facts and notes of the estimator in `arguments["path"]` of `arguments["format"]`."""
    estimator, notes = open_estimator(Path(arguments["path"]), str(arguments["format"]))
    interface = describe(estimator)
    import sklearn  # noqa: PLC0415 - only the sandboxed child loads it

    return {
        "form": ArtifactForm.ESTIMATOR_FILE.value,
        "file": "",
        "interface": to_plain(interface),
        "framework": f"scikit-learn {sklearn.__version__}",
        "facts": {**facts_of(estimator, interface), "accepts_missing": int(accepts_missing(estimator, interface))},
        "notes": [*notes, *_notes_of(estimator)],
    }


def open_estimator(path: Path, file_format: str) -> tuple[Any, list[str]]:
    """Return the estimator and notes on its version. Only called in the sandboxed child."""
    from fairlead.security.estimator_file import load_estimator  # noqa: PLC0415 - it opens foreign files; only the sandboxed child loads it

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        estimator = load_estimator(path, file_format)  # a refused file never waits for scikit-learn: this imports it after the check
    from sklearn.exceptions import InconsistentVersionWarning  # noqa: PLC0415 - as above

    versions = {
        (str(item.message.original_sklearn_version), str(item.message.current_sklearn_version))
        for item in caught
        if isinstance(item.message, InconsistentVersionWarning)
    }
    return estimator, [
        f"saved with scikit-learn {saved}, opened with {current}: install {saved} if the verdict shows differences"
        for saved, current in sorted(versions)
    ]


def describe(estimator: Any) -> Interface:
    """Return the interface of a fitted estimator; it is asked once, on rows of zeros and empty texts, to see what it gives."""
    _check(estimator)
    inputs = input_specs(estimator)
    if _is_regressor(estimator):
        interface = Interface(
            inputs,
            (TensorSpec(PREDICTION, DType.FP64, (None, 1)),),
            Task.REGRESSION,
            Decision(DecisionKind.VALUE, PREDICTION),
        )
        try_it(estimator, interface)
        return interface
    return _classification(estimator, inputs)


def _classification(estimator: Any, inputs: tuple[TensorSpec, ...]) -> Interface:
    classes = classes_of(estimator)
    label = TensorSpec(LABEL, _label_type(estimator, classes), (None,))
    names = [name for name, method in ((PROBABILITIES, "predict_proba"), (SCORES, "decision_function")) if hasattr(estimator, method)][:1]
    trial = Interface(inputs, (label, *(TensorSpec(name, DType.FP64, (None, None)) for name in names)), Task.CLASSIFICATION)
    answers = try_it(estimator, trial)
    outputs = [label, *(TensorSpec(name, DType.FP64, (None, int(answers[name].shape[1]))) for name in names)]
    has_one_each = bool(names) and answers[names[0]].shape[1] == len(classes)
    decision = Decision(DecisionKind.LABEL, LABEL, scores=names[0] if has_one_each else "")
    return Interface(inputs, tuple(outputs), Task.CLASSIFICATION, decision, labels=_labels(classes))


def _label_type(estimator: Any, classes: Array) -> DType:
    if classes.dtype.kind in "iu":
        return DType.INT64
    if classes.dtype.kind in "bf":
        return DType.BOOL if classes.dtype.kind == "b" else DType.FP64
    if all(isinstance(label, str) for label in classes):
        return DType.BYTES
    raise UnsupportedError(f"The classes of {type(estimator).__name__} are neither all numbers nor all text.", hint="Fit it with one kind.")


def _labels(classes: Array) -> tuple[Label, ...]:
    return tuple(label.item() if isinstance(label, np.generic) else label for label in classes)


def _check(estimator: Any) -> None:
    from sklearn.base import BaseEstimator  # noqa: PLC0415 - only the sandboxed child loads it
    from sklearn.exceptions import NotFittedError  # noqa: PLC0415 - as above
    from sklearn.utils.validation import check_is_fitted  # noqa: PLC0415 - as above

    kind = type(estimator).__name__
    if not isinstance(estimator, BaseEstimator) and type(estimator).__module__ not in BOOSTER_MODULES:
        raise SourceError(f"The file holds a {kind}, not a scikit-learn estimator.", hint="Save the fitted estimator itself.")
    if not hasattr(estimator, "predict"):
        raise UnsupportedError(f"{kind} does not predict.", hint="Save a Pipeline that ends with a classifier or regressor.")
    try:
        check_is_fitted(estimator)
    except NotFittedError:
        raise SourceError(f"The {kind} in the file is not fitted.", hint="Call fit() before you save it.") from None
    if not (_is_regressor(estimator) or _decides(estimator)):
        raise UnsupportedError(f"{kind} is neither a classifier, a regressor nor an outlier detector.", hint="Those can be deployed.")


def _is_regressor(estimator: Any) -> bool:
    from sklearn.base import is_regressor  # noqa: PLC0415 - only the sandboxed child loads it

    last = estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator
    return bool(is_regressor(estimator)) or type(last).__name__.endswith("Ranker")  # a ranker gives one number per row


def _decides(estimator: Any) -> bool:
    from sklearn.base import is_classifier, is_outlier_detector  # noqa: PLC0415 - only the sandboxed child loads it

    return bool(is_classifier(estimator) or is_outlier_detector(estimator))


def facts_of(estimator: Any, interface: Interface) -> dict[str, int | float | str]:
    """Return plain numbers for planning: class, features, trees, leaves, parameters."""
    trees = [part for part in parts(estimator) if type(part).__name__ == "Tree" and hasattr(part, "n_leaves")]
    histogram = [part for part in parts(estimator) if type(part).__name__ == "TreePredictor"]
    leaves = sum(int(tree.n_leaves) for tree in trees) + sum(int(part.get_n_leaf_nodes()) for part in histogram)
    facts: dict[str, int | float | str] = {
        "estimator": _title(estimator),
        "feature_count": sum(int(spec.shape[1] or 1) for spec in interface.inputs),
        "parameter_count": _parameter_count(estimator),
    }
    if trees or histogram:
        facts["tree_count"] = len(trees) + len(histogram)
        facts["leaf_count"] = leaves
    if interface.labels:
        facts["class_count"] = len(interface.labels)
    return facts


def _title(estimator: Any) -> str:
    steps = getattr(estimator, "steps", None)
    return type(estimator).__name__ if steps is None else " > ".join(type(step).__name__ for _, step in steps)


def _parameter_count(estimator: Any) -> int:
    """Numbers that were learned: every float array with a trailing underscore in its name but labels, and one for each node of a tree."""
    total = 0
    for part in parts(estimator):
        if type(part).__name__ in ("Tree", "TreePredictor"):
            total += int(part.node_count) if hasattr(part, "node_count") else len(part.nodes)
        for name, value in getattr(part, "__dict__", {}).items():
            arrays = value if isinstance(value, list) else [value]
            if name.endswith("_") and name != "classes_":
                total += sum(array.size for array in arrays if isinstance(array, np.ndarray) and array.dtype.kind == "f")
    return total


def _notes_of(estimator: Any) -> list[str]:
    notes = []
    for part in parts(estimator):
        words = getattr(part, "stop_words_", None)
        if words:
            notes.append(
                f"{type(part).__name__} carries {len(words)} words of its training texts that it does not use (stop_words_); "
                "they are not part of the converted model"
            )
        vocabulary = getattr(part, "vocabulary_", None)
        if isinstance(vocabulary, dict) and not getattr(part, "fixed_vocabulary_", False):
            notes.append(
                f"the model holds {len(vocabulary)} terms of its training texts as vocabulary: do not publish it if these are secret"
            )
    if getattr(estimator, "classes_", None) is None and not _is_regressor(estimator):
        notes.append(f"outlier detector: label is {OUTLIER_CLASSES[0]} for an outlier and {OUTLIER_CLASSES[1]} for an inlier")
    return notes
