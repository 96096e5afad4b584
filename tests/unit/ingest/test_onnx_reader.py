from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fairlead.core.artifact import ArtifactForm
from fairlead.core.dtype import DType
from fairlead.core.interface import Decision, DecisionKind, Task, TensorSpec
from fairlead.engines.onnxruntime_engine import open_session
from fairlead.errors import UnsupportedError
from fairlead.ingest.onnx_reader import companions_in_sandbox, read_in_sandbox
from fairlead.stores.document import dump, load

WEIGHTS = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)


def make(batch="N", *, last="Softmax", reshape=False, outputs=None, nodes=None, initializers=()):
    parts = nodes or [helper.make_node("MatMul", ["x", "W"], ["m"])]
    tensors = [numpy_helper.from_array(WEIGHTS, "W"), *initializers]
    current = "m"
    if reshape:
        tensors.append(numpy_helper.from_array(np.array([batch, 3], dtype=np.int64), "s"))
        parts.append(helper.make_node("Reshape", ["m", "s"], ["r"]))
        current = "r"
    if nodes is None:
        parts.append(helper.make_node(last, [current], ["y"]))
    graph = helper.make_graph(
        parts,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 4])],
        outputs or [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 3])],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


@pytest.fixture
def read(tmp_path):
    """The child's side, called here: these files are our own."""

    def read(model, companions=()):
        path = tmp_path / "in" / "model.onnx"
        path.parent.mkdir(exist_ok=True)
        if model is not None:
            path.write_bytes(model.SerializeToString())
        (tmp_path / "scratch").mkdir()
        answer = read_in_sandbox({"path": str(path), "scratch": str(tmp_path / "scratch"), "companions": list(companions)})
        from fairlead.core.interface import Interface

        return load(dump(answer["interface"]), Interface), answer, tmp_path / "scratch" / answer["file"]

    return read


def test_a_softmax_model_decides_by_the_largest_score(read):
    interface, answer, path = read(make())
    assert interface.inputs == (TensorSpec("x", DType.FP32, (None, 4)),)
    assert interface.outputs == (TensorSpec("y", DType.FP32, (None, 3)),)
    assert interface.decision == Decision(DecisionKind.ARGMAX, "y", scores="y")
    assert interface.task is Task.CLASSIFICATION
    assert answer["form"] == ArtifactForm.ONNX_FILE.value
    assert answer["facts"]["parameter_count"] == 12
    assert path.is_file()


def test_a_model_without_a_known_last_operator_has_no_decision(read):
    interface, _, _ = read(make(last="Relu"))
    assert (interface.task, interface.decision) == (None, None)


@pytest.mark.parametrize("size", [1, 5])
def test_a_fixed_batch_is_freed_and_answers_as_before(read, size):
    interface, answer, path = read(make(size, reshape=True))
    assert interface.inputs[0].shape == (None, 4)
    assert f"fixed to {size}" in answer["notes"][0]
    rows = np.random.default_rng(1).normal(size=(7, 4)).astype(np.float32)
    (got,) = open_session(path, thread_count=1, optimization="none").run(None, {"x": rows})
    scores = np.exp(rows @ WEIGHTS)
    assert np.allclose(got, scores / scores.sum(axis=1, keepdims=True), atol=1e-6)


def test_a_batch_that_cannot_be_freed_stays_fixed_and_says_why(read):
    nodes = [
        helper.make_node("MatMul", ["x", "W"], ["m"]),
        helper.make_node("ReduceSum", ["m"], ["t"], keepdims=1),
        helper.make_node("Div", ["m", "t"], ["y"]),
    ]
    interface, answer, _ = read(make(3, nodes=nodes))
    assert interface.inputs[0].shape == (3, 4)
    assert "cannot be freed" in answer["notes"][0]
    assert "differs" in answer["notes"][0]


def test_external_data_beside_the_model_is_folded_in(read, tmp_path):
    (tmp_path / "in").mkdir()
    place = tmp_path / "in" / "model.onnx"
    onnx.save_model(make(), place, save_as_external_data=True, location="weights.bin", size_threshold=0, convert_attribute=False)
    assert companions_in_sandbox({"path": str(place)}) == {"files": ["weights.bin"]}
    _, answer, path = read(None, ["weights.bin"])
    assert "48 bytes from weights.bin" in answer["notes"][0]
    model = onnx.load_model(path, load_external_data=False)
    assert np.array_equal(numpy_helper.to_array(model.graph.initializer[0]), WEIGHTS)


def test_an_initializer_that_is_also_an_input_is_no_input(read):
    model = make()
    model.graph.input.append(helper.make_tensor_value_info("W", TensorProto.FLOAT, [4, 3]))
    assert [spec.name for spec in read(model)[0].inputs] == ["x"]


def test_an_output_without_a_declared_shape_is_looked_at(read):
    interface, _, _ = read(make(outputs=[helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]))
    assert interface.outputs[0].shape == (None, 3)


def test_an_output_that_has_not_one_answer_per_row_is_refused(read):
    nodes = [helper.make_node("MatMul", ["x", "W"], ["m"]), helper.make_node("ReduceMean", ["m"], ["y"], keepdims=0)]
    with pytest.raises(UnsupportedError, match="one answer per row"):
        read(make(nodes=nodes, outputs=[helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]))


def test_a_scikit_learn_classifier_keeps_its_labels_and_loses_its_dictionaries(read):
    pytest.importorskip("skl2onnx", reason="the extra 'sklearn' is not installed")
    from skl2onnx import to_onnx
    from sklearn.linear_model import LogisticRegression

    rows = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    model = LogisticRegression().fit(rows, np.array(["no", "maybe", "yes"])[np.arange(60) % 3])
    interface, answer, path = read(to_onnx(model, rows[:1]))
    assert interface.labels == ("maybe", "no", "yes")
    assert interface.decision == Decision(DecisionKind.LABEL, "output_label", scores="output_probability")
    assert interface.output("output_probability").shape == (None, 3)
    labels, scores = open_session(path, thread_count=1, optimization="none").run(None, {"X": rows})
    assert list(labels) == list(model.predict(rows))
    assert np.allclose(scores, model.predict_proba(rows), atol=1e-5)
    assert "table of scores" in answer["notes"][0]


def test_an_output_that_is_no_tensor_is_refused_by_name(read):
    nodes = [helper.make_node("MatMul", ["x", "W"], ["m"]), helper.make_node("SequenceConstruct", ["m"], ["y"])]
    kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, None))
    with pytest.raises(UnsupportedError, match="output 'y' is a sequence, not a tensor"):
        read(make(nodes=nodes, outputs=[helper.make_value_info("y", kind)]))
