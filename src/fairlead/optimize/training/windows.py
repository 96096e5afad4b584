"""Convolutions and poolings in an ONNX graph: their windows, as attributes say them, and which convolution stands before what. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx
from onnx import helper

# Operators that change values one by one, or channel by channel.
_POINTWISE = frozenset(
    {"Relu", "LeakyRelu", "PRelu", "Clip", "Sigmoid", "Tanh", "Elu", "Selu", "HardSwish", "HardSigmoid", "Softplus", "Gelu", "Identity"}
    | {"Dropout", "BatchNormalization"}
)
_WINDOW = ("kernel_shape", "strides", "pads", "auto_pad")


def attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """Return the value of an attribute, or `default` where the operator does not carry it."""
    return next((helper.get_attribute_value(item) for item in node.attribute if item.name == name), default)


def numbers(node: onnx.NodeProto, name: str, count: int, default: int) -> list[int]:
    """Return an attribute of `count` numbers, each `default` where it is left out."""
    return list(attribute(node, name, ())) or [default] * count


def is_plain(node: onnx.NodeProto) -> bool:
    """Whether its window has no gaps and its padding stands in numbers."""
    mode = attribute(node, "auto_pad", b"NOTSET")
    return mode in (b"NOTSET", b"VALID") and all(step == 1 for step in attribute(node, "dilations", ()))


def convolution_before(graph: onnx.GraphProto, name: str) -> tuple[onnx.NodeProto, ...]:
    """Return the convolution that `name` comes from and the operators up to it, in their order: nothing else reads what they give, and
    all but the first change values one by one, or channel by channel. () where there is no such convolution.
    """
    makers = {output: node for node in graph.node for output in node.output}
    outputs = {value.name for value in graph.output}
    passed: list[onnx.NodeProto] = []
    while name in makers and name not in outputs and sum(list(node.input).count(name) for node in graph.node) == 1:
        node = makers[name]
        passed.insert(0, node)
        if node.op_type == "Conv":
            return tuple(passed)
        if node.op_type not in _POINTWISE or len(node.output) > 1:
            return ()
        name = node.input[0]
    return ()


def set_window(node: onnx.NodeProto, kernel: Sequence[int], strides: Sequence[int], pads: Sequence[int]) -> None:
    """Give an operator another window."""
    kept = [item for item in node.attribute if item.name not in _WINDOW]
    del node.attribute[:]
    node.attribute.extend(kept)
    for name, values in zip(_WINDOW, (kernel, strides, pads), strict=False):
        node.attribute.append(helper.make_attribute(name, [int(value) for value in values]))
