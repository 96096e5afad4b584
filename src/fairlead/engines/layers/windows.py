"""Sliding windows over the spatial axes of channels-last tensors: what convolution and pooling share.

Tensors are (batch, spatial..., channels). Sizes follow "valid", "same" (as many zeros after as before, or one more) and "causal" (all
zeros before). https://www.tensorflow.org/api_docs/python/tf/nn#notes_on_padding_2
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from fairlead.core.interface import Array
from fairlead.engines.layers.layer_spec import LayerSpec


@dataclass(frozen=True)
class Window:
    """Size, step and spread of a window, one number per spatial axis."""

    size: tuple[int, ...]
    strides: tuple[int, ...]
    padding: str
    dilation: tuple[int, ...]

    @property
    def extent(self) -> tuple[int, ...]:
        """How many elements a window spans, gaps of the dilation included."""
        return tuple((size - 1) * dilation + 1 for size, dilation in zip(self.size, self.dilation, strict=True))

    def margins(self, spatial: tuple[int, ...]) -> list[tuple[int, int]]:
        """Return how much is padded before and after each spatial axis."""
        return [self._margin(*each) for each in zip(spatial, self.extent, self.strides, strict=True)]

    def _margin(self, length: int, extent: int, stride: int) -> tuple[int, int]:
        if self.padding == "valid":
            return 0, 0
        if self.padding == "causal":
            return extent - 1, 0
        total = max((-(-length // stride) - 1) * stride + extent - length, 0)
        return total // 2, total - total // 2

    def pad(self, x: Array, fill: float = 0.0) -> Array:
        """Return `x` with the margins that the padding asks for, filled with `fill`."""
        margins = self.margins(x.shape[1:-1])
        if not any(before or after for before, after in margins):
            return x
        return np.pad(x, [(0, 0), *margins, (0, 0)], constant_values=fill)

    def steps(self, padded: Array) -> tuple[int, ...]:
        """Return how many windows fit along each spatial axis of a padded tensor."""
        lengths = zip(padded.shape[1:-1], self.extent, self.strides, strict=True)
        return tuple((length - extent) // stride + 1 for length, extent, stride in lengths)

    def patches(self, padded: Array) -> Array:
        """Return a view (batch, steps..., size..., channels) of all windows."""
        axes = tuple(range(1, padded.ndim - 1))
        view = np.lib.stride_tricks.sliding_window_view(padded, self.extent, axis=axes)
        strided = (slice(None), *(slice(None, None, stride) for stride in self.strides), slice(None))
        view = view[(*strided, *(slice(None, None, dilation) for dilation in self.dilation))]
        return np.moveaxis(view, len(axes) + 1, -1)

    def taps(self, padded: Array) -> Iterator[tuple[tuple[int, ...], Array]]:
        """Yield for each position inside the window the elements (batch, steps..., channels) that stand there."""
        steps = self.steps(padded)
        for position in itertools.product(*(range(size) for size in self.size)):
            starts = [place * dilation for place, dilation in zip(position, self.dilation, strict=True)]
            spans = zip(starts, steps, self.strides, strict=True)
            yield position, padded[(slice(None), *(slice(start, start + (count - 1) * by + 1, by) for start, count, by in spans))]


def channels_last(function: Callable[[Array], Array], spec: LayerSpec) -> Callable[[Array], Array]:
    """Return `function`, which wants channels last, for the layer's own data format."""
    if spec.choice("data_format", ("channels_last", "channels_first"), "channels_last") == "channels_last":
        return function
    return lambda x: np.moveaxis(function(np.moveaxis(x, 1, -1)), -1, 1)
