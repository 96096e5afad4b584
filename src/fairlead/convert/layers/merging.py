"""Layers that join several inputs: arithmetic, Concatenate and Dot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fairlead.convert.graph_builder import GraphBuilder, Shape, Value
from fairlead.convert.layer_use import LayerUse

_OPERATORS = {"Add": "Add", "Average": "Add", "Multiply": "Mul", "Subtract": "Sub", "Maximum": "Max", "Minimum": "Min"}
# Keras's epsilon in normalize(): the floor of the norm.
_NORM_FLOOR = 1e-7


def convert_merge(use: LayerUse, inputs: Sequence[Value]) -> list[Value]:
    """Add, Subtract, Multiply, Average, Maximum, Minimum, with broadcasting."""
    if len(inputs) < 2 or (use.kind == "Subtract" and len(inputs) != 2):
        raise use.refusal(f"takes {len(inputs)} inputs")
    builder = use.builder
    rank = max(value.rank for value in inputs)
    values = aligned(builder, [_widen(builder, value, rank) for value in inputs])
    tensor = values[0].name
    for value in values[1:]:
        tensor = builder.add(_OPERATORS[use.kind], [tensor, value.name])
    if use.kind == "Average":
        tensor = builder.add("Div", [tensor, builder.floats(float(len(values)))])
    return [replace(values[0], name=tensor, shape=broadcast(use, [value.shape for value in values]))]


def convert_concatenate(use: LayerUse, inputs: Sequence[Value]) -> list[Value]:
    """Concatenate along one axis."""
    builder, axis = use.builder, use.config.get("axis", -1) % inputs[0].rank
    if len({value.rank for value in inputs}) != 1:
        raise use.refusal("joins inputs of different ranks")
    is_matrix = any(value.columns is not None for value in inputs)
    values = [builder.arranged(value) for value in inputs] if is_matrix else aligned(builder, list(inputs))
    if len({value.dtype for value in values}) > 1:
        values = [builder.as_float(value) for value in values]
    tensor = builder.add("Concat", [value.name for value in values], axis=values[0].axis(axis))
    sizes = [value.shape[axis] for value in values]
    total = None if None in sizes else sum(size for size in sizes if size is not None)
    first = max((value.shape for value in values), key=lambda shape: sum(size is not None for size in shape))
    return [replace(values[0], name=tensor, shape=(*first[:axis], total, *first[axis + 1 :]))]


def convert_dot(use: LayerUse, inputs: Sequence[Value]) -> list[Value]:
    """Dot along one axis of each input, with a batch of matrix products; (batch, n) . (batch, n) gives (batch, 1)."""
    builder, axes = use.builder, use.config.get("axes")
    axes = [axes, axes] if isinstance(axes, int) else list(axes)
    values = [builder.arranged(builder.as_float(value)) for value in inputs]
    if len(values) != 2 or any(value.rank not in (2, 3) for value in values):
        raise use.refusal(f"takes inputs of shapes {[value.shape for value in values]}; two or three axes are supported")
    axes = [axis % value.rank for axis, value in zip(axes, values, strict=True)]
    if 0 in axes:
        raise use.refusal("multiplies along the batch")
    if use.config.get("normalize", False):
        values = [_unit(builder, value, axis) for value, axis in zip(values, axes, strict=True)]
    left = _with_last(builder, values[0], axes[0])
    right = builder.add("Transpose", [_with_last(builder, values[1], axes[1])], perm=[0, 2, 1])
    kept = [[size for axis, size in enumerate(value.shape[1:], 1) if axis != used] for value, used in zip(values, axes, strict=True)]
    tensor = builder.add("MatMul", [left, right])
    if values[0].rank == 2:
        return [Value(builder.add("Squeeze", [tensor, builder.integers([1], "axes")]), (None, *(kept[1] or [1])))]
    if values[1].rank == 2:
        return [Value(builder.add("Squeeze", [tensor, builder.integers([2], "axes")]), (None, *kept[0]))]
    return [Value(tensor, (None, *kept[0], *kept[1]))]


def aligned(builder: GraphBuilder, values: list[Value]) -> list[Value]:
    """Return `values` of one rank in one memory order: that of the first which is not Keras's, so that fewest are moved."""
    columns = values[0].columns
    if columns is not None and all(value.columns is not None and (value.columns == columns).all() for value in values):
        return values
    orders = [value.order for value in values if value.order]
    wanted = orders[0] if orders and any(value.rank > 1 for value in values) else ()
    return [builder.arranged(value, wanted) for value in values]


def broadcast(use: LayerUse, shapes: Sequence[Shape]) -> Shape:
    """Return the shape of an element-wise result. Raises UnsupportedError where the shapes do not fit."""
    joined: list[int | None] = []
    for sizes in zip(*shapes, strict=True):
        known = {size for size in sizes if size not in (None, 1)}
        if len(known) > 1:
            raise use.refusal(f"joins shapes {[list(shape) for shape in shapes]}")
        joined.append(known.pop() if known else None if None in sizes else 1)
    return tuple(joined)


def _widen(builder: GraphBuilder, value: Value, rank: int) -> Value:
    """Return `value` with axes of size 1 behind the batch up to `rank`, as Keras does."""
    value = builder.as_float(value)
    if value.rank == rank:
        return value
    value = builder.arranged(value)
    missing = rank - value.rank
    tensor = builder.add("Unsqueeze", [value.name, builder.integers(range(1, 1 + missing), "axes")])
    return Value(tensor, (value.shape[0], *[1] * missing, *value.shape[1:]))


def _unit(builder: GraphBuilder, value: Value, axis: int) -> Value:
    norm = builder.add("ReduceL2", [value.name, builder.integers([axis], "axes")], keepdims=1)
    return replace(value, name=builder.add("Div", [value.name, builder.add("Max", [norm, builder.floats(_NORM_FLOOR)])]))


def _with_last(builder: GraphBuilder, value: Value, axis: int) -> str:
    """Return the tensor as (batch, rest, axis)."""
    if value.rank == 2:
        return builder.add("Unsqueeze", [value.name, builder.integers([1], "axes")])
    return value.name if axis == 2 else builder.add("Transpose", [value.name], perm=[0, 2, 1])
