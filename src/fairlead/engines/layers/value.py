"""What flows between layers of the reference engine: a tensor with the mask that Keras would carry along with it.

Numbers with a fraction are float64 in flight, so that the reference is more exact than the float32 framework that it stands for.
A mask is bool, (batch, steps), True where a step counts. https://keras.io/guides/understanding_masking_and_padding/
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from fairlead.core.interface import Array


@dataclass(frozen=True)
class Value:
    """A tensor and its mask (None: every step counts, or the tensor has no steps)."""

    data: Array
    mask: Array | None = None


@dataclass(frozen=True)
class Inputs:
    """What one call gives to its layer: `values` in the order of the signature, or `named` by argument, and plain `constants`."""

    values: tuple[Value, ...]
    constants: Mapping[str, Any]
    argument_names: tuple[str, ...] = ()

    @property
    def first(self) -> Value:
        """The tensor that the layer is called on."""
        return self.values[0]

    def named(self, argument: str) -> tuple[Value, ...]:
        """Return the tensors given for `argument`; empty where there is none or where the call names no arguments."""
        return tuple(value for value, name in zip(self.values, self.argument_names, strict=False) if name == argument)


Evaluate: TypeAlias = Callable[[Inputs], tuple[Value, ...]]


def on_each(function: Callable[[Array], Array]) -> Evaluate:
    """Return an evaluation that keeps the mask: for layers that work on each step by itself."""

    def evaluate(inputs: Inputs) -> tuple[Value, ...]:
        return (Value(function(inputs.first.data), inputs.first.mask),)

    return evaluate


def on_all(function: Callable[[Array], Array]) -> Evaluate:
    """Return an evaluation that drops the mask: for layers that mix or move steps."""

    def evaluate(inputs: Inputs) -> tuple[Value, ...]:
        return (Value(function(inputs.first.data)),)

    return evaluate
