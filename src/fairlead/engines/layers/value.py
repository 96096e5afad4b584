"""What a layer of the reference engine gets and gives. Numbers with a fraction are float64 in flight, so that the reference is more
exact than the float32 framework that it stands for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from fairlead.core.interface import Array


@dataclass(frozen=True)
class Inputs:
    """One call: tensors by argument name, as `core.layer_kinds.call_arguments` orders them, and arguments that are plain data."""

    arguments: Mapping[str, tuple[Array, ...]]
    constants: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tensors(self) -> tuple[Array, ...]:
        """Every tensor, in the order of the signature."""
        return tuple(tensor for tensors in self.arguments.values() for tensor in tensors)

    @property
    def first(self) -> Array:
        """The tensor that the layer is called on."""
        return self.tensors[0]

    def is_set(self, constant: str) -> bool:
        """Whether the call switches `constant` on."""
        return bool(self.constants.get(constant))


Evaluate: TypeAlias = Callable[[Inputs], tuple[Array, ...]]


def on_first(function: Callable[[Array], Array]) -> Evaluate:
    """Return the evaluation of a layer that makes one tensor of one."""
    return lambda inputs: (function(inputs.first),)
