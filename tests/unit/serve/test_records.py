import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fairlead.core.dtype import DType
from fairlead.core.interface import Decision, DecisionKind, Interface, Task, TensorSpec
from fairlead.errors import RequestError
from fairlead.serve.records import column_names, example, from_columns, from_rows, labels, prediction, values_in_steps, values_of
from fairlead.serve.steps import at_once
from fairlead.serve.tensor_json import pack

TABLE = Interface((TensorSpec("x", DType.FP32, (None, 3), ("age", "height", "weight")),), (TensorSpec("y", DType.FP32, (None, 1)),))
MIXED = Interface(
    (TensorSpec("age", DType.FP32, (None, 1)), TensorSpec("city", DType.BYTES, (None, 1))), (TensorSpec("y", DType.FP32, (None, 1)),)
)
IMAGE = Interface((TensorSpec("x", DType.FP32, (None, 2, 2)),), (TensorSpec("y", DType.FP32, (None, 2)),))


def test_records_become_a_table_in_the_models_order() -> None:
    tensors = from_rows(TABLE, [{"weight": 3, "age": 1, "height": 2}, {"age": 4, "height": 5, "weight": None}])
    assert tensors["x"].dtype == np.float32
    np.testing.assert_array_equal(tensors["x"], [[1, 2, 3], [4, 5, np.nan]])


def test_one_record_alone_is_one_row() -> None:
    assert from_rows(TABLE, {"age": 1, "height": 2, "weight": 3})["x"].shape == (1, 3)


def test_records_with_texts_become_one_tensor_per_column() -> None:
    tensors = from_rows(MIXED, [{"age": 39, "city": "Århus"}, {"age": 4, "city": "Paris"}])
    assert tensors["age"].tolist() == [[39.0], [4.0]]
    assert tensors["city"].tolist() == [["Århus"], ["Paris"]]


def test_lists_in_column_order_are_rows_too() -> None:
    assert from_rows(MIXED, [[39, "Paris"]])["city"].tolist() == [["Paris"]]


def test_nested_lists_are_the_one_inputs_own_shape() -> None:
    assert from_rows(IMAGE, [[[1, 2], [3, 4]]])["x"].shape == (1, 2, 2)


def test_columns_are_taken_by_the_names_of_inputs_or_of_their_columns() -> None:
    assert from_columns(TABLE, {"x": [[1, 2, 3]]})["x"].tolist() == [[1.0, 2.0, 3.0]]
    assert from_columns(TABLE, {"age": [1], "height": [2], "weight": [3]})["x"].tolist() == [[1.0, 2.0, 3.0]]


@pytest.mark.parametrize(
    ("interface", "rows", "message"),
    [
        (TABLE, [{"age": 1, "height": 2}], "'weight' is missing"),
        (TABLE, [{"age": 1, "height": 2, "wieght": 3}], "Did you mean 'weight'"),
        (TABLE, [{"age": 1, "height": 2, "weight": 3}, {"age": 1}], "Row 1"),
        (TABLE, [{"age": 1, "height": 2, "weight": 3}, [1, 2, 3]], "Row 1 is not a record"),
        (TABLE, [{"age": "x", "height": 2, "weight": 3}], "'age' holds strings"),
        (TABLE, [{}], "missing"),
        (TABLE, [], "empty"),
        (TABLE, 5, "not a list"),
        (TABLE, "age", "not a list"),
        (MIXED, [[1]], "2 inputs"),
        (MIXED, [{"age": 1}], "'city' is missing"),
        (MIXED, [1, 2], "2 inputs"),
    ],
)
def test_rows_that_do_not_fit_are_refused_with_the_column(interface, rows, message) -> None:
    with pytest.raises(RequestError, match=message):
        from_rows(interface, rows)


@pytest.mark.parametrize("columns", [{"age": [1, 2], "height": [1], "weight": [1]}, {"age": 1, "height": 1, "weight": 1}, {"x": {}}, {}])
def test_columns_that_do_not_fit_are_refused(columns) -> None:
    with pytest.raises(RequestError):
        from_columns(TABLE, columns)


def test_an_input_and_one_of_its_columns_are_not_taken_together() -> None:
    with pytest.raises(RequestError, match="'x' and its column 'age' are both given"):
        from_columns(TABLE, {"x": [[1, 2, 3]], "age": [1]})


def test_the_prediction_is_the_scores_where_there_are_scores() -> None:
    rule = Decision(DecisionKind.LABEL, "label", scores="p")
    outputs = (TensorSpec("label", DType.BYTES, (None,)), TensorSpec("p", DType.FP32, (None, 2)))
    interface = Interface(TABLE.inputs, outputs, Task.CLASSIFICATION, rule, ("no", "yes"))
    answer = {"label": np.array(["yes"], dtype=object), "p": np.array([[0.25, 0.75]], np.float32)}
    assert prediction(interface, answer) == [[0.25, 0.75]]
    assert labels(interface, answer) == ["yes"]


@pytest.mark.parametrize(
    ("kind", "scores", "expected"),
    [
        (DecisionKind.ARGMAX, [[0.1, 0.9], [0.8, 0.2]], ["yes", "no"]),
        (DecisionKind.THRESHOLD, [[0.9], [0.1]], ["yes", "no"]),
        (DecisionKind.THRESHOLD, [[0.9, 0.8], [0.1, 0.7], [0.1, 0.2]], [["no", "yes"], ["yes"], []]),
    ],
)
def test_decisions_are_told_by_the_models_own_labels(kind, scores, expected) -> None:
    interface = Interface(TABLE.inputs, TABLE.outputs, Task.CLASSIFICATION, Decision(kind, "y"), ("no", "yes"))
    assert labels(interface, {"y": np.array(scores, np.float32)}) == expected


