"""One use of a layer while it is converted: its config, weights and constants, each of which must be asked for.

A key that no converter asked for is a setting that would be ignored silently; `check_all_used` refuses it by name (UnsupportedError).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fairlead.convert.graph_builder import GraphBuilder, Value
from fairlead.core.interface import Array
from fairlead.errors import UnsupportedError

KERAS_HINT = "Keras itself may convert it: pip install 'fairlead[keras]'."


class Options:
    """A mapping that remembers what was read."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options
        self._read: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        """Return the option, or `default` where the mapping lacks it."""
        self._read.add(key)
        return self._options.get(key, default)

    def unread(self) -> list[str]:
        """Return the keys that nobody asked for, sorted."""
        return sorted(set(self._options) - self._read)


@dataclass(frozen=True, eq=False)
class LayerUse:
    """`weights` are the layer's own by role; `constants` the plain arguments of this call; `arguments` its tensors by argument name.

    `convert` converts another layer's use, for layers that wrap one.
    """

    builder: GraphBuilder
    name: str
    kind: str
    config: Options
    weights: Mapping[str, Array] = field(repr=False)
    convert: Callable[[LayerUse, Sequence[Value]], list[Value]] = field(repr=False)
    constants: Options = field(default_factory=lambda: Options({}))
    arguments: Mapping[str, Sequence[Value]] = field(default_factory=dict)

    def weight(self, role: str) -> Array:
        """Return a weight as float64, so that folding rounds once. Raises UnsupportedError where the file has none."""
        if role not in self.weights:
            raise self.refusal(f"has no weight '{role}'")
        return np.asarray(self.weights[role], dtype=np.float64)

    def refusal(self, problem: str) -> UnsupportedError:
        """Return the error that names this layer: "Layer 'a' (Conv2D) <problem>."."""
        return UnsupportedError(f"Layer '{self.name}' ({self.kind}) {problem}.", hint=KERAS_HINT)

    def nested(self, role: str, layer: Mapping[str, Any]) -> LayerUse:
        """Return the wrapped layer held as {"kind", "config"}, whose weights have the prefix `role`."""
        prefix = f"{role}/"
        weights = {key.removeprefix(prefix): array for key, array in self.weights.items() if key.startswith(prefix)}
        return LayerUse(self.builder, f"{self.name}/{role}", str(layer["kind"]), Options(layer["config"]), weights, self.convert)

    def check_all_used(self) -> None:
        """Raise UnsupportedError for a setting or argument that was not honoured."""
        for key in self.config.unread():
            raise self.refusal(f"has the setting '{key}', which is not supported")
        for key in self.constants.unread():
            if self.constants.get(key) not in (None, False):
                raise self.refusal(f"is called with '{key}', which is not supported")
