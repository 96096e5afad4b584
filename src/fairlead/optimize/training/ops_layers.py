"""What ONNX operators with weights, windows and sums compute, in PyTorch: products, convolutions, pooling, normalization, reductions.

Raises UnsupportedError for a form of an operator that PyTorch computes otherwise. Never changes a tensor in place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from fairlead.optimize.training.operation import Call, Compute, not_trainable
from fairlead.optimize.training.ops_shape import axes_of, sizes_of

_NEW_SOFTMAX = 13  # before, Softmax took all axes from `axis` on as one
_CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_TRANSPOSED = {1: functional.conv_transpose1d, 2: functional.conv_transpose2d, 3: functional.conv_transpose3d}
_MAX_POOLS = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}
_RESIZES = {("linear", 1): "linear", ("linear", 2): "bilinear", **{("nearest", rank): "nearest" for rank in (1, 2, 3)}}
_MEAN_POOLS: Mapping[int, Any] = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}


def _window_pads(call: Call, value: Tensor, kernel: list[int], strides: list[int], dilations: list[int]) -> list[tuple[int, int]]:
    """Return how much a window operator pads before and after each spatial axis."""
    mode, rank = call.get("auto_pad", b"NOTSET").decode(), len(kernel)
    if mode == "VALID":
        return [(0, 0)] * rank
    if mode == "NOTSET":
        pads = list(call.get("pads", [0] * 2 * rank))
        return [(pads[axis], pads[axis + rank]) for axis in range(rank)]
    pairs = []
    for size, window, stride, dilation in zip(value.shape[2:], kernel, strides, dilations, strict=True):
        total = max(0, (-(-size // stride) - 1) * stride + (window - 1) * dilation + 1 - size)
        small, large = total // 2, total - total // 2
        pairs.append((small, large) if mode == "SAME_UPPER" else (large, small))
    return pairs


def _padded(value: Tensor, pairs: list[tuple[int, int]], fill: float) -> tuple[Tensor, list[int]]:
    """Return `value` padded where PyTorch cannot pad itself (it pads both ends alike), and the padding left for it."""
    if all(before == after for before, after in pairs):
        return value, [before for before, _ in pairs]
    return functional.pad(value, [amount for pair in reversed(pairs) for amount in pair], value=fill), [0] * len(pairs)


def _conv(call: Call, value: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    rank = weight.ndim - 2
    strides, dilations = list(call.get("strides", [1] * rank)), list(call.get("dilations", [1] * rank))
    pairs = _window_pads(call, value, list(weight.shape[2:]), strides, dilations)
    value, pads = _padded(value, pairs, 0.0)
    return _CONVOLUTIONS[rank](value, weight, bias, strides, pads, dilations, call.get("group", 1))


def _conv_transpose(call: Call, value: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    rank = weight.ndim - 2
    if call.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID") or call.get("output_shape"):
        raise not_trainable("ConvTranspose with computed padding")
    strides, dilations = list(call.get("strides", [1] * rank)), list(call.get("dilations", [1] * rank))
    pads, extra = list(call.get("pads", [0] * 2 * rank)), list(call.get("output_padding", [0] * rank))
    whole = _TRANSPOSED[rank](value, weight, bias, strides, 0, [0] * rank, call.get("group", 1), dilations)
    for axis in range(rank):  # what PyTorch pads at both ends alike, ONNX cuts at each end by itself
        place, size = axis + 2, whole.shape[axis + 2] + extra[axis]
        if extra[axis] > pads[axis + rank]:
            raise not_trainable("ConvTranspose with output padding beyond its end")
        whole = whole.narrow(place, pads[axis], size - pads[axis] - pads[axis + rank])
    return whole


def _gemm(call: Call, left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor:
    left = left.T if call.get("transA", 0) else left
    right = right.T if call.get("transB", 0) else right
    alpha, beta = call.get("alpha", 1.0), call.get("beta", 1.0)
    if bias is not None and alpha == beta == 1.0:
        return torch.addmm(bias, left, right)
    product = alpha * (left @ right) if alpha != 1.0 else left @ right
    return product if bias is None else product + beta * bias


def _einsum(call: Call, *values: Tensor) -> Tensor:
    return torch.einsum(call.get("equation").decode().replace(" ", ""), *values)


def _max_pool(call: Call, value: Tensor) -> Tensor:
    if len(call.outputs) > 1 and call.outputs[1]:
        raise not_trainable("MaxPool with indices")
    kernel = list(call.get("kernel_shape"))
    rank = len(kernel)
    strides, dilations = list(call.get("strides", [1] * rank)), list(call.get("dilations", [1] * rank))
    pairs = _window_pads(call, value, kernel, strides, dilations)
    value, pads = _padded(value, pairs, -torch.inf)
    if any(2 * pad > window for pad, window in zip(pads, kernel, strict=True)):
        value, pads = functional.pad(value, [amount for pair in reversed(pairs) for amount in pair], value=-torch.inf), [0] * rank
    return _MAX_POOLS[rank](value, kernel, strides, pads, dilations, bool(call.get("ceil_mode", 0)))


def _average_pool(call: Call, value: Tensor) -> Tensor:
    kernel = list(call.get("kernel_shape"))
    rank = len(kernel)
    strides, is_counted = list(call.get("strides", [1] * rank)), bool(call.get("count_include_pad", 0))
    if call.get("ceil_mode", 0) or any(step != 1 for step in call.get("dilations", ())):
        raise not_trainable("AveragePool with ceil_mode or dilations")
    pairs = _window_pads(call, value, kernel, strides, [1] * rank)
    pool = _MEAN_POOLS[rank]
    if is_counted or all(pair == (0, 0) for pair in pairs):
        value, pads = _padded(value, pairs, 0.0)
        return pool(value, kernel, strides, pads)  # type: ignore[no-any-return]
    flat = [amount for pair in reversed(pairs) for amount in pair]
    present = functional.pad(torch.ones_like(value[:1, :1]), flat)
    return pool(functional.pad(value, flat), kernel, strides) / pool(present, kernel, strides)  # type: ignore[no-any-return]


def _spatial(value: Tensor) -> tuple[int, ...]:
    return tuple(range(2, value.ndim))


def _instance_norm(call: Call, value: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    return functional.instance_norm(value, weight=scale, bias=bias, eps=call.get("epsilon", 1e-5))


def _layer_norm(call: Call, value: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor | tuple[Tensor, ...]:
    axis = call.get("axis", -1) % value.ndim
    axes = tuple(range(axis, value.ndim))
    mean = value.mean(axes, keepdim=True)
    inverse = torch.rsqrt(((value - mean) ** 2).mean(axes, keepdim=True) + call.get("epsilon", 1e-5))
    result = (value - mean) * inverse * scale
    result = result if bias is None else result + bias
    return result if len(call.outputs) == 1 else (result, mean, inverse)[: len(call.outputs)]


def _rms_norm(call: Call, value: Tensor, scale: Tensor) -> Tensor:
    axes = tuple(range(call.get("axis", -1) % value.ndim, value.ndim))
    return value * torch.rsqrt((value**2).mean(axes, keepdim=True) + call.get("epsilon", 1e-5)) * scale


def _group_norm(call: Call, value: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    groups = call.get("num_groups")
    if scale.numel() != value.shape[1]:  # before operator set 21 there was one scale per group
        scale, bias = (part.repeat_interleave(value.shape[1] // groups) for part in (scale, bias))
    return functional.group_norm(value, groups, scale, bias, call.get("epsilon", 1e-5))


def _soft(function: Any) -> Compute:
    def compute(call: Call, value: Tensor) -> Tensor:
        result: Tensor
        if call.opset >= _NEW_SOFTMAX:
            result = function(value, dim=call.get("axis", -1))
            return result
        axis = call.get("axis", 1) % value.ndim
        result = function(value.flatten(axis), dim=-1)
        return result.reshape(value.shape)

    return compute


def _reduce(function: Any) -> Compute:
    def compute(call: Call, value: Tensor, given: Tensor | None = None) -> Tensor:
        axes = axes_of(call, given)
        if not axes:
            if call.get("noop_with_empty_axes", 0):
                return value
            axes = list(range(value.ndim))
        result: Tensor = function(value, tuple(axes), bool(call.get("keepdims", 1)))
        return result

    return compute


def _product(value: Tensor, axes: tuple[int, ...], is_kept: bool) -> Tensor:
    for axis in sorted((axis % value.ndim for axis in axes), reverse=True):
        value = value.prod(axis, keepdim=is_kept)
    return value


def _arg_max(call: Call, value: Tensor) -> Tensor:
    return value.argmax(call.get("axis", 0), keepdim=bool(call.get("keepdims", 1)))


def _resize(call: Call, value: Tensor, _roi: Tensor | None = None, scales: Tensor | None = None, sizes: Tensor | None = None) -> Tensor:
    """The forms that PyTorch has too; `proof` shows whether they round alike."""
    mode = call.get("mode", b"nearest").decode()
    points = call.get("coordinate_transformation_mode", b"half_pixel").decode()
    wanted = sizes_of(sizes) if sizes is not None else []
    if not wanted and scales is not None:
        wanted = [int(size * factor) for size, factor in zip(value.shape, scales.tolist(), strict=True)]
    name = _RESIZES.get((mode, value.ndim - 2))
    is_known = points in ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric") and not call.get("axes")
    if name is None or not is_known or len(wanted) != value.ndim or wanted[:2] != list(value.shape[:2]) or call.get("antialias", 0):
        raise not_trainable(f"Resize ({mode}, {points})")
    corners = None if mode == "nearest" else points == "align_corners"
    return functional.interpolate(value, wanted[2:], mode=name, align_corners=corners)


LAYERS: Mapping[str, Compute] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "MatMul": lambda _call, left, right: left @ right,
    "Einsum": _einsum,
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "GlobalAveragePool": lambda _call, value: value.mean(_spatial(value), keepdim=True),
    "GlobalMaxPool": lambda _call, value: value.amax(_spatial(value), keepdim=True),
    "InstanceNormalization": _instance_norm,
    "LayerNormalization": _layer_norm,
    "RMSNormalization": _rms_norm,
    "GroupNormalization": _group_norm,
    "Softmax": _soft(torch.softmax),
    "LogSoftmax": _soft(torch.log_softmax),
    "ReduceMean": _reduce(torch.mean),
    "ReduceSum": _reduce(torch.sum),
    "ReduceMax": _reduce(torch.amax),
    "ReduceMin": _reduce(torch.amin),
    "ReduceProd": _reduce(_product),
    "ReduceL2": _reduce(lambda value, axes, kept: torch.linalg.vector_norm(value, dim=axes, keepdim=kept)),
    "ReduceL1": _reduce(lambda value, axes, kept: value.abs().sum(axes, keepdim=kept)),
    "ReduceSumSquare": _reduce(lambda value, axes, kept: (value**2).sum(axes, keepdim=kept)),
    "ReduceLogSumExp": _reduce(torch.logsumexp),
    "ArgMax": _arg_max,
    "Resize": _resize,
}
