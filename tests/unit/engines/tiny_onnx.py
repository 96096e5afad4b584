"""Small ONNX models that tests build at run time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fairlead.core.dtype import DType
from fairlead.core.interface import Decision, DecisionKind, Interface, Task, TensorSpec

WEIGHTS = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
LINEAR = Interface(
    (TensorSpec("x", DType.FP32, (None, 4)),),
    (TensorSpec("y", DType.FP32, (None, 3)),),
    Task.CLASSIFICATION,
    Decision(DecisionKind.ARGMAX, "y", scores="y"),
)


def save(path: Path, graph: onnx.GraphProto, *, opset: int = 17) -> Path:
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), path)
    return path


def linear_model(path: Path, weights: np.ndarray = WEIGHTS) -> Path:
    """y = x @ weights."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(weights, "w")],
    )
    return save(path, graph)


def lookup_model(path: Path) -> tuple[Path, Interface]:
    """A table of five rows of two numbers, by index."""
    table = numpy_helper.from_array(np.arange(10, dtype=np.float32).reshape(5, 2), "table")
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "i"], ["y"])],
        "lookup",
        [helper.make_tensor_value_info("i", TensorProto.INT64, ["batch"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2])],
        [table],
    )
    return save(path, graph), Interface((TensorSpec("i", DType.INT64, (None,)),), (TensorSpec("y", DType.FP32, (None, 2)),))


def echo_model(path: Path, dtype: DType) -> tuple[Path, Interface]:
    """Gives back what it gets."""
    kind = TensorProto.STRING if dtype is DType.BYTES else helper.np_dtype_to_tensor_dtype(dtype.numpy)
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "echo",
        [helper.make_tensor_value_info("x", kind, ["batch", "n"])],
        [helper.make_tensor_value_info("y", kind, ["batch", "n"])],
    )
    return save(path, graph), Interface((TensorSpec("x", dtype, (None, None)),), (TensorSpec("y", dtype, (None, None)),))
