"""What ONNX operators that work element by element compute, in PyTorch. Never changes a tensor in place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from fairlead.optimize.training.operation import Call, Compute, not_trainable

# Element types of ONNX (onnx.TensorProto.DataType) that networks compute with.
TORCH_TYPES = {1: torch.float32, 2: torch.uint8, 3: torch.int8, 6: torch.int32, 7: torch.int64, 9: torch.bool, 10: torch.float16}
TORCH_TYPES[11] = torch.float64


def _plain(function: Any) -> Compute:
    """Let `function` of tensors alone stand in the table."""
    return lambda _call, *values: function(*values)


def _cast(call: Call, value: Tensor, *_rest: Tensor) -> Tensor:
    wanted = TORCH_TYPES.get(call.get("to", 1))
    if wanted is None:
        raise not_trainable(f"Cast to the element type {call.get('to')}")
    return value.to(wanted)


def _clip(call: Call, value: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    if low is None and "min" in call.attributes:
        low = torch.tensor(call.get("min"), dtype=value.dtype)
    if high is None and "max" in call.attributes:
        high = torch.tensor(call.get("max"), dtype=value.dtype)
    return value if low is None and high is None else torch.clamp(value, low, high)


def _gelu(call: Call, value: Tensor) -> Tensor:
    return functional.gelu(value, approximate=call.get("approximate", b"none").decode())


def _hard_sigmoid(call: Call, value: Tensor) -> Tensor:
    return torch.clamp(call.get("alpha", 0.2) * value + call.get("beta", 0.5), 0, 1)


def _divide(_call: Call, left: Tensor, right: Tensor) -> Tensor:
    return left / right if left.is_floating_point() else torch.div(left, right, rounding_mode="trunc")


def _remainder(call: Call, left: Tensor, right: Tensor) -> Tensor:
    return torch.fmod(left, right) if call.get("fmod", 0) else torch.remainder(left, right)


def _power(_call: Call, base: Tensor, exponent: Tensor) -> Tensor:
    return torch.pow(base, exponent).to(base.dtype)


def _many(function: Any) -> Compute:
    """An operator of any number of inputs, as repeated steps of two."""

    def compute(_call: Call, first: Tensor, *rest: Tensor) -> Tensor:
        for value in rest:
            first = function(first, value)
        return first

    return compute


def _mean(call: Call, *values: Tensor) -> Tensor:
    total = _many(torch.add)(call, *values)
    return total / len(values)  # type: ignore[no-any-return] # `_many` gives what the table holds


def _slope(_call: Call, value: Tensor, slope: Tensor) -> Tensor:
    return torch.where(value >= 0, value, slope * value)


def _shrink(call: Call, value: Tensor) -> Tensor:
    bias, limit = call.get("bias", 0.0), call.get("lambd", 0.5)
    return torch.where(value < -limit, value + bias, torch.where(value > limit, value - bias, torch.zeros_like(value)))


ELEMENTWISE: Mapping[str, Compute] = {
    "Identity": _plain(lambda value: value),
    "Dropout": lambda _call, value, *_rest: value,  # as in inference
    "Relu": _plain(torch.relu),
    "LeakyRelu": lambda call, value: functional.leaky_relu(value, call.get("alpha", 0.01)),
    "Elu": lambda call, value: functional.elu(value, call.get("alpha", 1.0)),
    "Celu": lambda call, value: functional.celu(value, call.get("alpha", 1.0)),
    "Selu": lambda call, value: (
        call.get("gamma", 1.0507009873554805)
        * torch.where(value > 0, value, call.get("alpha", 1.6732632423543772) * torch.expm1(torch.clamp(value, max=0)))
    ),
    "ThresholdedRelu": lambda call, value: torch.where(value > call.get("alpha", 1.0), value, torch.zeros_like(value)),
    "PRelu": _slope,
    "Sigmoid": _plain(torch.sigmoid),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": lambda _call, value: value * torch.clamp(value / 6 + 0.5, 0, 1),
    "Swish": lambda call, value: value * torch.sigmoid(call.get("alpha", 1.0) * value),
    "Mish": _plain(functional.mish),
    "Gelu": _gelu,
    "Tanh": _plain(torch.tanh),
    "Softplus": lambda _call, value: functional.softplus(value, threshold=30.0),
    "Softsign": _plain(functional.softsign),
    "Shrink": _shrink,
    "Erf": _plain(torch.erf),
    "Exp": _plain(torch.exp),
    "Log": _plain(torch.log),
    "Sqrt": _plain(torch.sqrt),
    "Reciprocal": _plain(torch.reciprocal),
    "Abs": _plain(torch.abs),
    "Neg": _plain(torch.neg),
    "Floor": _plain(torch.floor),
    "Ceil": _plain(torch.ceil),
    "Round": _plain(torch.round),
    "Sign": _plain(torch.sign),
    "Sin": _plain(torch.sin),
    "Cos": _plain(torch.cos),
    "IsNaN": _plain(torch.isnan),
    "Not": _plain(torch.logical_not),
    "Add": _plain(torch.add),
    "Sub": _plain(torch.sub),
    "Mul": _plain(torch.mul),
    "Div": _divide,
    "Mod": _remainder,
    "Pow": _power,
    "Min": _many(torch.minimum),
    "Max": _many(torch.maximum),
    "Sum": _many(torch.add),
    "Mean": _mean,
    "Equal": _plain(torch.eq),
    "Greater": _plain(torch.gt),
    "GreaterOrEqual": _plain(torch.ge),
    "Less": _plain(torch.lt),
    "LessOrEqual": _plain(torch.le),
    "And": _plain(torch.logical_and),
    "Or": _plain(torch.logical_or),
    "Xor": _plain(torch.logical_xor),
    "Where": _plain(torch.where),
    "Cast": _cast,
    "CastLike": lambda _call, value, like: value.to(like.dtype),
    "Clip": _clip,
}
