"""An ONNX graph in PyTorch: the same answers as ONNX Runtime, and a refusal by name of what it does not know."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

pytest.importorskip("torch", reason="the extra 'torch' is not installed")

import torch

from fairlead.errors import UnsupportedError
from fairlead.optimize.passes.store_fp16 import store_fp16
from fairlead.optimize.training.network import network_of
from fairlead.optimize.training.prepare import readied, trainable_copy, with_weights
from fairlead.optimize.training.proof import prove

RANDOM = np.random.default_rng(1)


def node(operator: str, inputs: str, outputs: str = "t", **attributes: Any) -> tuple[str, list[str], list[str], dict[str, Any]]:
    return operator, inputs.split(), outputs.split(), attributes


PICTURES = [None, 4, 9, 9]
ONE_OPERATOR = {
    "convolution with uneven padding": (node("Conv", "x w", pads=[1, 0, 2, 1], strides=[2, 2]), PICTURES, {"w": (6, 4, 3, 3)}, {}),
    "convolution padded by itself": (node("Conv", "x w", auto_pad="SAME_UPPER", strides=[2, 2]), PICTURES, {"w": (6, 4, 3, 3)}, {}),
    "depthwise convolution": (node("Conv", "x w b", group=4, dilations=[2, 2]), PICTURES, {"w": (8, 1, 3, 3), "b": (8,)}, {}),
    "transposed convolution": (
        node("ConvTranspose", "x w b", strides=[2, 2], pads=[1, 0, 1, 1], output_padding=[1, 1]),
        PICTURES,
        {"w": (4, 5, 3, 3), "b": (5,)},
        {},
    ),
    "pooling with uneven padding": (node("MaxPool", "x", kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1]), PICTURES, {}, {}),
    "mean that does not count padding": (
        node("AveragePool", "x", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        PICTURES,
        {},
        {},
    ),
    "batch normalization": (node("BatchNormalization", "x a b c d", epsilon=1e-2), PICTURES, dict.fromkeys("abcd", (4,)), {}),
    "layer normalization": (node("LayerNormalization", "x a b", axis=-2), PICTURES, {"a": (9, 9), "b": (9, 9)}, {}),
    "slope per channel": (node("PRelu", "x a"), PICTURES, {"a": (4, 1, 1)}, {}),
    "gather from behind": (node("Gather", "x i", axis=2), PICTURES, {}, {"i": np.array([[-1, 0], [3, 2]])}),
    "slice backwards": (
        node("Slice", "x s e a p"),
        PICTURES,
        {},
        {"s": np.array([-2]), "e": np.array([-9]), "a": np.array([3]), "p": np.array([-2])},
    ),
    "uneven split": (node("Split", "x s", "t u", axis=1), PICTURES, {}, {"s": np.array([3, 1])}),
    "padding of an edge": (node("Pad", "x s", mode="edge"), PICTURES, {}, {"s": np.array([0, 0, 1, 0, 0, 0, 2, 1])}),
    "doubled by neighbours": (
        ("Resize", ["x", "", "s"], ["t"], {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}),
        PICTURES,
        {},
        {"s": np.array([1, 1, 2, 2], np.float32)},
    ),
    "depth to space": (node("DepthToSpace", "x", blocksize=2, mode="DCR"), PICTURES, {}, {}),
    "einsum": (node("Einsum", "x w", equation="bchw,wk->bkhc"), PICTURES, {"w": (9, 3)}, {}),
    "mean over named axes": (node("ReduceMean", "x", axes=[1, 3], keepdims=0), PICTURES, {}, {}),
    "selu": (node("Selu", "x"), PICTURES, {}, {}),
    "hard swish": (node("HardSwish", "x"), PICTURES, {}, {}),
    "both directions of an LSTM": (
        node("LSTM", "x w r b", "t u v", hidden_size=5, direction="bidirectional"),
        [None, 4, 3],
        {"w": (2, 20, 3), "r": (2, 20, 5), "b": (2, 40)},
        {},
    ),
    "a GRU that resets before": (
        node("GRU", "x w r b", "t u", hidden_size=5),
        [None, 4, 3],
        {"w": (1, 15, 3), "r": (1, 15, 5), "b": (1, 30)},
        {},
    ),
    "a GRU that resets after, backwards": (
        node("GRU", "x w r b", "t u", hidden_size=5, linear_before_reset=1, direction="reverse"),
        [None, 4, 3],
        {"w": (1, 15, 3), "r": (1, 15, 5), "b": (1, 30)},
        {},
    ),
}


@pytest.mark.parametrize("case", ONE_OPERATOR)
def test_an_operator_answers_as_in_onnx_runtime(case: str, networks: Any) -> None:
    (operator, inputs, outputs, attributes), shape, weights, stored = ONE_OPERATOR[case]
    inputs = ["scaled" if name == "x" else name for name in inputs]
    nodes = [node("Mul", "x scale", "scaled"), (operator, inputs, outputs, attributes), node("Flatten", "t", "y")]
    model = readied(networks.build(nodes, {**weights, "scale": (shape[-1],)}, shape, **stored))
    rows = {"x": RANDOM.normal(size=[6, *shape[1:]]).astype(np.float32)}
    assert prove(network_of(model), model, rows, tolerance=1e-5) <= 1e-5


def test_an_unknown_operator_is_refused_by_name(networks: Any) -> None:
    model = networks.build([node("Gemm", "x w", "h"), node("Det", "h", "y")], {"w": (4, 4)}, [None, 4])
    with pytest.raises(UnsupportedError, match="operator Det"):
        network_of(model)


def test_weights_that_a_pass_has_compressed_are_refused_with_the_cure(trained: Callable[[str], Path], tmp_path: Path) -> None:
    from fairlead.optimize.job import PassJob

    store_fp16(PassJob(trained("dense"), tmp_path / "half.onnx"))
    with pytest.raises(UnsupportedError, match="fewer bits") as caught:
        network_of(trainable_copy(tmp_path / "half.onnx"))
    assert "first" in caught.value.hint


def test_answers_that_differ_are_refused(networks: Any) -> None:
    model = readied(networks.dense(4))
    network = network_of(model)
    with torch.no_grad():
        network.parameters["w2"].mul_(1.1)
    with pytest.raises(UnsupportedError, match="cannot follow"):
        prove(network, model, {"x": RANDOM.normal(size=(8, 4)).astype(np.float32)})


def test_constants_of_a_formula_are_not_trained(networks: Any) -> None:
    """Gelu written out: its numbers are no weights, and neither is a mask."""
    nodes = [
        node("Gemm", "x w", "h"),
        node("Div", "h root", "d"),
        node("Erf", "d", "e"),
        node("Add", "e one", "f"),
        node("Mul", "h f", "g"),
        node("Add", "g mask", "y"),
    ]
    stored = {"root": np.float32(np.sqrt(2)), "one": np.float32(1), "mask": np.array([0, 0, -1e9], np.float32)}
    network = network_of(networks.build(nodes, {"w": (4, 3)}, [None, 4], **stored))
    assert list(network.parameters) == ["w"]


def test_vectors_that_two_layers_share_by_accident_are_parted(networks: Any) -> None:
    model = networks.build(
        [node("Gemm", "x w b", "h"), node("Relu", "h", "a"), node("Gemm", "a v b", "y")], {"w": (4, 4), "v": (4, 4), "b": (4,)}, [None, 4]
    )
    ready = readied(model)
    assert ready.graph.node[0].input[2] != ready.graph.node[2].input[2]
    assert prove(network_of(ready), model, {"x": RANDOM.normal(size=(8, 4)).astype(np.float32)}) <= 1e-6


def test_a_first_state_of_computed_zeros_is_left_out(networks: Any) -> None:
    zeros = helper.make_tensor("value", TensorProto.FLOAT, [1], [0.0])
    nodes = [
        node("Transpose", "x", "s", perm=[1, 0, 2]),
        node("ConstantOfShape", "size", "z", value=zeros),
        ("LSTM", ["s", "w", "r", "", "", "z", "z"], ["t", "h", "c"], {"hidden_size": 5}),
        node("Squeeze", "h first", "y"),
    ]
    model = networks.build(nodes, {"w": (1, 20, 3), "r": (1, 20, 5)}, [None, 4, 3], size=np.array([1, 6, 5]), first=np.array([0]))
    ready = readied(model)
    (layer,) = [item for item in ready.graph.node if item.op_type == "LSTM"]
    assert set(layer.input[5:]) == {""}


def test_weights_are_written_back_under_their_names(networks: Any) -> None:
    model = readied(networks.dense(4))
    network = network_of(model)
    with torch.no_grad():
        for value in network.parameters.values():
            value.add_(0.25)
    changed = with_weights(model, network.stored())
    rows = {"x": RANDOM.normal(size=(8, 4)).astype(np.float32)}
    assert prove(network, changed, rows) <= 1e-5
    assert [tensor.name for tensor in changed.graph.initializer] == [tensor.name for tensor in model.graph.initializer]
