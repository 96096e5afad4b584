"""Payloads of V1, V2 and Seldon become the version's own tensors, or are refused; nothing is guessed."""

from __future__ import annotations

import gzip
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, TensorSpec
from fairlead.errors import RequestError
from fairlead.serve.collect.payload import Read, decode_payload, read_answer, read_question, said_version
from fairlead.serve.collect.seldon import seldon_label
from fairlead.serve.http.limits import HttpLimits

LIMITS = HttpLimits(body_bytes=2**20)
TABLE = Interface(
    (TensorSpec("x", DType.FP32, (None, 2), ("age", "income")),),
    (TensorSpec("label", DType.INT64, (None,)), TensorSpec("scores", DType.FP32, (None, 3))),
)
TEXTS = Interface(
    (TensorSpec("city", DType.BYTES, (None, 1)), TensorSpec("n", DType.INT64, (None, 1))), (TensorSpec("y", DType.FP32, (None, 1)),)
)


def raw(value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def asked(value: Any, interface: Interface = TABLE) -> Read:
    return read_question(interface, decode_payload(raw(value), LIMITS))


def answered(value: Any, interface: Interface = TABLE) -> dict[str, np.ndarray]:
    return read_answer(interface, decode_payload(raw(value), LIMITS))


def v2(*tensors: tuple[str, str, list[int], list[Any]], side: str = "inputs", **more: Any) -> dict[str, Any]:
    return {side: [dict(zip(("name", "datatype", "shape", "data"), tensor, strict=True)) for tensor in tensors], **more}


ROW = np.float32([[40.0, 1000.0]])
QUESTIONS = {
    "V1 rows": {"instances": [[40, 1000]]},
    "V1 records": {"instances": [{"income": 1000, "age": 40}], "parameters": {"a": 1}},
    "V1 columns": {"inputs": {"age": [40], "income": [1000]}, "signature_name": "serving_default"},
    "a data frame": {"dataframe_split": {"columns": ["income", "age"], "data": [[1000, 40]]}},
    "V2": v2(("x", "FP32", [1, 2], [40, 1000])),
    "V2 by another name": v2(("input-0", "FP64", [1, 2], [[40, 1000]]), id="own"),
    "V2 whole numbers": v2(("x", "INT64", [1, 2], [40, 1000])),
    "V2 halves as numbers": v2(("x", "FP16", [1, 2], [40, 1000])),
    "V2 column by column": v2(("income", "INT32", [1], [1000]), ("age", "FP32", [1, 1], [40])),
    "Seldon ndarray": {"data": {"ndarray": [[40, 1000]]}, "meta": {}},
    "Seldon ndarray with names": {"data": {"names": ["income", "age"], "ndarray": [[1000, 40]]}},
    "Seldon tensor": {"data": {"tensor": {"shape": [1, 2], "values": [40, 1000]}}},
    "Seldon lists in jsonData": {"jsonData": [[40, 1000]]},
}


@pytest.mark.parametrize("payload", QUESTIONS.values(), ids=QUESTIONS)
def test_every_form_of_a_question_becomes_the_same_tensor(payload: dict[str, Any]) -> None:
    for sent in (payload, gzip.compress(raw(payload))):
        tensor = asked(sent).tensors["x"]
        np.testing.assert_array_equal(tensor, ROW)
        assert tensor.dtype == np.float32


ANSWERS = {
    "V1 labels": ({"predictions": [2]}, {"label"}),
    "V1 scores": ({"predictions": [[0.25, 0.25, 0.5]]}, {"scores"}),
    "V1 records": ({"predictions": [{"label": 2, "scores": [0.25, 0.25, 0.5]}]}, {"label", "scores"}),
    "V1 records of another name": ({"predictions": [{"proba": [0.25, 0.25, 0.5]}]}, {"scores"}),
    "V1 columns": ({"outputs": {"label": [2], "scores": [[0.25, 0.25, 0.5]]}}, {"label", "scores"}),
    "V2": (v2(("label", "INT64", [1], [2]), ("scores", "FP32", [1, 3], [0.25, 0.25, 0.5]), side="outputs"), {"label", "scores"}),
    "V2 by another name": (v2(("output-0", "FP64", [1, 3], [0.25, 0.25, 0.5]), side="outputs"), {"scores"}),
    "V2 a column of labels": (v2(("predict", "INT64", [1, 1], [2]), side="outputs"), {"label"}),
    "Seldon": ({"data": {"names": ["t:0", "t:1", "t:2"], "ndarray": [[0.25, 0.25, 0.5]]}, "meta": {}}, {"scores"}),
}


@pytest.mark.parametrize(("payload", "names"), ANSWERS.values(), ids=ANSWERS)
def test_every_form_of_an_answer_becomes_the_outputs_that_it_fits(payload: dict[str, Any], names: set[str]) -> None:
    found = answered(payload)
    assert set(found) == names
    if "label" in names:
        np.testing.assert_array_equal(found["label"], np.int64([2]))
    if "scores" in names:
        np.testing.assert_array_equal(found["scores"], np.float32([[0.25, 0.25, 0.5]]))


def test_raw_tensors_are_found_behind_their_json_without_a_header() -> None:
    head = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": 8}}]}
    np.testing.assert_array_equal(asked(raw(head) + ROW.tobytes()).tensors["x"], ROW)
    closing = np.frombuffer(b'{"}}}}}}', np.float32)  # bytes that look like JSON are none
    np.testing.assert_array_equal(asked(raw(head) + closing.tobytes()).tensors["x"], closing.reshape(1, 2))
    for wrong in (ROW.tobytes()[:7], ROW.tobytes() + b"x"):
        with pytest.raises(RequestError):
            asked(raw(head) + wrong)


def test_two_inputs_one_of_them_text() -> None:
    found = asked(v2(("city", "BYTES", [1, 1], ["Ulm"]), ("n", "INT64", [1, 1], [3])), TEXTS).tensors
    assert found["city"].tolist() == [["Ulm"]]
    assert asked({"instances": [["Ulm", 3]]}, TEXTS).tensors["n"].tolist() == [[3]]


def test_what_a_payload_says_of_itself_is_read() -> None:
    question = asked(v2(("x", "FP32", [1, 2], [1, 2]), id="own"))
    answer = v2(("label", "INT64", [1], [2]), side="outputs", model_version="7", id="own")
    assert question.own_id == "own"
    assert said_version(decode_payload(raw(answer), LIMITS)) == "7"
    assert said_version(decode_payload(raw({"model_version": 7}), LIMITS)) == ""


def test_nan_of_servers_that_write_it_is_a_missing_number_and_infinity_is_refused() -> None:
    assert np.isnan(asked(b'{"instances": [[NaN, 2]]}').tensors["x"][0, 0])
    with pytest.raises(RequestError):
        asked(b'{"instances": [[Infinity, NaN]]}')


BAD_QUESTIONS = {
    "nothing": b"",
    "no JSON": b"\x00\x01",
    "protobuf": b"\n\x10\x0a\x02hi",
    "a list": [1],
    "no form": {"foo": 1},
    "another width": {"instances": [[1, 2, 3]]},
    "texts": {"instances": [["a", "b"]]},
    "an unknown column": {"instances": [{"age": 1, "incom": 2}]},
    "names that are not the version's": {"data": {"names": ["a", "b"], "ndarray": [[1, 2]]}},
    "too large for the type": v2(("x", "FP64", [1, 2], [1e300, 1])),
    "an unknown datatype": v2(("x", "FLOAT", [1, 2], [1, 1])),
    "given twice": v2(("x", "FP32", [1, 2], [1, 1]), ("x", "FP32", [1, 2], [1, 1])),
    "a shape that lies": v2(("x", "FP32", [2**40, 2], [1, 1])),
    "a negative shape": v2(("x", "FP32", [-1, 2], [1, 1])),
    "a text for a shape": v2(("x", "FP32", "abc", [1, 1])),
    "a table and a column of it": v2(("x", "FP32", [1, 2], [1, 1]), ("age", "FP32", [1], [1])),
    "a column too few": v2(("age", "FP32", [1], [1])),
    "columns of different lengths": v2(("age", "FP32", [1], [1]), ("income", "FP32", [2], [1, 2])),
    "no data": {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2]}]},
    "a size of nothing": {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": -8}}]},
    "a tensor of Seldon that lies": {"data": {"tensor": {"shape": [1, 2], "values": [1]}}},
    "a tensor of Seldon without numbers": {"data": {"tensor": {"shape": ["a"], "values": [1]}}},
    "a text of Seldon": {"strData": "hello"},
    "names of Seldon that are no list": {"data": {"names": {"age": 0}, "ndarray": [[40, 1000]]}},
    "deep": b'{"instances": ' + b"[" * 5000,
    "a bomb": gzip.compress(b" " * (2**20 + 1)),
    "damaged gzip": gzip.compress(b"{}")[:10],
    "half of JSON": b'{"instances": [[1,',
}


