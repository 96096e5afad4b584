"""Layers that move values without changing them: Flatten, Reshape, Permute, RepeatVector, and those that do nothing at inference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fairlead.convert.graph_builder import Value, memory_order, size_of
from fairlead.convert.layer_use import LayerUse


def convert_identity(use: LayerUse, inputs: Sequence[Value]) -> list[Value]:
    """Dropout, noise and other layers that only act in training."""
    del use
    return [inputs[0]]


def convert_flatten(use: LayerUse, inputs: Sequence[Value]) -> list[Value]:
    """Flatten. What lies in another order than Keras's is flattened as it lies, and the Value says which column is which."""
    builder, value = use.builder, inputs[0]
    if use.config.get("data_format", "channels_last") == "channels_first" and value.rank > 2:
        # Keras flattens channels-first images in channels-last order.
        order = value.order or tuple(range(value.rank))
        moved = [0, *range(2, value.rank), 1]
        value = replace(value, shape=tuple(value.shape[axis] for axis in moved), order=memory_order([moved.index(axis) for axis in order]))
    if value.rank == 2:
        return [value]
    if value.rank == 1:
        return [Value(builder.add("Unsqueeze", [value.name, builder.integers([1], "axes")]), (None, 1), value.dtype)]
    total = size_of(value.shape[1:])
    if not value.order:
        return [Value(builder.add("Flatten", [value.name], axis=1), (None, total), value.dtype)]
    if total is None or value.order[0] != 0:
        value = builder.arranged(value)
        return [Value(builder.add("Flatten", [value.name], axis=1), (None, total), value.dtype)]
    places = np.arange(total).reshape([size or 0 for size in value.shape[1:]])
    columns = places.transpose([axis - 1 for axis in value.order[1:]]).ravel()
    is_sorted = bool(np.all(columns[1:] > columns[:-1]))
    tensor = builder.add("Flatten", [value.name], axis=1)
    return [Value(tensor, (None, total), value.dtype, columns=None if is_sorted else columns)]


def convert_reshape(use: LayerUse, inputs: Sequence[Value]) -> list[Value]:
    """Reshape to `target_shape`, in which one size may be -1."""
    value = inputs[0]
    target: list[int | None] = [None if size == -1 else size for size in use.config.get("target_shape")]
    total = size_of(value.shape[1:])
    if None in target and total is not None:
        known = size_of([size for size in target if size is not None]) or 1
        target[target.index(None)] = total // known
    shape = (None, *target)
    if value.shape == shape:
        return [value]
    return [use.builder.reshape(value, shape)]


def convert_permute(use: LayerUse, inputs: Sequence[Value]) -> list[Value]:
    """Permute: only Keras's view changes, memory stays until somebody needs it."""
    value = inputs[0]
    dims = [0, *use.config.get("dims")]
    if sorted(dims) != list(range(value.rank)):
        raise use.refusal(f"has dims={dims[1:]} for an input of {value.rank} axes")
    value = use.builder.arranged(value) if value.columns is not None else value
    order = value.order or tuple(range(value.rank))
    return [replace(value, shape=tuple(value.shape[axis] for axis in dims), order=memory_order([dims.index(axis) for axis in order]))]


def convert_repeat_vector(use: LayerUse, inputs: Sequence[Value]) -> list[Value]:
    """RepeatVector: (batch, features) -> (batch, n, features)."""
    builder, value, count = use.builder, use.builder.arranged(inputs[0]), int(use.config.get("n"))
    rows = builder.add("Unsqueeze", [value.name, builder.integers([1], "axes")])
    tensor = builder.add("Expand", [rows, builder.integers([1, count, 1])])
    return [Value(tensor, (None, count, value.shape[1]), value.dtype)]
