"""Input examples of MLflow models, in each form in which MLflow writes them."""

from __future__ import annotations

import contextlib
import hashlib
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, TensorSpec
from fairlead.datasets.mlflow_example import load_mlflow_example
from fairlead.errors import DataError

OUT = (TensorSpec("y", DType.FP32, (None, 1)),)
TABLE = Interface((TensorSpec("x", DType.FP64, (None, 2), ("age", "weight")),), OUT)
PLAIN = Interface((TensorSpec("x", DType.FP32, (None, 2)),), OUT)
TWO = Interface((TensorSpec("a", DType.FP32, (None, 2)), TensorSpec("b", DType.INT64, (None, 1))), OUT)
MIXED = Interface((TensorSpec("age", DType.FP64, (None, 1), ("age",)), TensorSpec("city", DType.BYTES, (None, 1), ("city",))), OUT)
SPLIT = {"columns": ["weight", "age"], "data": [[1.5, 2], [3.5, 4]]}


def load(content, interface, tmp_path, **options):
    path = tmp_path / "input_example.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return load_mlflow_example(path, interface, **options)


@pytest.mark.parametrize(
    ("content", "interface", "rows"),
    [
        (SPLIT, TABLE, [[2, 1.5], [4, 3.5]]),
        ({**SPLIT, "index": [0, 1]}, TABLE, [[2, 1.5], [4, 3.5]]),
        ({"inputs": SPLIT, "params": {"threshold": 0.5}}, TABLE, [[2, 1.5], [4, 3.5]]),
        ({"data": [[1, 2], [3, 4]]}, PLAIN, [[1, 2], [3, 4]]),
        ([[1, 2], [3, 4]], PLAIN, [[1, 2], [3, 4]]),
        ({"inputs": [[1, 2]]}, PLAIN, [[1, 2]]),
        ([{"age": 1, "weight": 2}], TABLE, [[1, 2]]),
        ({"age": 1, "weight": 2}, TABLE, [[1, 2]]),
    ],
)
def test_every_form_gives_the_same_kind_of_rows(content, interface, rows, tmp_path):
    dataset = load(content, interface, tmp_path)
    assert np.array_equal(dataset.inputs["x"], rows)
    assert dataset.inputs["x"].dtype == interface.inputs[0].dtype.numpy
    assert dataset.target is None


def test_arrays_by_name_and_columns_of_text_reach_their_inputs(tmp_path):
    arrays = load({"inputs": {"a": [[1, 2]], "b": [[3]]}}, TWO, tmp_path).inputs
    assert (arrays["a"].tolist(), arrays["b"].tolist()) == ([[1, 2]], [[3]])
    texts = load({"columns": ["age", "city"], "data": [[1, "Köln"]]}, MIXED, tmp_path).inputs
    assert (texts["age"].tolist(), texts["city"].tolist()) == ([[1]], [["Köln"]])


def test_the_description_counts_rows_and_the_digest_is_the_files(tmp_path):
    dataset = load(SPLIT, TABLE, tmp_path)
    assert dataset.description.startswith("the model's own input example, 2 rows")
    assert dataset.digest == hashlib.sha256((tmp_path / "input_example.json").read_bytes()).hexdigest()
    assert "1 row" in load([[1, 2]], PLAIN, tmp_path).description


def test_missing_values_are_taken_only_where_the_model_takes_them(tmp_path):
    content = {"columns": ["age", "weight"], "data": [[None, 1]]}
    assert np.isnan(load(content, TABLE, tmp_path, allow_missing=True).inputs["x"][0, 0])
    with pytest.raises(DataError):
        load(content, TABLE, tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        "{", "3", "[]", "{}", "null", '"text"', "[" * 5000,
        {"columns": ["age", "weight"], "data": [[1]]}, {"columns": ["age", "weight"], "data": [3]}, {"columns": ["age"], "data": [[1]]},
        [[1, 2, 3]], [{"age": 1}], [["a", "b"]], [[1, 2], [3]],
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(content, tmp_path):
    with pytest.raises(DataError):
        load(content, TABLE, tmp_path)


def _keyed(inner):
    return st.dictionaries(st.sampled_from(["columns", "data", "index", "inputs", "params", "age", "weight"]), inner, max_size=3)


@given(
    st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=3), lambda inner: st.lists(inner, max_size=3) | _keyed(inner))
)
def test_any_json_gives_rows_or_a_data_error(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    with contextlib.suppress(DataError):
        assert load_mlflow_example(path, TABLE).rows > 0


def test_missing_numbers_are_nan_as_mlflow_writes_them(tmp_path):
    path = tmp_path / "example.json"
    path.write_text('{"columns": ["a", "b"], "data": [[1.0, NaN], [2.0, 3.0]]}', encoding="utf-8")
    spec = TensorSpec("x", DType.FP32, (None, 2), ("a", "b"))
    found = load_mlflow_example(path, Interface((spec,), (TensorSpec("y", DType.FP32, (None, 1)),)), allow_missing=True)
    np.testing.assert_array_equal(found.inputs["x"], [[1, np.nan], [2, 3]])
