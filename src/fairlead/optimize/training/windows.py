"""Windows of convolutions and poolings as their ONNX attributes say them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx
from onnx import helper

# Operators that change values one by one, or channel by channel.
POINTWISE = frozenset(
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


def set_window(node: onnx.NodeProto, kernel: Sequence[int], strides: Sequence[int], pads: Sequence[int]) -> None:
    """Give an operator another window."""
    kept = [item for item in node.attribute if item.name not in _WINDOW]
    del node.attribute[:]
    node.attribute.extend(kept)
    for name, values in zip(_WINDOW, (kernel, strides, pads), strict=False):
        node.attribute.append(helper.make_attribute(name, [int(value) for value in values]))
