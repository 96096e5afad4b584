"""What is told of a .tflite file without LiteRT: interface, quantization, decision, facts."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairlead.core.interface import DecisionKind
from fairlead.errors import SourceError, UnsupportedError
from fairlead.ingest.tflite_interface import choose_signature, describe
from fairlead.ingest.tflite_reader import inspect_in_sandbox, read_in_sandbox
from fairlead.security.tflite_file import LiteGraph, LiteModel, LiteOperator, LiteSignature, LiteTensor

DATA = Path(__file__).parents[2] / "data" / "tensorflow" / "litert"
FP32, INT8 = 0, 9
SOFTMAX, LOGISTIC, QUANTIZE, ADD = 25, 14, 114, 0


def tensor(name, dtype=FP32, shape=(1, 4), free=None, scale=0.0, zero_point=0):
    return LiteTensor(name, dtype, shape, free or (None, *shape[1:]), scale, zero_point, keeps_state=False, is_constant=False)


def model(*tensors, operators=(), signatures=()):
    graph = LiteGraph(tensors, (0,), (len(tensors) - 1,), tuple(LiteOperator(code, "", (a,), (b,), ()) for code, a, b in operators))
    return LiteModel((graph,), signatures, "")


def test_a_file_in_single_precision_is_described():
    answer = read_in_sandbox({"path": str(DATA / "mlp.float.tflite")})
    assert [(spec["name"], spec["dtype"], spec["shape"]) for spec in answer["interface"]["inputs"]] == [
        ("keras_tensor", "FP32", [None, 12])
    ]
    assert answer["interface"]["decision"]["kind"] == "argmax"
    assert answer["facts"]["has_free_batch"] == 1
    assert answer["facts"]["parameter_count"] == 12 * 16 + 16 + 16 * 8 + 8 + 8 * 4 + 4


def test_a_quantized_file_says_what_its_numbers_mean():
    answer = inspect_in_sandbox({"path": str(DATA / "mlp.int8.tflite")})
    assert answer["interface"]["inputs"][0]["dtype"] == "INT8"
    assert answer["findings"] == []
    assert "its weights are quantized" in answer["notes"]
    assert any("0.00390625 * (number - -128)" in note for note in answer["notes"])


def test_a_quantized_sigmoid_decides_in_its_own_units():
    made = model(tensor("x:0"), tensor("p"), tensor("y", INT8, (1, 1), None, 1 / 256, -128), operators=((LOGISTIC, 0, 1), (QUANTIZE, 1, 2)))
    decision = describe(made, None).decision
    assert decision is not None
    assert (decision.kind, decision.threshold) == (DecisionKind.THRESHOLD, 0.0)


def test_another_last_operator_decides_nothing():
    assert describe(model(tensor("x"), tensor("y"), operators=((ADD, 0, 1),)), None).decision is None
    assert describe(model(tensor("x"), tensor("y"), operators=((SOFTMAX, 0, 1),)), None).decision is not None


def test_a_batch_of_one_is_free_and_a_larger_one_is_refused():
    assert describe(model(tensor("x", free=(1, 4)), tensor("y")), None).inputs[0].shape == (None, 4)
    with pytest.raises(UnsupportedError, match=r"'x' has no batch of one row or of any size: its shape is \[8, 4\]"):
        describe(model(tensor("x", shape=(8, 4), free=(8, 4)), tensor("y")), None)


def test_one_of_several_signatures_has_to_be_named():
    some = tuple(LiteSignature(key, 0, {"x": 0}, {"y": 1}) for key in ("one", "two"))
    made = model(tensor("a"), tensor("b"), signatures=some)
    with pytest.raises(UnsupportedError, match="several signatures: one, two"):
        choose_signature(made, "")
    chosen = choose_signature(made, "two")
    assert chosen is not None
    assert chosen.key == "two"
    assert [spec.name for spec in describe(made, chosen).outputs] == ["y"]


def test_a_signature_that_leaves_an_input_out_is_refused():
    made = model(tensor("a"), tensor("b"), signatures=(LiteSignature("one", 0, {}, {"y": 1}),))
    with pytest.raises(UnsupportedError, match="does not name all inputs"):
        describe(made, choose_signature(made, ""))


def test_a_file_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(b"\x1c\0\0\0TFL3" + bytes(64))
    with pytest.raises(SourceError):
        read_in_sandbox({"path": str(path)})
