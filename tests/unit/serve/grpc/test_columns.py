"""A table over gRPC by its single columns, as over REST."""

from __future__ import annotations

import numpy as np
import pytest

from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, TensorSpec
from fairlead.errors import RequestError, TooLargeError
from fairlead.serve import tensor_binary
from fairlead.serve.grpc.inference import read_inputs
from fairlead.serve.grpc.schema import MESSAGES
from fairlead.serve.steps import at_once

TABLE = Interface((TensorSpec("x", DType.FP32, (None, 2), ("age", "income")),), (TensorSpec("y", DType.FP32, (None,)),))
FIELDS = {"FP64": "fp64_contents", "INT64": "int64_contents", "FP32": "fp32_contents", "BYTES": "bytes_contents"}


def message(*columns, is_raw=False):
    found = MESSAGES["ModelInferRequest"](model_name="m")
    for name, datatype, values in columns:
        tensor = found.inputs.add(name=name, datatype=datatype, shape=[len(values)])
        if is_raw:
            found.raw_input_contents.append(np.array(values, DType(datatype).numpy).tobytes())
        else:
            getattr(tensor.contents, FIELDS[datatype]).extend(values)
    return found


def read(given, table=TABLE):
    """The tensors, read in steps of one element; in one step they are the same, or refused in the same words."""
    found = []
    for count in (2**20, 1):
        try:
            found.append(at_once(read_inputs(table, given, 10, count)))
        except RequestError as error:
            found.append(error)
    whole, pieces = found
    if isinstance(whole, RequestError):
        assert str(pieces) == str(whole)
        raise whole
    assert {name: array.tolist() for name, array in pieces.items()} == {name: array.tolist() for name, array in whole.items()}
    return pieces


@pytest.mark.parametrize("is_raw", [False, True])
def test_columns_of_any_number_type_make_the_table_in_the_models_order(is_raw) -> None:
    given = message(("income", "FP64", [1.5, 2.5]), ("age", "INT64", [30, 40]), is_raw=is_raw)
    table = read(given)["x"]
    assert table.dtype == np.float32
    assert table.tolist() == [[30.0, 1.5], [40.0, 2.5]]


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ([("age", "INT64", [1])], "'income' is missing"),
        ([("age", "INT64", [1]), ("income", "FP64", [1.0, 2.0])], "different lengths"),
        ([("age", "INT64", [1]), ("age", "INT64", [1])], "given twice"),
        ([("age", "INT64", [1]), ("incme", "FP64", [1.0])], "no input 'incme'"),
        ([("age", "INT64", [1]), ("income", "BYTES", [b"much"])], "strings"),
    ],
)
def test_columns_that_do_not_fit_are_refused_by_name(columns, says) -> None:
    with pytest.raises(RequestError, match=says):
        read(message(*columns))


def test_a_column_beside_its_table_or_with_two_dimensions_is_refused() -> None:
    both = message(("age", "INT64", [1]), ("income", "FP64", [1.0]))
    both.inputs.add(name="x", datatype="FP32", shape=[1, 2]).contents.fp32_contents.extend([1.0, 2.0])
    with pytest.raises(RequestError, match="both given"):
        read(both)
    wide = message(("age", "INT64", [1, 2]), ("income", "FP64", [1.0, 2.0]))
    wide.inputs[0].shape[:] = [1, 2]
    with pytest.raises(RequestError, match="one value for each row"):
        read(wide)


def test_a_column_may_say_infinity_as_a_whole_table_may() -> None:
    given = message(("age", "FP64", [1.0, float("inf")]), ("income", "FP32", [float("-inf"), 2.0]), is_raw=True)
    assert read(given)["x"].tolist() == [[1.0, float("-inf")], [float("inf"), 2.0]]


def test_no_step_takes_more_than_so_many_elements() -> None:
    given = message(("income", "FP64", [1.5] * 1000), ("age", "INT64", range(1000)))
    assert sum(1 for _ in read_inputs(TABLE, given, 10, 100)) >= 60  # two columns of 10 pieces each read and converted, 20 of the table


def test_too_many_texts_are_refused_before_any_is_made(monkeypatch) -> None:
    texts = Interface((TensorSpec("t", DType.BYTES, (None,)),), (TensorSpec("y", DType.FP32, (None,)),))
    given = message(("t", "BYTES", [b"a", b"\xff", b"c"]))
    with pytest.raises(RequestError, match="text 1 is not UTF-8"):
        read(given, texts)
    monkeypatch.setattr(tensor_binary, "TEXT_LIMIT", 2)
    with pytest.raises(TooLargeError, match="has 3 texts"):
        at_once(read_inputs(texts, given, 10))
