"""Between named tensors and what a scikit-learn estimator takes and gives. Used inside the sandboxed child only.

Takes a fitted estimator, its interface and tensors; gives rows for `predict` and tensors for the interface's outputs. Tables with named
columns of several kinds become one object array, and column transformers select by position: so neither pandas nor any other data frame
is needed, and what each transformer gets is the same. Raises UnsupportedError, DataError; never converts a model.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from fairlead.core.dtype import DType
from fairlead.core.interface import Array, Interface, Tensors, shorten
from fairlead.errors import DataError, UnsupportedError

DOCUMENT_INPUT = "text"  # the one input of a model that starts with a text vectorizer; a table's input always names its columns
VECTORIZERS = ("CountVectorizer", "TfidfVectorizer", "HashingVectorizer")
LABEL, PROBABILITIES, SCORES, PREDICTION = "label", "probabilities", "scores", "prediction"
OUTLIER_CLASSES = (-1, 1)
BOOSTER_MODULES = ("xgboost.sklearn", "lightgbm.sklearn", "catboost.core")


def parts(estimator: Any) -> Iterator[Any]:
    """Yield the estimator and every scikit-learn object inside of it, each once, outer ones first."""
    seen: set[int] = set()
    waiting = [estimator]
    while waiting:
        item = waiting.pop(0)
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, (list, tuple)):
            waiting.extend(item)
        elif isinstance(item, dict):
            waiting.extend(item.values())
        elif isinstance(item, np.ndarray) and item.dtype == object:
            waiting.extend(item.flat)
        elif type(item).__module__.startswith("sklearn.") or type(item).__module__ in BOOSTER_MODULES:
            yield item
            waiting.extend(getattr(item, "__dict__", {}).values())


def members_of(estimator: Any) -> list[Any]:
    """Return the fitted estimators that see the same columns as `estimator`."""
    kind = type(estimator).__name__
    if kind == "Pipeline":
        return [step for _, step in estimator.steps if step not in (None, "passthrough")][:1]
    if kind == "FeatureUnion":
        return [transformer for _, transformer in estimator.transformer_list if not isinstance(transformer, str)]
    for name in ("best_estimator_", "estimator_", "regressor_"):
        if hasattr(estimator, name):
            return [getattr(estimator, name)]
    if hasattr(estimator, "calibrated_classifiers_"):
        return [estimator.calibrated_classifiers_[0].estimator]
    if kind.startswith(("Voting", "Stacking", "OneVs")):
        return list(estimator.estimators_)
    return []


def reads_documents(estimator: Any) -> bool:
    """Whether it starts with a text vectorizer, which wants texts and no table of them."""
    return type(estimator).__name__ in VECTORIZERS or any(reads_documents(member) for member in members_of(estimator))


def select_by_position(estimator: Any) -> None:
    """Make the estimator fit for rows without a data frame, in place: column transformers choose by number, transformers give arrays.

    And let it work alone: with several threads a forest adds its trees up in any order, and helper processes do not start in the sandbox.
    """
    for part in parts(estimator):
        getattr(part, "_sklearn_output_config", {}).pop("transform", None)
        if getattr(part, "n_jobs", None) is not None:
            part.n_jobs = 1
        if type(part).__name__ != "ColumnTransformer" or not hasattr(part, "transformers_"):
            continue
        chosen = []
        for name, transformer, columns in part.transformers_:
            indices = [int(index) for index in part._transformer_to_input_indices[name]]  # noqa: SLF001 - no public name
            chosen.append((name, transformer, indices[0] if np.isscalar(columns) else indices))
        part.transformers_ = chosen


def rows_of(interface: Interface, tensors: Tensors, estimator: Any = None) -> Any:
    """Return the tensors as `predict` of `estimator` wants them: texts, one array of numbers, or an object array of columns."""
    arrays = [tensors[spec.name] for spec in interface.inputs]
    if len(arrays) == 1:
        spec = interface.inputs[0]  # of documents, a data file may have named the column: such a one can be a table's, too
        is_documents = spec.name == DOCUMENT_INPUT and (not spec.columns or reads_documents(estimator))
        return list(arrays[0][:, 0]) if is_documents else arrays[0]
    rows = np.empty((len(arrays[0]), len(arrays)), dtype=object)
    for position, array in enumerate(arrays):
        rows[:, position] = array[:, 0]
    return rows


def answer_rows(estimator: Any, interface: Interface, tensors: Tensors) -> dict[str, Array]:
    """Return the interface's outputs for `tensors`; raises DataError for rows that scikit-learn itself refuses."""
    try:
        return answers_of(estimator, interface, rows_of(interface, tensors, estimator))
    except ValueError as error:  # what scikit-learn raises for a row that it does not take, such as NaN in a column that nothing fills
        raise DataError(
            f"scikit-learn refuses these rows: {shorten(str(error).partition(chr(10))[0], 200)}.",
            hint="Send, and prove the model on, rows that it takes itself.",
        ) from None


def answers_of(estimator: Any, interface: Interface, rows: Any) -> dict[str, Array]:
    """Return the interface's outputs as scikit-learn computes them. Raises ValueError, TypeError... for rows that it refuses."""
    outputs: dict[str, Array] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # feature names and unknown categories: said at import, not with every row
        try:
            for spec in interface.outputs:
                outputs[spec.name] = _answer(estimator, spec.name, spec.dtype, rows)
        except _booster_errors() as error:
            raise ValueError(str(error)) from error
    return outputs


def _booster_errors() -> tuple[type[Exception], ...]:
    """What boosters raise for rows that they refuse, instead of a ValueError; of those libraries that are here."""
    known = (("lightgbm.basic", "LightGBMError"), ("catboost.core", "CatBoostError"))
    return tuple(getattr(sys.modules[module], name) for module, name in known if module in sys.modules)


def _answer(estimator: Any, name: str, dtype: DType, rows: Any) -> Array:
    if name == LABEL:
        labels = np.asarray(estimator.predict(rows)).reshape(-1)  # CatBoost gives several classes as a column
        return np.array([str(label) for label in labels], dtype=object) if dtype is DType.BYTES else labels.astype(dtype.numpy)
    if name == PREDICTION:
        return np.asarray(estimator.predict(rows), dtype=np.float64).reshape(-1, 1)
    if name == PROBABILITIES:
        return np.asarray(estimator.predict_proba(rows), dtype=np.float64)
    scores = np.asarray(estimator.decision_function(rows), dtype=np.float64)
    return scores.reshape(-1, 1) if scores.ndim == 1 else scores


def classes_of(estimator: Any) -> Array:
    """Return a classifier's classes, or an outlier detector's two answers. Raises UnsupportedError for several outputs."""
    classes = getattr(estimator, "classes_", None)
    if classes is None:
        return np.asarray(OUTLIER_CLASSES)
    if isinstance(classes, list) or np.ndim(classes) != 1:
        raise UnsupportedError(f"{type(estimator).__name__} answers several outputs at once.", hint="Save one model per output.")
    return np.asarray(classes)
