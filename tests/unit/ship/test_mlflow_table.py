"""A table as MLflow's ONNX flavor takes it: values are moved, never changed."""

from __future__ import annotations

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, TensorSpec
from fairlead.ship.mlflow_description import is_table, signature
from fairlead.ship.mlflow_table import as_table

ONE_EACH = Interface(
    (TensorSpec("age", DType.FP64, (None, 1), ("age",)), TensorSpec("city", DType.BYTES, (None, 1), ("city",))),
    (TensorSpec("both", DType.FP64, (None, 2)), TensorSpec("text", DType.BYTES, (None, 1))),
    labels=("no", "yes"),
)


def model():
    nodes = [helper.make_node("Concat", ["age", "age"], ["both"], axis=1), helper.make_node("Identity", ["city"], ["text"])]
    ins = [
        helper.make_tensor_value_info("age", TensorProto.DOUBLE, [None, 1]),
        helper.make_tensor_value_info("city", TensorProto.STRING, [None, 1]),
    ]
    outs = [
        helper.make_tensor_value_info("both", TensorProto.DOUBLE, [None, 2]),
        helper.make_tensor_value_info("text", TensorProto.STRING, [None, 1]),
    ]
    return helper.make_model(helper.make_graph(nodes, "g", ins, outs), opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_columns_go_in_as_vectors_and_scores_come_out_one_by_one() -> None:
    made = as_table(model(), ONE_EACH)
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    answers = dict(
        zip(
            [item.name for item in session.get_outputs()],
            session.run(None, {"age": np.array([0.1, 2]), "city": np.array(["a", "b"], object)}),
            strict=True,
        )
    )
    assert list(answers) == ["both_no", "both_yes", "text"]
    assert answers["both_yes"].tolist() == [0.1, 2]
    assert answers["text"].tolist() == ["a", "b"]
    assert as_table(model(), ONE_EACH).SerializeToString(deterministic=True) == made.SerializeToString(deterministic=True)


def test_a_matrix_without_names_is_a_tensor() -> None:
    spec = TensorSpec("x", DType.FP32, (None, 4))
    interface = Interface((spec,), (TensorSpec("y", DType.FP32, (None, 3)),))
    assert not is_table(interface)
    assert '"shape": [-1, 4]' in signature(interface, {})["inputs"]


def test_a_column_that_was_optional_stays_optional() -> None:
    spec = TensorSpec("x", DType.FP32, (None, 2), ("a", "b"))
    interface = Interface((spec,), (TensorSpec("y", DType.FP32, (None, 1)),))
    source = {"signature": {"inputs": '[{"name": "b", "type": "double", "required": false}]'}}
    assert signature(interface, source)["inputs"].count('"required": false') == 1
    graph = model()
    assert as_table(graph, interface) is graph
