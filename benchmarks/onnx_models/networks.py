"""Networks: dense, convolution, sequence, attention, quantized, with control flow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from onnx_models.case import DOUBLE, FLOAT, HALF, INT64, Case, model, weight

node = helper.make_node


def mlp(kind: int = FLOAT, dtype: Any = np.float32, *, batch: Any = "batch", opset: int = 17, ir: int = 8) -> Any:
    nodes = [
        node("Gemm", ["x", "w1", "b1"], ["h"]),
        node("Relu", ["h"], ["r"]),
        node("Gemm", ["r", "w2", "b2"], ["z"]),
        node("Softmax", ["z"], ["y"], axis=1),
    ]
    weights = {"w1": weight(4, 8), "b1": weight(8, seed=1), "w2": weight(8, 3), "b2": weight(3, seed=2)}
    cast = {name: array.astype(dtype) for name, array in weights.items()}
    return model(nodes, [("x", kind, [batch, 4])], [("y", kind, [batch, 3])], cast, opset=opset, ir=ir)


def old_style() -> Any:
    """IR 3: every initializer is listed as an input."""
    made = mlp(opset=9, ir=3)
    made.graph.input.extend(helper.make_tensor_value_info(one.name, one.data_type, list(one.dims)) for one in made.graph.initializer)
    return made


def convolution(side: Any = 8) -> Any:
    nodes = [
        node("Conv", ["x", "k"], ["c"], pads=[1, 1, 1, 1]),
        node("BatchNormalization", ["c", "s", "o", "m", "v"], ["n"]),
        node("Relu", ["n"], ["r"]),
        node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        node("GlobalAveragePool", ["p"], ["g"]),
        node("Flatten", ["g"], ["f"]),
        node("Gemm", ["f", "w"], ["z"]),
        node("Softmax", ["z"], ["y"], axis=1),
    ]
    each = {name: np.abs(weight(4, seed=seed)) + np.float32(0.5) for seed, name in enumerate(("s", "o", "m", "v"))}
    return model(
        nodes, [("x", FLOAT, ["n", 3, side, side])], [("y", FLOAT, ["n", 5])], {"k": weight(4, 3, 3, 3), "w": weight(4, 5), **each}
    )


def upsampling() -> Any:
    nodes = [
        node("ConvTranspose", ["x", "k"], ["c"], strides=[2, 2]),
        node("Resize", ["c", "", "scales"], ["r"], mode="nearest"),
        node("Sigmoid", ["r"], ["y"]),
    ]
    weights = {"k": weight(2, 3, 2, 2), "scales": np.array([1, 1, 2, 2], dtype=np.float32)}
    return model(nodes, [("x", FLOAT, ["n", 2, 4, 4])], [("y", FLOAT, ["n", 3, 16, 16])], weights)


def recurrent(kind: str, *, directions: int = 1) -> Any:
    gates, units = {"LSTM": 4, "GRU": 3, "RNN": 1}[kind], 5
    more = {"direction": "bidirectional"} if directions == 2 else {}
    nodes = [
        node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        node(kind, ["t", "w", "r"], ["", "h"], hidden_size=units, **more),
        node("Transpose", ["h"], ["b"], perm=[1, 0, 2]),
        node("Flatten", ["b"], ["f"]),
        node("Gemm", ["f", "o"], ["y"]),
    ]
    weights = {
        "w": weight(directions, gates * units, 3),
        "r": weight(directions, gates * units, units),
        "o": weight(directions * units, 2),
    }
    return model(nodes, [("x", FLOAT, ["batch", "steps", 3])], [("y", FLOAT, ["batch", 2])], weights)


def embedding() -> Any:
    nodes = [
        node("Gather", ["table", "ids"], ["e"]),
        node("ReduceMean", ["e"], ["m"], axes=[1], keepdims=0),
        node("Gemm", ["m", "w"], ["y"]),
    ]
    return model(nodes, [("ids", INT64, ["batch", "steps"])], [("y", FLOAT, ["batch", 2])], {"table": weight(20, 6), "w": weight(6, 2)})


def attention() -> Any:
    nodes = [
        *(node("MatMul", ["x", name], [f"{name}x"]) for name in ("q", "k", "v")),
        node("Transpose", ["kx"], ["kt"], perm=[0, 2, 1]),
        node("MatMul", ["qx", "kt"], ["s"]),
        node("Softmax", ["s"], ["p"], axis=2),
        node("MatMul", ["p", "vx"], ["a"]),
        node("Add", ["a", "x"], ["y"]),
    ]
    weights = {name: weight(4, 4, seed=seed) for seed, name in enumerate("qkv")}
    return model(nodes, [("x", FLOAT, ["batch", "steps", 4])], [("y", FLOAT, ["batch", "steps", 4])], weights)


def two_and_two() -> Any:
    nodes = [
        node("MatMul", ["a", "l"], ["al"]),
        node("MatMul", ["b", "r"], ["br"]),
        node("Add", ["al", "br"], ["sum"]),
        node("Relu", ["sum"], ["hidden"]),
        node("ReduceSum", ["hidden", "axis"], ["total"], keepdims=1),
    ]
    weights = {"l": weight(2, 3), "r": weight(4, 3), "axis": np.array([1], dtype=np.int64)}
    return model(
        nodes, [("a", FLOAT, ["n", 2]), ("b", FLOAT, ["n", 4])], [("hidden", FLOAT, ["n", 3]), ("total", FLOAT, ["n", 1])], weights
    )


def quantized() -> Any:
    nodes = [
        node("QuantizeLinear", ["x", "xs", "xz"], ["xq"]),
        node("DequantizeLinear", ["xq", "xs", "xz"], ["xd"]),
        node("DequantizeLinear", ["w", "ws"], ["wd"]),
        node("MatMul", ["xd", "wd"], ["y"]),
    ]
    weights = {
        "xs": np.float32(0.05),
        "xz": np.uint8(128),
        "w": np.random.default_rng(0).integers(-100, 100, (4, 3)).astype(np.int8),
        "ws": np.float32(0.01),
    }
    return model(
        nodes,
        [("x", FLOAT, ["n", 4])],
        [("y", FLOAT, ["n", 3])],
        {name: np.asarray(array) for name, array in weights.items()},
        opset=19,
        ir=9,
    )


def branch() -> Any:
    """An If on a constant shape: both branches are plain."""
    then = helper.make_graph([node("Relu", ["x"], ["t"])], "then", [], [helper.make_tensor_value_info("t", FLOAT, None)])
    other = helper.make_graph([node("Neg", ["x"], ["e"])], "else", [], [helper.make_tensor_value_info("e", FLOAT, None)])
    nodes = [node("If", ["yes"], ["y"], then_branch=then, else_branch=other)]
    return model(nodes, [("x", FLOAT, ["n", 4])], [("y", FLOAT, ["n", 4])], {"yes": np.asarray(True)})


def loop() -> Any:
    """Three rounds of x = x * 0.5 + 1."""
    body = helper.make_graph(
        [node("Mul", ["in", "half"], ["m"]), node("Add", ["m", "one"], ["out"]), node("Identity", ["go"], ["on"])],
        "body",
        [
            helper.make_tensor_value_info("i", INT64, []),
            helper.make_tensor_value_info("go", onnx.TensorProto.BOOL, []),
            helper.make_tensor_value_info("in", FLOAT, None),
        ],
        [helper.make_tensor_value_info("on", onnx.TensorProto.BOOL, []), helper.make_tensor_value_info("out", FLOAT, None)],
        [numpy_helper.from_array(np.float32(0.5), "half"), numpy_helper.from_array(np.float32(1), "one")],
    )
    nodes = [node("Loop", ["count", "yes", "x"], ["y"], body=body)]
    weights = {"count": np.asarray(3, dtype=np.int64), "yes": np.asarray(True)}
    return model(nodes, [("x", FLOAT, ["n", 4])], [("y", FLOAT, ["n", 4])], weights)


def save_external(made: Any, path: Path) -> None:
    onnx.save(made, path, save_as_external_data=True, location=f"{path.name}.data", size_threshold=0)


FAMILIES = {
    "dense": (
        Case("softmax of a perceptron", mlp),
        Case("in double precision", lambda: mlp(DOUBLE, np.float64)),
        Case("in half precision", lambda: mlp(HALF, np.float16)),
        Case("exported for one row", lambda: mlp(batch=1)),
        Case("exported for four rows", lambda: mlp(batch=4)),
        Case("weights in a file beside it", mlp, save=save_external),
        Case("opset 9, initializers as inputs", old_style),
        Case("two inputs, two outputs", two_and_two),
        Case("quantized with QDQ", quantized),
        Case("a branch", branch),
        Case("a loop", loop),
    ),
    "convolution": (
        Case("convolution, normalization, pooling", convolution),
        Case("free height and width", lambda: convolution("side"), lengths=(8, 12)),
        Case("transposed convolution and resize", upsampling),
    ),
    "sequence": (
        Case("LSTM of any length", lambda: recurrent("LSTM"), lengths=(6, 13)),
        Case("GRU in both directions", lambda: recurrent("GRU", directions=2), lengths=(6, 13)),
        Case("RNN", lambda: recurrent("RNN"), lengths=(6, 13)),
        Case("embedding of ids", embedding, lengths=(6, 13)),
    ),
    "attention": (Case("attention of any length", attention, lengths=(6, 13)),),
}
