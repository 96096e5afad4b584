"""Asks a fitted estimator about made-up rows: does it answer, and does it answer rows with missing numbers? Runs in the sandboxed child.

Takes a fitted estimator and its interface, gives its answers. Raises UnsupportedError where it refuses every row. Changes nothing but
what `select_by_position` does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fairlead.core.dtype import DType
from fairlead.core.interface import Array, Interface, shorten
from fairlead.engines.estimator_rows import PREDICTION, answers_of, parts, rows_of, select_by_position
from fairlead.errors import UnsupportedError

_TRIAL_ROWS = 2
_TRIAL_VALUES = (0.0, 1.0, 0.5)
_REFUSALS = (ValueError, TypeError, IndexError)  # what scikit-learn raises for rows that it does not take


def try_it(estimator: Any, interface: Interface) -> dict[str, Array]:
    """Return the answers to two made-up rows. Raises UnsupportedError for a model that refuses them all or predicts several outputs."""
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
        except _REFUSALS as error:
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


def accepts_missing(estimator: Any, interface: Interface) -> bool:
    """Whether it answers rows with NaN in all columns of numbers, or in those of one part of a column transformer.

    Asked, not read from scikit-learn's tags: these say no for pipelines and searches whose first step fills gaps.
    """
    for filling in _TRIAL_VALUES:
        tensors = _trial_tensors(estimator, interface, filling)
        for columns in _column_groups(estimator, interface):
            try:
                answers = answers_of(estimator, interface, rows_of(interface, _with_gaps(interface, tensors, columns)))
            except _REFUSALS:
                continue
            if all(np.isfinite(answer).all() for answer in answers.values() if answer.dtype.kind == "f"):
                return True
    return False


def _column_groups(estimator: Any, interface: Interface) -> Iterator[set[int]]:
    yield set(range(sum(int(spec.shape[1] or 1) for spec in interface.inputs)))
    for part in parts(estimator):
        if type(part).__name__ == "ColumnTransformer" and hasattr(part, "transformers_"):
            for name, _, _ in part.transformers_:
                yield {int(index) for index in part._transformer_to_input_indices[name]}  # noqa: SLF001 - no public name


def _with_gaps(interface: Interface, tensors: dict[str, Array], columns: set[int]) -> dict[str, Array]:
    """Return the tensors with NaN in the first row of these columns, where they hold numbers. Raises ValueError where none does."""
    gapped, first, has_gap = {}, 0, False
    for spec in interface.inputs:
        width = int(spec.shape[1] or 1)
        chosen = [column - first for column in sorted(columns) if first <= column < first + width and spec.dtype.is_float]
        gapped[spec.name] = tensors[spec.name].copy()
        gapped[spec.name][0, chosen] = np.nan
        first, has_gap = first + width, has_gap or bool(chosen)
    if not has_gap:
        raise ValueError("no column of numbers")
    return gapped
