"""Operators on tensors in a functional Keras 3 model (x + y, x * 2) as the layers that do the same.

Takes the operator's class and its call, gives kind, canonical config and a call with tensors only. Raises LeftToKerasError for others.
"""

from __future__ import annotations

import math
from typing import Any

from fairlead.core.layer_kinds import KNOWN_KINDS
from fairlead.ingest.keras_layers import LeftToKerasError
from fairlead.ingest.keras_names import MASK_OPERATIONS
from fairlead.ingest.keras_nodes import NodeCall, TensorName

_ARITHMETIC = {"Add", "Subtract", "Multiply", "Maximum", "Minimum"}
_ACTIVATIONS = {"Relu": "relu", "Sigmoid": "sigmoid", "Tanh": "tanh", "Exp": "exponential"}


def translate_operation(name: str, class_name: str, call: NodeCall) -> tuple[str, dict[str, Any], NodeCall]:
    """Return the layer that does what the operator does, on floating-point tensors."""
    if class_name in MASK_OPERATIONS:
        raise LeftToKerasError(name, f"the operator {class_name} makes a mask, which Fairlead does not follow by itself")
    args = [*call.args, *(call.kwargs[key] for key in ("x1", "x2", "x") if key in call.kwargs)]
    tensors = [arg for arg in args if isinstance(arg, TensorName)]
    if len(args) == 2 and len(tensors) == 2 and class_name in _ARITHMETIC:
        return class_name, dict(KNOWN_KINDS[class_name].config), NodeCall([tensors])
    if len(args) == 2 and len(tensors) == 1:
        scale_offset = _scale_offset(class_name, args)
        if scale_offset is not None:
            return "Rescaling", {"scale": scale_offset[0], "offset": scale_offset[1]}, NodeCall(list(tensors))
    if len(args) == 1 and len(tensors) == 1 and class_name == "Negative":
        return "Rescaling", {"scale": -1.0, "offset": 0.0}, NodeCall(list(tensors))
    if len(args) == 1 and len(tensors) == 1 and class_name in _ACTIVATIONS:
        return "Activation", {"activation": _ACTIVATIONS[class_name]}, NodeCall(list(tensors))
    raise LeftToKerasError(name, f"the operator {class_name} is not known in this form")


def _scale_offset(class_name: str, args: list[Any]) -> tuple[float, float] | None:
    """Return (scale, offset) of `tensor * scale + offset`; None where the operator with a number is not of that form."""
    is_left = isinstance(args[0], TensorName)
    number = args[1] if is_left else args[0]
    if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
        return None
    value = float(number)
    if class_name == "Add":
        return 1.0, value
    if class_name == "Multiply":
        return value, 0.0
    if class_name == "Subtract":
        return (1.0, -value) if is_left else (-1.0, value)
    if class_name in ("Divide", "TrueDivide") and is_left and value:
        return 1.0 / value, 0.0
    return None