@pytest.mark.parametrize("payload", BAD_QUESTIONS.values(), ids=BAD_QUESTIONS)
def test_a_question_that_does_not_fit_is_refused(payload: Any) -> None:
    with pytest.raises(RequestError):
        asked(payload)


BAD_ANSWERS = {
    "an error": {"error": "out of memory"},
    "a failure of Seldon": {"status": {"status": "FAILURE", "info": "no"}},
    "neither": {"foo": 1},
    "both": {"predictions": [1], "outputs": {"label": [1]}},
    "no rows": {"predictions": []},
    "a label that is a fraction": v2(("label", "FP32", [1], [0.5]), side="outputs"),
    "a label beyond its type": v2(("label", "UINT64", [1], [2**63 + 1]), side="outputs"),
    "an output that is not there": v2(("label", "INT64", [1], [1]), ("loss", "FP32", [1], [1]), side="outputs"),
    "ragged": {"predictions": [[1, 2, 3], [1]]},
    "records that differ": {"predictions": [{"label": 1}, {"scores": [1, 2, 3]}]},
}


@pytest.mark.parametrize("payload", BAD_ANSWERS.values(), ids=BAD_ANSWERS)
def test_an_answer_that_does_not_fit_is_refused(payload: Any) -> None:
    with pytest.raises(RequestError):
        answered(payload)


