"""Pooling by maximum and average, windowed and global (https://keras.io/api/layers/pooling_layers/)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fairlead.core.interface import Array
from fairlead.engines.layers.layer_spec import LayerSpec
from fairlead.engines.layers.value import Evaluate, on_first
from fairlead.engines.layers.windows import Window, channels_last


def _pool_max(x: Array, window: Window) -> Array:
    padded = window.pad(x, -np.inf)
    result = np.full((len(x), *window.steps(padded), x.shape[-1]), -np.inf)
    for _, tap in window.taps(padded):
        np.maximum(result, tap, out=result)
    return result


def _pool_average(x: Array, window: Window) -> Array:
    """Padding does not count: each window is divided by the number of real elements in it."""
    return _sum(x, window) / _sum(np.ones((1, *x.shape[1:-1], 1)), window)


def _sum(x: Array, window: Window) -> Array:
    padded = window.pad(x)
    result = np.zeros((len(x), *window.steps(padded), x.shape[-1]))
    for _, tap in window.taps(padded):
        result += tap
    return result


def _pooling(rank: int, pool: Callable[[Array, Window], Array]) -> Callable[[LayerSpec], Evaluate]:
    def build(spec: LayerSpec) -> Evaluate:
        size, strides = spec.integers("pool_size", rank), spec.integers("strides", rank)
        window = Window(size, strides, spec.choice("padding", ("valid", "same"), "valid"), (1,) * rank)
        return on_first(channels_last(lambda x: pool(x, window), spec))

    return build


def _global_pooling(rank: int, reduce: Callable[..., Array]) -> Callable[[LayerSpec], Evaluate]:
    def build(spec: LayerSpec) -> Evaluate:
        axes = _spatial_axes(spec, rank)
        keepdims = spec.flag("keepdims", False)
        return on_first(lambda x: reduce(x, axis=axes, keepdims=keepdims))

    return build


def _spatial_axes(spec: LayerSpec, rank: int) -> tuple[int, ...]:
    is_last = spec.choice("data_format", ("channels_last", "channels_first"), "channels_last") == "channels_last"
    return tuple(range(1, rank + 1)) if is_last else tuple(range(2, rank + 2))


LAYERS: dict[str, Callable[[LayerSpec], Evaluate]] = {
    **{f"MaxPooling{rank}D": _pooling(rank, _pool_max) for rank in (1, 2, 3)},
    **{f"AveragePooling{rank}D": _pooling(rank, _pool_average) for rank in (1, 2, 3)},
    **{f"GlobalMaxPooling{rank}D": _global_pooling(rank, np.max) for rank in (1, 2, 3)},
    **{f"GlobalAveragePooling{rank}D": _global_pooling(rank, np.mean) for rank in (1, 2, 3)},
}
