"""Models that passes meet, small and whole: what is common, and what is easily forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from fairlead.core.pass_use import PassUse
from fairlead.optimize.catalog import PASSES, complete_settings
from fairlead.optimize.job import PassJob, PassResult

FLOAT = TensorProto.FLOAT
ODD = "größe/0:1 (a b)"  # a name that other frameworks write


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def weight(name: str, *shape: int, seed: int = 0, kind: Any = np.float32) -> Any:
    values = random(seed).normal(size=shape) / np.sqrt(max(np.prod(shape[1:]), 1))
    return numpy_helper.from_array(values.astype(kind), name)


def value(name: str, *shape: int | str, kind: int = FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, list(shape))


def save(path: Path, nodes: Sequence[Any], inputs: Sequence[Any], outputs: Sequence[Any], tensors: Sequence[Any], opset: int = 17) -> Path:
    graph = helper.make_graph(nodes, "g", inputs, outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8 if opset < 21 else 10)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def dense(path: Path, opset: int = 17, batch: int | str = "batch") -> Path:
    """x (batch, 48) -> MatMul, Add, Relu, Gemm with a transposed weight -> softmax."""
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["m"]),
        helper.make_node("Add", ["m", "b1"], ["a"]),
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("Gemm", ["r", "w2", "b2"], ["z"], transB=1),
        helper.make_node("Softmax", ["z"], ["y"], axis=-1),
    ]
    tensors = [weight("w1", 48, 64), weight("b1", 64, seed=1), weight("w2", 10, 64, seed=2), weight("b2", 10, seed=3)]
    return save(path, nodes, [value("x", batch, 48)], [value("y", batch, 10)], tensors, opset)


def convolutional(path: Path, opset: int = 17) -> Path:
    """x (batch, 3, 12, 12) -> two convolutions, the second with groups, and a dense layer."""
    nodes = [
        helper.make_node("Conv", ["x", "k1", "c1"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("Conv", ["r", "k2"], ["b"], group=2, strides=[2, 2]),
        helper.make_node("GlobalAveragePool", ["b"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "w", "d"], ["y"]),
    ]
    tensors = [weight("k1", 16, 3, 3, 3), weight("c1", 16), weight("k2", 32, 8, 3, 3), weight("w", 32, 64), weight("d", 64)]
    return save(path, nodes, [value("x", "batch", 3, 12, 12)], [value("y", "batch", 64)], tensors, opset)


def several(path: Path, opset: int = 17) -> Path:
    """Two inputs, one of token numbers for an embedding; two outputs; one weight in two places; names that need care."""
    nodes = [
        helper.make_node("Gather", ["table", "tokens"], ["e"]),
        helper.make_node("ReduceMean", ["e"], ["m"], axes=[1], keepdims=0)
        if opset < 18
        else helper.make_node("ReduceMean", ["e", "axes"], ["m"], keepdims=0),
        helper.make_node("MatMul", ["m", "shared"], ["a"]),
        helper.make_node("MatMul", [ODD, "shared"], ["b"]),
        helper.make_node("Add", ["a", "b"], ["first"]),
        helper.make_node("Tanh", ["a"], ["second/out"]),
    ]
    tensors = [weight("table", 40, 32), weight("shared", 32, 32, seed=1)]
    if opset >= 18:
        tensors.append(numpy_helper.from_array(np.array([1], np.int64), "axes"))
    inputs = [value("tokens", "batch", 5, kind=TensorProto.INT64), value(ODD, "batch", 32)]
    return save(path, nodes, inputs, [value("first", "batch", 32), value("second/out", "batch", 32)], tensors, opset)


def branching(path: Path, opset: int = 17) -> Path:
    """A dense layer, and an If whose branches use an outer weight and an outer value."""

    def branch(name: str, operator: str) -> Any:
        made = [helper.make_node("MatMul", ["m", "w"], [f"{name}_p"]), helper.make_node(operator, [f"{name}_p"], [f"{name}_y"])]
        return helper.make_graph(made, name, [], [value(f"{name}_y", "batch", 32)])

    nodes = [
        helper.make_node("MatMul", ["x", "v"], ["m"]),
        helper.make_node("ReduceMax", ["x"], ["largest"], keepdims=0),
        helper.make_node("Greater", ["largest", "limit"], ["is_large"]),
        helper.make_node("If", ["is_large"], ["y"], then_branch=branch("then", "Neg"), else_branch=branch("else", "Relu")),
    ]
    tensors = [weight("v", 32, 64), weight("w", 64, 32, seed=1), numpy_helper.from_array(np.float32(2.5), "limit")]
    return save(path, nodes, [value("x", "batch", 32)], [value("y", "batch", 32)], tensors, opset)


def of_kind(path: Path, kind: Any) -> Path:
    """A dense layer of half or double precision."""
    code = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    return save(path, nodes, [value("x", "batch", 32, kind=code)], [value("y", "batch", 32, kind=code)], [weight("w", 32, 32, kind=kind)])


def tree(path: Path) -> Path:
    """No weights, no products."""
    attributes = {
        "nodes_treeids": [0, 0, 0], "nodes_nodeids": [0, 1, 2], "nodes_featureids": [0, 0, 0], "nodes_values": [0.5, 0.0, 0.0],
        "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF"], "nodes_truenodeids": [1, 0, 0], "nodes_falsenodeids": [2, 0, 0],
        "target_treeids": [0, 0], "target_nodeids": [1, 2], "target_ids": [0, 0], "target_weights": [1.0, 2.0],
    }  # fmt: skip
    node = helper.make_node("TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", n_targets=1, **attributes)
    graph = helper.make_graph([node], "g", [value("x", "batch", 3)], [value("y", "batch", 1)])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


MODELS = {"dense": dense, "convolutional": convolutional, "several": several, "branching": branching}


def rows_for(path: Path, count: int = 16, seed: int = 5) -> dict[str, np.ndarray]:
    """Rows that the model at `path` takes."""
    made = random(seed)
    rows = {}
    for item in onnx.load(path).graph.input:
        shape = [count, *(dim.dim_value for dim in item.type.tensor_type.shape.dim[1:])]
        kind = helper.tensor_dtype_to_np_dtype(item.type.tensor_type.elem_type)
        rows[item.name] = made.integers(0, 40, size=shape) if kind == np.int64 else made.normal(size=shape).astype(kind)
    return rows


def answers(path: Path, rows: dict[str, np.ndarray], optimization: str = "ENABLE_ALL") -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, f"ORT_{optimization}")
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return list(onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]).run(None, rows))


def difference(before: Path, after: Path, rows: dict[str, np.ndarray]) -> float:
    """The largest difference of an output element, relative to the output's largest."""
    pairs = zip(answers(before, rows), answers(after, rows), strict=True)
    return max(float(np.abs(new - old).max() / np.abs(old).max()) for old, new in pairs)


def operators(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


def loaded_operators(path: Path, folder: Path) -> list[str]:
    """The operators that ONNX Runtime runs, as it loads the model with the engine's own settings."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.log_severity_level = 4
    options.optimized_model_filepath = str(folder / "loaded.onnx")
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return operators(folder / "loaded.onnx")


def run(name: str, source: Path, destination: Path, rows: Any = None, **settings: Any) -> PassResult:
    """Run the pass called `name` with the rows that the model takes, or with `rows`."""
    given = rows_for(source, 64, 9) if rows is None else rows
    return PASSES.load(name)(PassJob(source, destination, complete_settings(PassUse(name, settings)), rows=given))
