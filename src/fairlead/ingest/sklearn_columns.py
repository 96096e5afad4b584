"""What a fitted estimator takes: how many columns, their names, and whether each is a number or text. Runs in the sandboxed child.

Takes a fitted estimator, gives input specs. Kinds are read from what was fitted (categories, statistics, text vectorizers); a column that
nothing says anything about is a number. Raises UnsupportedError where the number of columns is not known.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fairlead.core.dtype import DType
from fairlead.core.interface import TensorSpec
from fairlead.engines.estimator_rows import DOCUMENT_INPUT, VECTORIZERS, members_of, reads_documents
from fairlead.errors import UnsupportedError

_TEXT, _NUMBER, _UNKNOWN = "text", "number", ""
_KEEPS_COLUMNS = ("FunctionTransformer",)


def input_specs(estimator: Any) -> tuple[TensorSpec, ...]:
    """Return the inputs: `x` [batch, n] for one kind of columns, `text` [batch, 1] for documents, else one [batch, 1] per column."""
    if reads_documents(estimator):
        return (TensorSpec(DOCUMENT_INPUT, DType.BYTES, (None, 1)),)
    count = width_of(estimator)
    if count is None:
        raise UnsupportedError(
            f"{type(estimator).__name__} does not say how many columns it takes.",
            hint="Fit it with scikit-learn 1.0 or newer and save it again.",
        )
    names = names_of(estimator)
    kinds = _kinds(estimator, int(count))
    is_text = [kind == _TEXT for kind in kinds]
    if not any(is_text):
        return (TensorSpec("x", DType.FP64, (None, int(count)), names),)
    if all(is_text) and not names:
        return (TensorSpec("x", DType.BYTES, (None, int(count))),)
    labels = names or tuple(f"x{position}" for position in range(int(count)))
    types = [DType.BYTES if text else DType.FP64 for text in is_text]
    return tuple(TensorSpec(label, dtype, (None, 1), (label,)) for label, dtype in zip(labels, types, strict=True))


def width_of(estimator: Any) -> int | None:
    """Return how many columns it was fitted with; None where it does not say. CatBoost says it only by its features' names."""
    count = getattr(estimator, "n_features_in_", None)
    names = getattr(estimator, "feature_names_", None)
    if count or names is None:
        return count or next(filter(None, map(width_of, members_of(estimator))), count)
    return len(names)


def names_of(estimator: Any) -> tuple[str, ...]:
    """Return its columns' names; none where they are numbers, or made up by LightGBM (Column_0, ...)."""
    names = tuple(str(name) for name in getattr(estimator, "feature_names_in_", getattr(estimator, "feature_names_", ())))
    made_up = any(names == tuple(f"{prefix}{position}" for position in range(len(names))) for prefix in ("", "Column_"))
    return () if made_up else names


def _kinds(estimator: Any, count: int) -> list[str]:
    kind = type(estimator).__name__
    if kind in VECTORIZERS:
        return [_TEXT] * count
    if kind == "ColumnTransformer":
        return _column_kinds(estimator, count)
    if kind == "Pipeline":
        return _first_known([_kinds(step, count) for _, step in estimator.steps if not isinstance(step, str) and _same_width(step, count)])
    if hasattr(estimator, "categories_"):
        return [
            _TEXT if any(isinstance(category, str) for category in np.asarray(known).flat) else _NUMBER for known in estimator.categories_
        ]
    if kind == "SimpleImputer":
        return [_TEXT if isinstance(statistic, str) else _UNKNOWN for statistic in estimator.statistics_]
    if kind in _KEEPS_COLUMNS:
        return [_UNKNOWN] * count
    inner = _first_known([_kinds(member, count) for member in members_of(estimator)])
    return inner or [_NUMBER] * count


def _same_width(step: Any, count: int) -> bool:
    return step is not None and (width_of(step) or count) == count


def _column_kinds(estimator: Any, count: int) -> list[str]:
    kinds = [_UNKNOWN] * count
    for name, transformer, columns in estimator.transformers_:
        indices = [int(index) for index in estimator._transformer_to_input_indices[name]]  # noqa: SLF001 - no public name
        if isinstance(transformer, str):
            found = [_UNKNOWN if transformer == "drop" else _NUMBER] * len(indices)
        else:
            found = _kinds(transformer, len(indices))
        for index, kind in zip(indices, found, strict=False):
            kinds[index] = kinds[index] or kind
        del columns
    return kinds


def _first_known(opinions: list[list[str]]) -> list[str]:
    """For each column the first opinion that is one."""
    opinions = [opinion for opinion in opinions if opinion]
    return [next((kind for kind in column if kind), _UNKNOWN) for column in zip(*opinions, strict=False)]
