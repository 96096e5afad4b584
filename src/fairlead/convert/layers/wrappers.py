"""Layers that wrap another: Bidirectional and TimeDistributed."""

from __future__ import annotations

from collections.abc import Sequence

from fairlead.convert.graph_builder import Value, memory_order
from fairlead.convert.layer_use import LayerUse
from fairlead.convert.layers.recurrent import TIME_FIRST, Direction, read_direction, run
from fairlead.core.layer_kinds import IDENTITY_KINDS

_REDUCTIONS = {"sum": "ReduceSum", "mul": "ReduceProd", "ave": "ReduceMean"}
# Layers that treat every step alike as they are.
_POINTWISE = IDENTITY_KINDS | {"Dense", "ReLU", "LeakyReLU", "ELU", "Rescaling"}


def convert_bidirectional(use: LayerUse, inputs: Sequence[Value]) -> list[Value]:
    """Bidirectional: both directions in one operator, each step's outputs merged, then the states of forward and backward."""
    forward_use, backward_use = use.nested("forward", use.config.get("layer")), use.nested("backward", use.config.get("backward_layer"))
    forward, backward = read_direction(forward_use), read_direction(backward_use)
    forward_use.check_all_used()
    backward_use.check_all_used()
    _check_pair(use, forward, backward)
    sequence, states = inputs[0], list(inputs[1:])
    half = len(states) // 2
    outputs = run(use, sequence, [forward, backward], [states[:half], states[half:]] if states else [])
    merged = _merge_steps(use, outputs[0], sequence, forward) if forward.return_sequences else _merge_last(use, outputs[1], forward)
    if not forward.return_state:
        return merged
    builder = use.builder
    rows = [builder.add_many("Split", [state], 2, axis=0, num_outputs=2) for state in outputs[1:]]
    finals = [builder.add("Squeeze", [pair[side], builder.integers([0], "axes")]) for side in (0, 1) for pair in rows]
    return [*merged, *(Value(state, (None, forward.units)) for state in finals)]


def _check_pair(use: LayerUse, forward: Direction, backward: Direction) -> None:
    same = ("operator", "units", "attributes", "return_sequences", "return_state")
    for key in same:
        if getattr(forward, key) != getattr(backward, key):
            raise use.refusal(f"has directions with different {key.replace('_', ' ')}")
    if forward.is_backward or not backward.is_backward:
        raise use.refusal("has a forward layer that goes backwards")


def _merge_steps(use: LayerUse, steps: str, sequence: Value, forward: Direction) -> list[Value]:
    """Merge (time, 2, batch, units), in which ONNX has the backward steps in the order of the input, as Keras turns them."""
    builder, mode, time = use.builder, use.config.get("merge_mode", "concat"), sequence.shape[1]
    if mode == "concat":
        swapped = builder.add("Transpose", [steps], perm=[0, 2, 1, 3])
        tensor = builder.add("Reshape", [swapped, builder.integers([0, 0, 2 * forward.units])])
        return [Value(tensor, (None, time, 2 * forward.units), order=TIME_FIRST)]
    if mode is None:
        sides = builder.add_many("Split", [steps], 2, axis=1, num_outputs=2)
        tensors = [builder.add("Squeeze", [side, builder.integers([1], "axes")]) for side in sides]
    else:
        tensors = [builder.add(_reduction(use, mode), [steps, builder.integers([1], "axes")], keepdims=0)]
    return [Value(tensor, (None, time, forward.units), order=TIME_FIRST) for tensor in tensors]


def _merge_last(use: LayerUse, state: str, forward: Direction) -> list[Value]:
    """Merge (2, batch, units)."""
    builder, mode = use.builder, use.config.get("merge_mode", "concat")
    if mode == "concat":
        swapped = builder.add("Transpose", [state], perm=[1, 0, 2])
        return [Value(builder.add("Reshape", [swapped, builder.integers([0, 2 * forward.units])]), (None, 2 * forward.units))]
    if mode is None:
        sides = builder.add_many("Split", [state], 2, axis=0, num_outputs=2)
        return [Value(builder.add("Squeeze", [side, builder.integers([0], "axes")]), (None, forward.units)) for side in sides]
    return [Value(builder.add(_reduction(use, mode), [state, builder.integers([0], "axes")], keepdims=0), (None, forward.units))]


def _reduction(use: LayerUse, mode: str) -> str:
    if mode not in _REDUCTIONS:
        raise use.refusal(f"has merge_mode='{mode}', which is not supported")
    return _REDUCTIONS[mode]


def convert_time_distributed(use: LayerUse, inputs: Sequence[Value]) -> list[Value]:
    """TimeDistributed: the wrapped layer on (batch * time, ...), or as it is where it treats every step alike."""
    inner, value = use.nested("layer", use.config.get("layer")), inputs[0]
    if value.rank < 3:
        raise use.refusal(f"takes at least three axes, its input has shape {list(value.shape)}")
    if inner.kind in _POINTWISE:
        return use.convert(inner, [value])
    builder = use.builder
    if value.order[:2] != (0, 1):
        value = builder.arranged(value)
    order = value.order or tuple(range(value.rank))
    folded = Value(
        builder.add("Reshape", [value.name, builder.add("Concat", [builder.integers([-1]), _memory_sizes(use, value, 2)], axis=0)])
        if None in value.shape[2:]
        else builder.add("Reshape", [value.name, builder.integers([-1, *(value.shape[axis] for axis in order[2:])])]),
        (None, *value.shape[2:]),
        value.dtype,
        order=memory_order([0, *(axis - 1 for axis in order[2:])]),
    )
    results = use.convert(inner, [folded])
    return [_unfold(use, value, result) for result in results]


def _unfold(use: LayerUse, value: Value, result: Value) -> Value:
    """Return (batch * time, ...) as (batch, time, ...)."""
    builder = use.builder
    if result.columns is not None or result.order[:1] not in ((), (0,)):
        result = builder.arranged(result)
    order = result.order or tuple(range(result.rank))
    sizes = [result.shape[axis] for axis in order[1:]]
    shape = (None, value.shape[1], *result.shape[1:])
    unfolded = memory_order([0, 1, *(axis + 1 for axis in order[1:])])
    if value.shape[1] is not None and None not in sizes:
        target = builder.integers([-1, value.shape[1], *sizes])
    else:
        front = builder.add("Shape", [value.name], end=2)
        target = builder.add("Concat", [front, _memory_sizes(use, result, 1)], axis=0)
    return Value(builder.add("Reshape", [result.name, target]), shape, result.dtype, order=unfolded)


def _memory_sizes(use: LayerUse, value: Value, start: int) -> str:
    """Return the sizes of memory axes from `start` on."""
    sizes = [value.shape[axis] for axis in (value.order or range(value.rank))][start:]
    if None not in sizes:
        return use.builder.integers(sizes)
    return use.builder.add("Shape", [value.name], start=start)
