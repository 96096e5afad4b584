"""Flatten, Reshape, Permute and RepeatVector (https://keras.io/api/layers/reshaping_layers/)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fairlead.core.interface import Array
from fairlead.engines.layers.layer_spec import LayerSpec
from fairlead.engines.layers.value import Evaluate, on_first


def _flatten(spec: LayerSpec) -> Evaluate:
    is_last = spec.choice("data_format", ("channels_last", "channels_first"), "channels_last") == "channels_last"

    def flatten(x: Array) -> Array:
        ordered = x if is_last or x.ndim < 3 else np.moveaxis(x, 1, -1)
        return ordered.reshape(len(x), -1)

    return on_first(flatten)


def _reshape(spec: LayerSpec) -> Evaluate:
    shape = spec.integers("target_shape")
    return on_first(lambda x: x.reshape(len(x), *shape))


def _permute(spec: LayerSpec) -> Evaluate:
    order = spec.integers("dims")
    return on_first(lambda x: np.transpose(x, (0, *order)))


def _repeat_vector(spec: LayerSpec) -> Evaluate:
    count = spec.integer("n")
    return on_first(lambda x: np.repeat(x[:, np.newaxis, :], count, axis=1))


LAYERS: dict[str, Callable[[LayerSpec], Evaluate]] = {
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Permute": _permute,
    "RepeatVector": _repeat_vector,
}
