"""Rows that are in memory already."""

from __future__ import annotations

import numpy as np
import pytest

from fairlead.app.rows import bind_pair, raw_rows
from fairlead.core.dtype import DType
from fairlead.core.interface import Decision, DecisionKind, Interface, Task, TensorSpec
from fairlead.errors import DataError

FLOWERS = Interface(
    (TensorSpec("x", DType.FP64, (None, 2), ("width", "height")),),
    (TensorSpec("label", DType.INT64, (None,)),),
    Task.CLASSIFICATION,
    Decision(DecisionKind.LABEL, "label"),
    (0, 1),
)


def test_arrays_lists_records_and_columns_mean_the_same_rows() -> None:
    given = [
        np.array([[1.0, 2.0], [3.0, 4.0]]),
        [[1, 2], [3, 4]],
        [{"width": 1, "height": 2}, {"height": 4, "width": 3}],
        {"height": [2, 4], "width": [1, 3]},
    ]
    for rows in given:
        dataset = bind_pair(rows, [0, 1], FLOWERS)
        assert dataset.inputs["x"].tolist() == [[1.0, 2.0], [3.0, 4.0]]
        assert dataset.target is not None
        assert dataset.target.tolist() == [0, 1]


def test_equal_rows_have_equal_digests_and_others_do_not() -> None:
    rows = np.array([[1.0, 2.0]])
    assert bind_pair(rows, [0], FLOWERS).digest == bind_pair(rows.copy(), [0], FLOWERS).digest
    assert bind_pair(rows, [0], FLOWERS).digest != bind_pair(rows, [1], FLOWERS).digest
    assert bind_pair(rows, [0], FLOWERS).digest != bind_pair(rows + 1, [0], FLOWERS).digest


def test_records_with_different_keys_are_refused() -> None:
    with pytest.raises(DataError, match="same keys"):
        raw_rows([{"a": 1}, {"b": 2}])


def test_ragged_rows_are_refused() -> None:
    with pytest.raises(DataError, match="same shape"):
        raw_rows([[1, 2], [3]])


def test_answers_beside_rows_that_hold_them_too_are_refused() -> None:
    with pytest.raises(DataError, match="answers were given beside"):
        bind_pair({"width": [1], "height": [2], "y": [0]}, [0], FLOWERS)


@pytest.mark.parametrize(("odd", "match"), [(float("nan"), "missing value in row 1"), (None, "missing value in row 1"), (7, "mixes text")])
def test_a_value_between_texts_that_is_no_text_is_not_made_one(odd: object, match: str) -> None:
    interface = Interface((TensorSpec("city", DType.BYTES, (None, 1)),), (TensorSpec("y", DType.FP32, (None,)),))
    with pytest.raises(DataError, match=match):
        bind_pair([{"city": "berlin"}, {"city": odd}], None, interface)


@pytest.mark.parametrize("rows", [None, 5, (row for row in ([1.0, 2.0],))])
def test_what_holds_no_rows_is_refused_by_its_type(rows) -> None:
    with pytest.raises(DataError, match="The rows are of the type"):
        raw_rows(rows)
