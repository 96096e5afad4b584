"""Pooling over windows and over everything. Averages leave padding out, as Keras does."""

from __future__ import annotations

from collections.abc import Sequence

from fairlead.convert.graph_builder import Value
from fairlead.convert.layer_use import LayerUse
from fairlead.convert.layers.spatial import enter, leave, numbers, window_padding, windowed_size


def convert_max_pooling(use: LayerUse, inputs: Sequence[Value]) -> list[Value]:
    """MaxPooling1D, 2D, 3D."""
    return [_pool(use, inputs[0], "MaxPool")]


def convert_average_pooling(use: LayerUse, inputs: Sequence[Value]) -> list[Value]:
    """AveragePooling1D, 2D, 3D."""
    return [_pool(use, inputs[0], "AveragePool")]


def convert_global_max_pooling(use: LayerUse, inputs: Sequence[Value]) -> list[Value]:
    """GlobalMaxPooling1D, 2D, 3D."""
    return [_pool_all(use, inputs[0], "GlobalMaxPool", "ReduceMax")]


def convert_global_average_pooling(use: LayerUse, inputs: Sequence[Value]) -> list[Value]:
    """GlobalAveragePooling1D, 2D, 3D."""
    return [_pool_all(use, inputs[0], "GlobalAveragePool", "ReduceMean")]


def _pool(use: LayerUse, value: Value, operator: str) -> Value:
    image = enter(use, value)
    windows, padding = numbers(use, "pool_size", image.rank), use.config.get("padding")
    strides = windows if use.config.get("strides") is None else numbers(use, "strides", image.rank)
    pads = window_padding(use, image.sizes, windows, strides, padding)
    tensor = use.builder.add(operator, [image.tensor], kernel_shape=windows, strides=strides, **pads)
    sizes = [windowed_size(size, window, stride, padding) for size, window, stride in zip(image.sizes, windows, strides, strict=True)]
    return leave(tensor, image.channels, sizes, is_last=image.is_last)


def _pool_all(use: LayerUse, value: Value, pool: str, reduce: str) -> Value:
    """Pool over all spatial axes; what lies channels last is reduced as it lies, which saves a transpose."""
    builder, keeps = use.builder, bool(use.config.get("keepdims", False))
    if not value.order and use.config.get("data_format") == "channels_last":
        value = builder.as_float(value)
        axes = builder.integers(range(1, value.rank - 1), "axes")
        tensor = builder.add(reduce, [value.name, axes], keepdims=int(keeps))
        return Value(tensor, (None, *[1] * (value.rank - 2 if keeps else 0), value.shape[-1]))
    image = enter(use, value)
    tensor = builder.add(pool, [image.tensor])
    if keeps:
        return leave(tensor, image.channels, [1] * image.rank, is_last=image.is_last)
    return Value(builder.add("Flatten", [tensor], axis=1), (None, image.channels))
