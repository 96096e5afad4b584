"""What convolution, pooling, padding and upsampling share: channels-first memory, and sizes along spatial axes.

Memory is (batch, channels, spatial...), which is what ONNX wants; for channels_last layers the Value says so in its order, and nobody
transposes until a layer asks for Keras's own order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fairlead.convert.graph_builder import Shape, Value
from fairlead.convert.layer_use import LayerUse


@dataclass(frozen=True, eq=False)
class Image:
    """A tensor in channels-first memory. `sizes` are those of the spatial axes; `is_last` says where Keras sees the channels."""

    tensor: str
    channels: int | None
    sizes: Shape
    is_last: bool

    @property
    def rank(self) -> int:
        """How many spatial axes there are."""
        return len(self.sizes)


def enter(use: LayerUse, value: Value, rank: int | None = None) -> Image:
    """Return `value` as an image. Raises UnsupportedError where it has not `rank` spatial axes."""
    is_last = use.config.get("data_format", "channels_last") != "channels_first"
    if rank is not None and value.rank != rank + 2:
        raise use.refusal(f"takes {rank + 2} axes, its input has {value.rank}")
    value = use.builder.as_float(value)
    value = use.builder.arranged(value, channels_first_order(value.rank) if is_last else ())
    if is_last:
        return Image(value.name, value.shape[-1], value.shape[1:-1], is_last=True)
    return Image(value.name, value.shape[1], value.shape[2:], is_last=False)


def leave(tensor: str, channels: int | None, sizes: Sequence[int | None], *, is_last: bool) -> Value:
    """Return the Value of a channels-first tensor, with Keras's view of it."""
    if not is_last:
        return Value(tensor, (None, channels, *sizes))
    return Value(tensor, (None, *sizes, channels), order=channels_first_order(len(sizes) + 2))


def channels_first_order(rank: int) -> tuple[int, ...]:
    """Return the memory order of a channels_last tensor that lies channels first."""
    return (0, rank - 1, *range(1, rank - 1))


def windowed_size(size: int | None, window: int, stride: int, padding: str, dilation: int = 1) -> int | None:
    """Return how many windows fit along an axis, as TensorFlow counts them (SAME, VALID; causal as SAME)."""
    if size is None:
        return None
    if padding == "valid":
        return max(0, -(-(size - (window - 1) * dilation) // stride))
    return -(-size // stride)


def window_padding(use: LayerUse, sizes: Shape, windows: Sequence[int], strides: Sequence[int], padding: str) -> dict[str, object]:
    """Return the ONNX attributes for a padding; `windows` are already dilated.

    SAME pads (windows needed - size) with the odd one at the end; where a size is free and the stride is not 1, the engine
    computes it (SAME_UPPER).
    """
    if padding == "valid":
        return {}
    if padding == "causal":
        return {"pads": [windows[0] - 1, 0]}
    if padding != "same":
        raise use.refusal(f"has the padding '{padding}', which is not supported")
    if any(size is None and stride != 1 for size, stride in zip(sizes, strides, strict=True)):
        return {"auto_pad": "SAME_UPPER"}
    totals = [
        max((-(-(size or 0) // stride) - 1) * stride + window - (size or 0), 0) if stride != 1 else window - 1
        for size, window, stride in zip(sizes, windows, strides, strict=True)
    ]
    return {"pads": [total // 2 for total in totals] + [total - total // 2 for total in totals]}


def numbers(use: LayerUse, key: str, rank: int) -> list[int]:
    """Return a setting that holds one whole number per spatial axis."""
    setting = use.config.get(key)
    listed = [setting] * rank if isinstance(setting, int) else list(setting)
    if len(listed) != rank or not all(isinstance(number, int) and number >= 1 for number in listed):
        raise use.refusal(f"has {key}={setting!r}")
    return listed
