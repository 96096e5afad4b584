"""Activations, as functions of one tensor and as layers.

Formulas are those of Keras 3 (https://keras.io/api/layers/activations/). Element-wise ones work in any memory order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fairlead.convert.graph_builder import GraphBuilder, Value
from fairlead.convert.layer_use import LayerUse

# Scale and slope of SELU: https://arxiv.org/abs/1706.02515
_SELU_ALPHA = 1.6732632423543772848170429916717
_SELU_SCALE = 1.0507009873554804934193349852946


def activate(use: LayerUse, name: str, value: Value) -> Value:
    """Return `value` after the activation called `name`. Raises UnsupportedError for one that is not known."""
    value = use.builder.as_float(value)
    if name == "linear":
        return value
    if name in ("softmax", "log_softmax"):
        return softmax(use.builder, value, -1, is_log=name == "log_softmax")
    function = _FUNCTIONS.get(name)
    if function is None:
        raise use.refusal(f"has the activation '{name}', which is not supported")
    return replace(value, name=function(use.builder, value.name))


def softmax(builder: GraphBuilder, value: Value, axis: int, *, is_log: bool = False) -> Value:
    """Return (the logarithm of) softmax along one Keras axis."""
    if value.columns is not None and axis % value.rank != 1:
        value = builder.arranged(value)
    return replace(value, name=builder.add("LogSoftmax" if is_log else "Softmax", [value.name], axis=value.axis(axis)))


def convert_activation(use: LayerUse, inputs: Sequence[Value]) -> list[Value]:
    """Activation."""
    return [activate(use, use.config.get("activation"), inputs[0])]


def convert_softmax(use: LayerUse, inputs: Sequence[Value]) -> list[Value]:
    """Softmax over one axis, or over several at once."""
    builder, value = use.builder, use.builder.as_float(inputs[0])
    axes = use.config.get("axis", -1)
    if isinstance(axes, int):
        return [softmax(builder, value, axes)]
    if len(axes) == 1:
        return [softmax(builder, value, axes[0])]
    value = builder.arranged(value)
    reduced = builder.integers([axis % value.rank for axis in axes], "axes")
    shifted = builder.add("Sub", [value.name, builder.add("ReduceMax", [value.name, reduced], keepdims=1)])
    powers = builder.add("Exp", [shifted])
    return [replace(value, name=builder.add("Div", [powers, builder.add("ReduceSum", [powers, reduced], keepdims=1)]))]


def convert_relu(use: LayerUse, inputs: Sequence[Value]) -> list[Value]:
    """ReLU with a slope below the threshold and a ceiling: x above the threshold (at most max_value), slope * (x - threshold) below."""
    builder, value = use.builder, use.builder.as_float(inputs[0])
    slope, ceiling, threshold = (use.config.get(key) for key in ("negative_slope", "max_value", "threshold"))
    slope, threshold = slope or 0.0, threshold or 0.0
    return [replace(value, name=_relu(builder, value.name, float(slope), ceiling, float(threshold)))]


def _relu(builder: GraphBuilder, x: str, slope: float, ceiling: float | None, threshold: float) -> str:
    if threshold == 0.0 and slope != 0.0 and ceiling is None:
        return builder.add("LeakyRelu", [x], alpha=slope)
    if threshold == 0.0:
        upper = builder.add("Relu", [x]) if ceiling is None else builder.add("Clip", [x, builder.floats(0.0), builder.floats(ceiling)])
    else:
        level = builder.floats(threshold)
        upper = builder.add("Where", [builder.add("Greater", [x, level]), x, builder.floats(0.0)])
        upper = upper if ceiling is None else builder.add("Clip", [upper, builder.floats(0.0), builder.floats(ceiling)])
    if slope == 0.0:
        return upper
    below = builder.add("Min", [builder.add("Sub", [x, builder.floats(threshold)]), builder.floats(0.0)])
    return builder.add("Add", [upper, builder.add("Mul", [below, builder.floats(slope)])])


def convert_leaky_relu(use: LayerUse, inputs: Sequence[Value]) -> list[Value]:
    """LeakyReLU."""
    value = use.builder.as_float(inputs[0])
    return [replace(value, name=use.builder.add("LeakyRelu", [value.name], alpha=float(use.config.get("negative_slope"))))]


def convert_elu(use: LayerUse, inputs: Sequence[Value]) -> list[Value]:
    """ELU."""
    value = use.builder.as_float(inputs[0])
    return [replace(value, name=use.builder.add("Elu", [value.name], alpha=float(use.config.get("alpha"))))]


def convert_prelu(use: LayerUse, inputs: Sequence[Value]) -> list[Value]:
    """PReLU; alpha has the input's shape without the batch, with 1 on `shared_axes`, and so broadcasts."""
    value = use.builder.as_float(inputs[0])
    use.config.get("shared_axes")  # already in alpha's shape
    alpha = use.weight("alpha")
    if alpha.ndim != value.rank - 1:
        raise use.refusal(f"has an alpha of {alpha.ndim} axes for an input of {value.rank}")
    if value.columns is not None:
        alpha = alpha[..., value.columns]
    if value.order:
        alpha = alpha[np.newaxis].transpose(value.order)
    return [replace(value, name=use.builder.add("PRelu", [value.name, use.builder.floats(alpha, "alpha")]))]


