"""Convolutions: plain, depthwise, separable and transposed, in one to three dimensions.

Keras kernels are (spatial..., in, out); ONNX wants (out, in / groups, spatial...), and (in, out, spatial...) for transposed ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fairlead.convert.graph_builder import Value
from fairlead.convert.layer_use import LayerUse
from fairlead.convert.layers.activations import activate
from fairlead.convert.layers.spatial import Image, enter, leave, numbers, window_padding, windowed_size
from fairlead.core.interface import Array


def convert_convolution(use: LayerUse, inputs: Sequence[Value]) -> list[Value]:
    """Conv1D, Conv2D, Conv3D, with groups, dilation and (1D) causal padding."""
    image = enter(use, inputs[0])
    kernel = use.weight("kernel")
    _check_kernel(use, kernel, image.rank, "kernel_size")
    if kernel.shape[-1] != use.config.get("filters"):
        raise use.refusal(f"has {kernel.shape[-1]} filters in its kernel")
    groups = int(use.config.get("groups", 1))
    if image.channels is not None and kernel.shape[-2] * groups != image.channels:
        raise use.refusal(f"has a kernel for {kernel.shape[-2] * groups} channels, its input has {image.channels}")
    image = _convolve(use, image, _onnx_kernel(kernel), groups, has_bias=bool(use.config.get("use_bias", True)))
    return [_finish(use, image)]


def convert_depthwise(use: LayerUse, inputs: Sequence[Value]) -> list[Value]:
    """DepthwiseConv1D and 2D: a kernel (spatial..., in, multiplier) with one group per input channel."""
    image = enter(use, inputs[0])
    kernel = use.weight("depthwise_kernel")
    _check_kernel(use, kernel, image.rank, "kernel_size")
    if kernel.shape[-1] != use.config.get("depth_multiplier", 1):
        raise use.refusal(f"has a depth multiplier of {kernel.shape[-1]} in its kernel")
    image = _convolve(use, image, _depthwise_kernel(kernel), kernel.shape[-2], has_bias=bool(use.config.get("use_bias", True)))
    return [_finish(use, image)]


def convert_separable(use: LayerUse, inputs: Sequence[Value]) -> list[Value]:
    """SeparableConv1D and 2D: depthwise, then 1x1."""
    image = enter(use, inputs[0])
    depthwise, pointwise = use.weight("depthwise_kernel"), use.weight("pointwise_kernel")
    _check_kernel(use, depthwise, image.rank, "kernel_size")
    if depthwise.shape[-1] != use.config.get("depth_multiplier", 1) or pointwise.shape[-1] != use.config.get("filters"):
        raise use.refusal("has kernels that do not fit its config")
    image = _convolve(use, image, _depthwise_kernel(depthwise), depthwise.shape[-2], has_bias=False)
    builder = use.builder
    operands = [image.tensor, builder.floats(_onnx_kernel(pointwise), "pointwise_kernel")]
    if use.config.get("use_bias", True):
        operands.append(builder.floats(use.weight("bias"), "bias"))
    tensor = builder.add("Conv", operands, kernel_shape=[1] * image.rank)
    return [_finish(use, Image(tensor, pointwise.shape[-1], image.sizes, image.is_last))]


def convert_transposed(use: LayerUse, inputs: Sequence[Value]) -> list[Value]:
    """Conv1DTranspose, Conv2DTranspose, Conv3DTranspose.

    Sizes and offsets as TensorFlow's gradient of a convolution: valid gives (n - 1) * stride + max(window, stride), same gives
    n * stride; with output_padding p: (n - 1) * stride + window + p and (n - 1) * stride + window % 2 + p.
    """
    image = enter(use, inputs[0])
    builder, kernel, rank = use.builder, use.weight("kernel"), image.rank
    _check_kernel(use, kernel, rank, "kernel_size")
    if kernel.shape[-2] != use.config.get("filters"):
        raise use.refusal(f"has {kernel.shape[-2]} filters in its kernel")
    strides, dilations = numbers(use, "strides", rank), numbers(use, "dilation_rate", rank)
    padding = use.config.get("padding")
    extras = use.config.get("output_padding")
    extras = [extras] * rank if extras is None or isinstance(extras, int) else list(extras)
    windows = [(size - 1) * dilation + 1 for size, dilation in zip(kernel.shape, dilations, strict=False)]
    crops = [_crop(use, w, s, padding, extra) for w, s, extra in zip(windows, strides, extras, strict=True)]
    weights = builder.floats(np.moveaxis(kernel, (-1, -2), (0, 1)), "kernel")
    operands = [image.tensor, weights]
    if use.config.get("use_bias", True):
        operands.append(builder.floats(use.weight("bias"), "bias"))
    tensor = builder.add(
        "ConvTranspose",
        operands,
        kernel_shape=list(kernel.shape[:rank]),
        strides=strides,
        dilations=dilations,
        pads=[begin for begin, _ in crops] + [max(end, 0) for _, end in crops],
        output_padding=[max(-end, 0) for _, end in crops],
    )
    sizes = [
        None if size is None else (size - 1) * stride + window - begin - end
        for size, stride, window, (begin, end) in zip(image.sizes, strides, windows, crops, strict=True)
    ]
    return [_finish(use, Image(tensor, kernel.shape[-2], tuple(sizes), image.is_last))]


def _crop(use: LayerUse, window: int, stride: int, padding: str, extra: int | None) -> tuple[int, int]:
    """Return how much to cut at the beginning and the end of (n - 1) * stride + window; a negative end adds zeros."""
    if padding == "valid":
        return 0, -(max(window, stride) - window if extra is None else extra)
    if padding != "same":
        raise use.refusal(f"has the padding '{padding}', which is not supported")
    # The full correlation has window - 1 zeros on each side; `total` is what remains of them.
    total = stride + window - 2 if extra is None else window + window % 2 - 2 + extra
    left = min(total // 2 + total % 2, window - 1)
    return window - 1 - left, window - 1 - (total - left)


def _convolve(use: LayerUse, image: Image, kernel: Array, groups: int, *, has_bias: bool) -> Image:
    builder, rank = use.builder, image.rank
    strides, dilations = numbers(use, "strides", rank), numbers(use, "dilation_rate", rank)
    padding = use.config.get("padding")
    windows = [(size - 1) * dilation + 1 for size, dilation in zip(kernel.shape[2:], dilations, strict=True)]
    operands = [image.tensor, builder.floats(kernel, "kernel")]
    if has_bias:
        operands.append(builder.floats(use.weight("bias"), "bias"))
    pads = window_padding(use, image.sizes, windows, strides, padding)
    if "auto_pad" in pads and any(dilation != 1 for dilation in dilations):
        raise use.refusal("has strides and dilation on an axis of free size")
    tensor = builder.add("Conv", operands, kernel_shape=list(kernel.shape[2:]), strides=strides, dilations=dilations, group=groups, **pads)
    sizes = [windowed_size(size, w, s, padding) for size, w, s in zip(image.sizes, windows, strides, strict=True)]
    return Image(tensor, kernel.shape[0], tuple(sizes), image.is_last)


def _finish(use: LayerUse, image: Image) -> Value:
    value = leave(image.tensor, image.channels, image.sizes, is_last=image.is_last)
    return activate(use, use.config.get("activation", "linear"), value)


def _check_kernel(use: LayerUse, kernel: Array, rank: int, key: str) -> None:
    if kernel.ndim != rank + 2 or list(kernel.shape[:rank]) != numbers(use, key, rank):
        raise use.refusal(f"has a kernel of shape {list(kernel.shape)} for {rank} spatial axes and {key}={use.config.get(key)}")


def _onnx_kernel(kernel: Array) -> Array:
    return np.moveaxis(kernel, (-1, -2), (0, 1))


def _depthwise_kernel(kernel: Array) -> Array:
    """(spatial..., in, multiplier) -> (in * multiplier, 1, spatial...)."""
    *spatial, channels, multiplier = kernel.shape
    return np.moveaxis(kernel.reshape(*spatial, channels * multiplier), -1, 0)[:, np.newaxis]
