"""A layer as the builder of its evaluation sees it: checked access to config and weights that remembers what was asked for.

Takes a core.layer_graph.Layer and its arrays. What is left over once a layer is built, an option or a weight, has a meaning that
the builder does not know: `finish` refuses it. Raises UnsupportedError that names the layer and the option; never ignores one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fairlead.core.interface import Array
from fairlead.core.layer_graph import Layer
from fairlead.errors import UnsupportedError

_MISSING: Any = object()
_HINT = "Install Keras (pip install 'fairlead[keras]') to have the model's own framework as the reference."


class LayerSpec:
    """One layer's config and weights. Weights come as float64 arrays (whole numbers stay what they are)."""

    def __init__(self, name: str, kind: str, config: Mapping[str, Any], weights: Mapping[str, Array]) -> None:
        self.name = name
        self.kind = kind
        self._config = config
        self._weights = weights
        self._read_options: set[str] = set()
        self._read_weights: set[str] = set()

    @classmethod
    def of(cls, layer: Layer, weights: Mapping[str, Array]) -> LayerSpec:
        """Return the view of `layer` on `weights` (all arrays of the graph, by key)."""
        return cls(layer.name, layer.kind, layer.config, {role: weights[key] for role, key in layer.weights.items()})

    def option(self, key: str, default: Any = _MISSING) -> Any:
        """Return the option as it stands; refuses where it is absent and there is no default."""
        self._read_options.add(key)
        value = self._config.get(key, default)
        if value is _MISSING:
            raise UnsupportedError(f"Layer '{self.name}' ({self.kind}) lacks the option '{key}'.", hint=_HINT)
        return value

    def integer(self, key: str, default: Any = _MISSING) -> int:
        """Return a whole number."""
        value = self.option(key, default)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.refusal(key)
        return value

    def number(self, key: str, default: Any = _MISSING) -> float:
        """Return a number."""
        value = self.option(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.refusal(key)
        return float(value)

    def flag(self, key: str, default: Any = _MISSING) -> bool:
        """Return a truth value."""
        value = self.option(key, default)
        if not isinstance(value, bool):
            raise self.refusal(key)
        return value

    def choice(self, key: str, allowed: Sequence[str], default: Any = _MISSING) -> str:
        """Return one of `allowed`."""
        value = self.option(key, default)
        if value not in allowed:
            raise self.refusal(key)
        return str(value)

    def integers(self, key: str, count: int | None = None) -> tuple[int, ...]:
        """Return a list of whole numbers, `count` of them where it is given; one number stands for as many as are wanted."""
        value = self.option(key)
        values = [value] * (count or 1) if isinstance(value, int) else value
        is_list = isinstance(values, list | tuple) and all(isinstance(item, int) and not isinstance(item, bool) for item in values)
        if not is_list or (count is not None and len(values) != count):
            raise self.refusal(key)
        return tuple(values)

    def pairs(self, key: str, count: int) -> tuple[tuple[int, int], ...]:
        """Return `count` pairs of whole numbers: what happens before and after, for each spatial axis."""
        value = self.option(key)
        is_sound = isinstance(value, list | tuple) and len(value) == count and all(len(pair) == 2 for pair in value)
        if not is_sound:
            raise self.refusal(key)
        return tuple((int(before), int(after)) for before, after in value)

    def weight(self, role: str) -> Array:
        """Return the weight that plays `role`; refuses where it is absent."""
        array = self.optional_weight(role)
        if array is None:
            raise UnsupportedError(f"Layer '{self.name}' ({self.kind}) lacks the weight '{role}'.", hint=_HINT)
        return array

    def optional_weight(self, role: str) -> Array | None:
        """Return the weight that plays `role`, None where there is none."""
        self._read_weights.add(role)
        array = self._weights.get(role)
        if array is None or array.dtype.kind != "f":
            return array
        return array.astype(np.float64)

    def weight_if(self, is_used: bool, role: str) -> Array | None:
        """Return the weight where the layer's options say that it is used, else None."""
        return self.weight(role) if is_used else None

    def inner(self, key: str, prefix: str) -> LayerSpec:
        """Return the wrapped layer that stands in option `key`; its weights are those whose roles start with `prefix`/."""
        wrapped = self.option(key)
        if not isinstance(wrapped, Mapping) or not {"kind", "config"} <= set(wrapped):
            raise self.refusal(key)
        roles = [role for role in self._weights if role.startswith(f"{prefix}/")]
        self._read_weights.update(roles)
        weights = {role.removeprefix(f"{prefix}/"): self._weights[role] for role in roles}
        return LayerSpec(f"{self.name}/{prefix}", str(wrapped["kind"]), wrapped["config"], weights)

    def refusal(self, key: str) -> UnsupportedError:
        """Return the error for an option whose value has no meaning here."""
        return UnsupportedError(f"Layer '{self.name}' ({self.kind}) has {key}={self._config.get(key)!r:.80}, not known here.", hint=_HINT)

    def finish(self) -> None:
        """Raise UnsupportedError where the layer has an option or a weight that nobody asked for."""
        for key in sorted(set(self._config) - self._read_options):
            raise self.refusal(key)
        for role in sorted(set(self._weights) - self._read_weights):
            raise UnsupportedError(f"Layer '{self.name}' ({self.kind}) has a weight '{role}', not known here.", hint=_HINT)