def _simple(operator: str, **attributes: Any) -> Callable[[GraphBuilder, str], str]:
    return lambda builder, x: builder.add(operator, [x], **attributes)


def _relu6(builder: GraphBuilder, x: str) -> str:
    return builder.add("Clip", [x, builder.floats(0.0), builder.floats(6.0)])


def _silu(builder: GraphBuilder, x: str) -> str:
    return builder.add("Mul", [x, builder.add("Sigmoid", [x])])


def _log_sigmoid(builder: GraphBuilder, x: str) -> str:
    return builder.add("Neg", [builder.add("Softplus", [builder.add("Neg", [x])])])


def _hard_tanh(builder: GraphBuilder, x: str) -> str:
    return builder.add("Clip", [x, builder.floats(-1.0), builder.floats(1.0)])


def _tanh_shrink(builder: GraphBuilder, x: str) -> str:
    return builder.add("Sub", [x, builder.add("Tanh", [x])])


def _squareplus(builder: GraphBuilder, x: str) -> str:
    """(x + sqrt(x^2 + 4)) / 2."""
    root = builder.add("Sqrt", [builder.add("Add", [builder.add("Mul", [x, x]), builder.floats(4.0)])])
    return builder.add("Mul", [builder.add("Add", [x, root]), builder.floats(0.5)])


_FUNCTIONS: dict[str, Callable[[GraphBuilder, str], str]] = {
    "relu": _simple("Relu"),
    "relu6": _relu6,
    "leaky_relu": _simple("LeakyRelu", alpha=0.2),
    "elu": _simple("Elu", alpha=1.0),
    "selu": _simple("Selu", alpha=_SELU_ALPHA, gamma=_SELU_SCALE),
    "celu": _simple("Elu", alpha=1.0),  # equal to CELU for alpha 1
    "gelu": _simple("Gelu"),
    "sigmoid": _simple("Sigmoid"),
    "hard_sigmoid": _simple("HardSigmoid", alpha=1 / 6, beta=0.5),
    "tanh": _simple("Tanh"),
    "softplus": _simple("Softplus"),
    "softsign": _simple("Softsign"),
    "silu": _silu,
    "hard_silu": _simple("HardSwish"),
    "exponential": _simple("Exp"),
    "mish": _simple("Mish"),
    "log_sigmoid": _log_sigmoid,
    "hard_tanh": _hard_tanh,
    "tanh_shrink": _tanh_shrink,
    "soft_shrink": _simple("Shrink", lambd=0.5, bias=0.5),
    "hard_shrink": _simple("Shrink", lambd=0.5, bias=0.0),
    "squareplus": _squareplus,
}
