"""A small network and rows to compress it with, made in milliseconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def network(path: Path, *, hidden: int = 256, seed: int = 0) -> Path:
    """softmax(relu(x @ a) @ b): 8 inputs, 3 classes."""
    source = np.random.default_rng(seed)
    weights = {
        "a": source.normal(size=(8, hidden)).astype(np.float32),
        "b": (source.normal(size=(hidden, 3)) / np.sqrt(hidden)).astype(np.float32),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "b"], ["s"]),
        helper.make_node("Softmax", ["s"], ["y"], axis=-1),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def rows(path: Path, model: Path, *, count: int = 500, seed: int = 1, labels: str = "own") -> Path:
    """Rows that the model decides rightly but for a few; `labels` "one" gives all of them the same class, "none" none."""
    import onnxruntime

    x = np.random.default_rng(seed).normal(size=(count, 8)).astype(np.float32)
    scores = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    y = scores.argmax(axis=1)
    y[::50] = (y[::50] + 1) % 3
    arrays = {"x": x} if labels == "none" else {"x": x, "y": np.zeros_like(y) if labels == "one" else y}
    np.savez(path, **arrays)
    return path
