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
from fairlead.core.interface import Array, Decision, DecisionKind, Interface, Label, Task, TensorSpec, shorten
from fairlead.engines.estimator_rows import (
    LABEL,
    OUTLIER_CLASSES,
    PREDICTION,
    PROBABILITIES,
    SCORES,
    answers_of,
    classes_of,
    parts,
    rows_of,
    select_by_position,
)
from fairlead.errors import SourceError, UnsupportedError
from fairlead.ingest.sklearn_columns import input_specs
from fairlead.stores.document import to_plain

_TRIAL_ROWS = 2
_TRIAL_VALUES = (0.0, 1.0, 0.5)


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
        "facts": facts_of(estimator, interface),
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
        _try(estimator, interface)
        return interface
    return _classification(estimator, inputs)


def _classification(estimator: Any, inputs: tuple[TensorSpec, ...]) -> Interface:
    classes = classes_of(estimator)
    label = TensorSpec(LABEL, _label_type(estimator, classes), (None,))
    names = [name for name, method in ((PROBABILITIES, "predict_proba"), (SCORES, "decision_function")) if hasattr(estimator, method)][:1]
    trial = Interface(inputs, (label, *(TensorSpec(name, DType.FP64, (None, None)) for name in names)), Task.CLASSIFICATION)
    answers = _try(estimator, trial)
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
    if not isinstance(estimator, BaseEstimator):
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

    return bool(is_regressor(estimator))


def _decides(estimator: Any) -> bool:
    from sklearn.base import is_classifier, is_outlier_detector  # noqa: PLC0415 - only the sandboxed child loads it

    return bool(is_classifier(estimator) or is_outlier_detector(estimator))


def _try(estimator: Any, interface: Interface) -> dict[str, Array]:
    select_by_position(estimator)
    answers = _first_answer(estimator, interface)
    value = answers.get(PREDICTION)
    if value is not None and len(value) != _TRIAL_ROWS:
        raise UnsupportedError(f"{type(estimator).__name__} predicts several outputs at once.", hint="Save one model per output.")
    return answers


def _first_answer(estimator: Any, interface: Interface) -> dict[str, Array]:
    """The answers to two made-up rows; zeros first, then what models accept that want positive numbers."""
    reason = ""
    for filling in _TRIAL_VALUES:
        try:
            return answers_of(estimator, interface, rows_of(interface, _trial_tensors(estimator, interface, filling)))
        except (ValueError, TypeError, IndexError) as error:  # what scikit-learn raises for rows that it refuses
            reason = shorten(str(error), 200)
    raise UnsupportedError(
        f"{type(estimator).__name__} refuses every row that Fairlead can make up: {reason}.",
        hint="Check that the saved model predicts; if it does, export it to ONNX yourself and deploy that file.",
    )


def _trial_tensors(estimator: Any, interface: Interface, filling: float) -> dict[str, Array]:
    """Two rows that any encoder accepts: for each column a known category where there is one, else `filling`."""
    known = _known_categories(estimator)
    tensors: dict[str, Array] = {}
    for spec in interface.inputs:
        shape = (_TRIAL_ROWS, spec.shape[1] or 1)
        tensor = np.full(shape, "", dtype=object) if spec.dtype is DType.BYTES else np.full(shape, filling)
        for position in range(shape[1]):
            column = position if len(interface.inputs) == 1 else interface.inputs.index(spec)
            if column in known:
                tensor[:, position] = known[column]
        tensors[spec.name] = tensor
    return tensors


def _known_categories(estimator: Any) -> dict[int, Any]:
    """First category of each input column that an encoder reads directly, by column number."""
    for part in parts(estimator):
        if type(part).__name__ == "ColumnTransformer" and hasattr(part, "transformers_"):
            found: dict[int, Any] = {}
            for name, transformer, _ in part.transformers_:
                indices = [int(index) for index in part._transformer_to_input_indices[name]]  # noqa: SLF001 - no public name
                for position, category in _known_categories(transformer).items():
                    if position < len(indices):
                        found[indices[position]] = category
            return found
        if hasattr(part, "categories_"):
            return {position: _plain(known) for position, known in enumerate(part.categories_)}
    return {}


def _plain(categories: Array) -> Any:
    usable = [item for item in categories if isinstance(item, str) or (item is not None and item == item)]  # noqa: PLR0124 - NaN is not itself
    return usable[0] if usable else ""


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
    """Numbers that were learned: every float array with a trailing underscore in its name."""
    total = 0
    for part in parts(estimator):
        for name, value in getattr(part, "__dict__", {}).items():
            arrays = value if isinstance(value, list) else [value]
            if name.endswith("_"):
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
