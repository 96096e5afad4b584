"""Convolutions: plain, depthwise, separable and transposed, in one, two and three dimensions.

Kernels are (size..., channels in / groups, channels out); transposed ones (size..., channels out, channels in).
https://keras.io/api/layers/convolution_layers/
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from fairlead.core.interface import Array
from fairlead.engines.layers.activation_functions import activation
from fairlead.engines.layers.dense_layers import plus
from fairlead.engines.layers.layer_spec import LayerSpec
from fairlead.engines.layers.value import Evaluate, on_first
from fairlead.engines.layers.windows import Window, channels_last

_PATCH_ELEMENTS = 2**22  # 32 MiB of float64: how many elements of windows are copied out at once


def convolve(x: Array, kernel: Array, window: Window, groups: int = 1) -> Array:
    """Return the convolution of (batch, spatial..., channels) with `kernel`, without bias."""
    padded = window.pad(x)
    parts = zip(np.split(padded, groups, axis=-1), np.split(kernel, groups, axis=-1), strict=True)
    return np.concatenate([_convolve_group(part, part_kernel, window) for part, part_kernel in parts], axis=-1)


def _convolve_group(padded: Array, kernel: Array, window: Window) -> Array:
    flat = kernel.reshape(-1, kernel.shape[-1])
    steps = window.steps(padded)
    result = np.empty((len(padded), *steps, flat.shape[1]))
    for rows in _chunks(len(padded), int(np.prod(steps)) * len(flat)):
        patches = window.patches(padded[rows])
        result[rows] = (patches.reshape(-1, len(flat)) @ flat).reshape(len(patches), *steps, -1)
    return result


def _chunks(count: int, elements_per_row: int) -> Iterator[slice]:
    size = max(1, _PATCH_ELEMENTS // max(elements_per_row, 1))
    return (slice(start, start + size) for start in range(0, count, size))


def convolve_depthwise(x: Array, kernel: Array, window: Window) -> Array:
    """Return each channel convolved with its own `multiplier` kernels; `kernel` is (size..., channels, multiplier)."""
    padded = window.pad(x)
    channels, multiplier = kernel.shape[-2:]
    result = np.zeros((len(x), *window.steps(padded), channels, multiplier))
    for position, tap in window.taps(padded):
        result += tap[..., np.newaxis] * kernel[position]
    return result.reshape(*result.shape[:-2], channels * multiplier)


def convolve_transposed(x: Array, kernel: Array, window: Window, output_padding: tuple[int, ...] | None) -> Array:
    """Return the transpose of a convolution: every element of `x` adds its multiple of the kernel to the output.

    The output's length and what is cut off before it are those of Keras: `length * stride` for "same" and
    `(length - 1) * stride + max(extent, stride)` for "valid", where no output padding is given.
    """
    spatial = x.shape[1:-1]
    full = [(length - 1) * stride + extent for length, stride, extent in zip(spatial, window.strides, window.extent, strict=True)]
    cuts = [_cut(axis, length, window, output_padding) for axis, length in enumerate(spatial)]
    room = [max(whole, before + wanted) for whole, (before, wanted) in zip(full, cuts, strict=True)]
    result = np.zeros((len(x), *room, kernel.shape[-2]))
    spread = Window(window.size, window.strides, "valid", window.dilation)
    target = result[(slice(None), *(slice(None, whole) for whole in full))]
    for position, tap in spread.taps(target):
        np.add(tap, x @ kernel[position].T, out=tap)  # `tap` is a view of `result`
    return result[(slice(None), *(slice(before, before + wanted) for before, wanted in cuts))]


def _cut(axis: int, length: int, window: Window, output_padding: tuple[int, ...] | None) -> tuple[int, int]:
    """Return how much of the full output is cut off before, and how much of it is wanted, along one spatial axis."""
    stride, extent = window.strides[axis], window.extent[axis]
    extra = None if output_padding is None else output_padding[axis]
    if window.padding == "valid":
        return 0, (length - 1) * stride + (max(extent, stride) if extra is None else extent + extra)
    wanted = length * stride if extra is None else (length - 1) * stride + extent % 2 + extra
    return max((length - 1) * stride + extent - wanted, 0) // 2, wanted


def _window(spec: LayerSpec, rank: int, paddings: tuple[str, ...] = ("valid", "same")) -> Window:
    return Window(
        spec.integers("kernel_size", rank),
        spec.integers("strides", rank),
        spec.choice("padding", paddings, "valid"),
        spec.integers("dilation_rate", rank),
    )


def _convolution(rank: int) -> Callable[[LayerSpec], Evaluate]:
    def build(spec: LayerSpec) -> Evaluate:
        window = _window(spec, rank, ("valid", "same", "causal") if rank == 1 else ("valid", "same"))
        spec.integer("filters")
        groups, kernel = spec.integer("groups", 1), spec.weight("kernel")
        return _finished(spec, lambda x: convolve(x, kernel, window, groups))

    return build


def _depthwise(rank: int) -> Callable[[LayerSpec], Evaluate]:
    def build(spec: LayerSpec) -> Evaluate:
        window = _window(spec, rank)
        spec.integer("depth_multiplier", 1)
        kernel = spec.weight("depthwise_kernel")
        return _finished(spec, lambda x: convolve_depthwise(x, kernel, window))

    return build


def _separable(rank: int) -> Callable[[LayerSpec], Evaluate]:
    def build(spec: LayerSpec) -> Evaluate:
        window = _window(spec, rank, ("valid", "same", "causal") if rank == 1 else ("valid", "same"))
        spec.integer("filters")
        spec.integer("depth_multiplier", 1)
        depthwise, pointwise = spec.weight("depthwise_kernel"), spec.weight("pointwise_kernel")
        mixing = pointwise.reshape(pointwise.shape[-2:])
        return _finished(spec, lambda x: convolve_depthwise(x, depthwise, window) @ mixing)

    return build


def _transposed(rank: int) -> Callable[[LayerSpec], Evaluate]:
    def build(spec: LayerSpec) -> Evaluate:
        window = _window(spec, rank)
        spec.integer("filters")
        extra = None if spec.option("output_padding", None) is None else spec.integers("output_padding", rank)
        kernel = spec.weight("kernel")
        return _finished(spec, lambda x: convolve_transposed(x, kernel, window, extra))

    return build


def _finished(spec: LayerSpec, convolution: Callable[[Array], Array]) -> Evaluate:
    """Add bias, activation and the layer's data format to a convolution of channels-last tensors."""
    bias = spec.weight_if(spec.flag("use_bias", True), "bias")
    act = activation(spec)
    biased = channels_last(lambda x: plus(convolution(x), bias), spec)
    return on_first(lambda x: act(biased(x)))


LAYERS: dict[str, Callable[[LayerSpec], Evaluate]] = {
    **{f"Conv{rank}D": _convolution(rank) for rank in (1, 2, 3)},
    **{f"DepthwiseConv{rank}D": _depthwise(rank) for rank in (1, 2)},
    **{f"SeparableConv{rank}D": _separable(rank) for rank in (1, 2)},
    **{f"Conv{rank}DTranspose": _transposed(rank) for rank in (1, 2, 3)},
}