def test_where_two_outputs_could_be_meant_nothing_is_guessed() -> None:
    two = Interface(TABLE.inputs, (TensorSpec("low", DType.FP32, (None,)), TensorSpec("high", DType.FP32, (None,))))
    with pytest.raises(RequestError, match="could be low or high"):
        answered({"predictions": [0.5]}, two)
    assert set(answered({"predictions": [{"low": 0.5}]}, two)) == {"low"}


def test_the_truth_of_feedback_is_a_label_for_each_row() -> None:
    feedback = {"response": {"meta": {"puid": "p1"}}, "reward": 1.0, "truth": {"data": {"ndarray": [[1], ["cat"], 2.5]}}}
    label = seldon_label(feedback, "e1")
    assert (label.request_id, label.labels) == ("p1", (1, "cat", 2.5))
    assert seldon_label({"truth": {"data": {"tensor": {"shape": [2], "values": [0, 1]}}}}, "e1").request_id == "e1"
    assert seldon_label({"reward": 0.0, "truth": {}}, "e1") is None
    wrong = ({"ndarray": [[1, 2]]}, {"ndarray": [None]}, {"ndarray": [{"a": 1}]}, {"ndarray": []}, {"tensor": {"shape": [], "values": [1]}})
    for data in wrong:
        with pytest.raises(RequestError, match="one value for each row"):
            seldon_label({"truth": {"data": data}}, "e1")


KEYS = ("name", "names", "shape", "values", "data", "ndarray", "tensor", "meta", "puid", "columns", "index", "x", "label")
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
    max_leaves=12,
)
FORMS = ("inputs", "instances", "data", "jsonData", "outputs", "predictions", "dataframe_split", "status", "truth", "response", "id")


@given(st.dictionaries(st.sampled_from(FORMS), anything, max_size=3))
def test_any_json_is_read_or_refused(value: dict[str, Any]) -> None:
    for read in (asked, answered, lambda given: seldon_label(given, "e")):
        try:
            found = read(value)
        except RequestError:
            continue
        tensors = found.tensors if isinstance(found, Read) else found if isinstance(found, dict) else {}
        assert all(len(tensor) for tensor in tensors.values())


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "name": st.sampled_from(["x", "y"]),
                "datatype": st.sampled_from([*DType, "BF16", "?"]),
                "shape": st.lists(st.integers(-2, 4), max_size=3),
                "data": st.none() | anything,
            }
        ),
        min_size=1,
        max_size=2,
    )
)
def test_any_tensors_are_read_or_refused(tensors: list[dict[str, Any]]) -> None:
    try:
        found = asked({"inputs": tensors})
    except RequestError:
        return
    assert found.tensors["x"].shape[1:] == (2,)
