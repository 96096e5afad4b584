"""Upsampling, zero padding and cropping (https://keras.io/api/layers/reshaping_layers/)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fairlead.core.interface import Array
from fairlead.engines.layers.layer_spec import LayerSpec
from fairlead.engines.layers.value import Evaluate, on_first
from fairlead.engines.layers.windows import channels_last


def _upsampling(rank: int) -> Callable[[LayerSpec], Evaluate]:
    def build(spec: LayerSpec) -> Evaluate:
        size = spec.integers("size", rank)
        kinds = ("nearest", "bilinear") if rank == 2 else ("nearest",)
        is_nearest = spec.choice("interpolation", kinds, "nearest") == "nearest"
        stretch = _repeat if is_nearest else _interpolate
        return on_first(channels_last(lambda x: _along_each(x, size, stretch), spec))

    return build


def _along_each(x: Array, size: tuple[int, ...], stretch: Callable[[Array, int, int], Array]) -> Array:
    for axis, factor in enumerate(size, start=1):
        x = stretch(x, factor, axis)
    return x


def _repeat(x: Array, factor: int, axis: int) -> Array:
    return np.repeat(x, factor, axis=axis)


def _interpolate(x: Array, factor: int, axis: int) -> Array:
    """Interpolate linearly between the centres of the elements, which lie at 0.5, 1.5, ...; beyond the outer ones the value stays."""
    length = x.shape[axis]
    places = np.clip((np.arange(length * factor) + 0.5) / factor - 0.5, 0, length - 1)
    low = np.floor(places).astype(np.int64)
    share = (places - low).reshape([-1 if each == axis else 1 for each in range(x.ndim)])
    high = np.minimum(low + 1, length - 1)
    before, after = np.take(x, low, axis), np.take(x, high, axis)
    result: Array = before * (1.0 - share) + after * share
    return result


def _zero_padding(rank: int) -> Callable[[LayerSpec], Evaluate]:
    def build(spec: LayerSpec) -> Evaluate:
        margins = spec.pairs("padding", rank)
        return on_first(channels_last(lambda x: np.pad(x, [(0, 0), *margins, (0, 0)]), spec))

    return build


def _cropping(rank: int) -> Callable[[LayerSpec], Evaluate]:
    def build(spec: LayerSpec) -> Evaluate:
        margins = spec.pairs("cropping", rank)
        return on_first(channels_last(lambda x: x[(slice(None), *(slice(before, -after or None) for before, after in margins))], spec))

    return build


LAYERS: dict[str, Callable[[LayerSpec], Evaluate]] = {
    **{f"UpSampling{rank}D": _upsampling(rank) for rank in (1, 2, 3)},
    **{f"ZeroPadding{rank}D": _zero_padding(rank) for rank in (1, 2, 3)},
    **{f"Cropping{rank}D": _cropping(rank) for rank in (1, 2, 3)},
}