def test_a_regression_has_no_labels() -> None:
    interface = Interface(TABLE.inputs, TABLE.outputs, Task.REGRESSION, Decision(DecisionKind.VALUE, "y"))
    assert labels(interface, {"y": np.array([[1.0]])}) is None
    assert prediction(interface, {"y": np.array([[1.0]])}) == [[1.0]]


def test_a_model_without_a_rule_gives_all_its_outputs_by_name() -> None:
    assert prediction(TABLE, {"a": np.array([1]), "b": np.array(["t"], dtype=object)}) == {"a": [1], "b": ["t"]}


def test_names_and_an_example_for_documentation() -> None:
    assert column_names(TABLE) == ("age", "height", "weight")
    assert example(IMAGE.inputs[0]) == [[0.0, 0.0], [0.0, 0.0]]
    assert example(MIXED.inputs[1]) == [""]


def test_a_row_whose_scores_are_nan_has_no_label() -> None:
    scores = {"y": np.array([[0.1, 0.9], [np.nan, np.nan]])}
    rule = Decision(DecisionKind.ARGMAX, "y", "y")
    assert labels(Interface(IMAGE.inputs, IMAGE.outputs, Task.CLASSIFICATION, rule, ("cat", "dog")), scores) == ["dog", None]
    both = Interface(IMAGE.inputs, IMAGE.outputs, Task.CLASSIFICATION, Decision(DecisionKind.THRESHOLD, "y", "y"), ("cat", "dog"))
    assert labels(both, scores) == [["dog"], None]


CATEGORY = Interface((TensorSpec("zip", DType.BYTES, (None, 1), ("zip",), is_category=True),), (TensorSpec("y", DType.FP32, (None, 1)),))


def test_a_category_is_its_text_and_a_whole_number_stands_for_its_own() -> None:
    assert from_rows(CATEGORY, [{"zip": 3}, {"zip": "3"}, {"zip": "03"}])["zip"].tolist() == [["3"], ["3"], ["03"]]
    assert from_columns(CATEGORY, {"zip": [7]})["zip"].tolist() == [["7"]]


@pytest.mark.parametrize("value", [3.0, 3.5, None, True])
def test_what_is_neither_text_nor_a_whole_number_is_no_category(value: object) -> None:
    with pytest.raises(RequestError, match="strings or whole numbers"):
        from_rows(CATEGORY, [{"zip": value}])
    with pytest.raises(RequestError, match="strings are needed"):
        from_rows(MIXED, [{"age": 1, "city": 3}])


def as_json(spec, array):
    """What JSON with the same values gives."""
    try:
        return pack(spec, array.tolist())
    except RequestError as error:
        return str(error)


def as_column(spec, array):
    try:
        return values_of(spec, array)
    except RequestError as error:
        return str(error)


KINDS = [dtype for dtype in DType if dtype is not DType.BYTES]
EDGES = [0, 1, -1, 0.5, 127, 128, 255, 256, 2**24 + 1, 2**31, 2**53 + 1, -(2**63), 2**63 - 1, 2**64 - 1, 1e30, 1e39, float("nan")]


@st.composite
def sent(draw):
    """Numbers of some type, edges of other types among them as far as they fit; no infinity."""
    kind = draw(st.sampled_from(KINDS)).numpy
    drawn = draw(st.lists(st.sampled_from(edges_of(kind)), max_size=3)) if kind.kind != "b" else []
    elements = {"allow_infinity": False} if kind.kind == "f" else {}
    return np.array([*draw(hnp.arrays(kind, draw(st.integers(0, 4)), elements=elements)), *drawn], kind)


def edges_of(kind):
    if kind.kind == "f":
        with np.errstate(over="ignore"):
            return [item for item in np.array(EDGES).astype(kind) if not np.isinf(item)]
    return [edge for edge in EDGES if isinstance(edge, int) and np.iinfo(kind).min <= edge <= np.iinfo(kind).max]


@given(sent(), st.sampled_from([dtype for dtype in KINDS if dtype is not DType.FP16]))
def test_a_column_of_any_type_is_taken_by_its_values_as_json_is(array, dtype) -> None:
    spec = TensorSpec("c", dtype, (None,))
    column, plain = as_column(spec, array), as_json(spec, array)
    if isinstance(plain, str) and not array.size:
        return  # of nothing, every type is taken
    assert type(column) is type(plain)
    if isinstance(plain, str):
        assert column == plain
        return
    assert column.dtype == plain.dtype
    np.testing.assert_array_equal(column, plain)
    for count in (1, 3):
        np.testing.assert_array_equal(at_once(values_in_steps(spec, array, count)), plain)


def test_an_infinity_that_was_sent_as_one_is_taken_and_a_number_that_is_too_large_is_not() -> None:
    spec = TensorSpec("c", DType.FP32, (None,))
    assert values_of(spec, np.array([np.inf, -np.inf, 1.0])).tolist() == [np.inf, -np.inf, 1.0]
    with pytest.raises(RequestError, match="outside of FP32"):
        values_of(spec, np.array([np.inf, 1e39]))
    with pytest.raises(RequestError, match="fraction"):
        values_of(TensorSpec("c", DType.INT8, (None,)), np.array([np.inf]))
