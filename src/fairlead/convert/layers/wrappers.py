"""Layers that wrap another: Bidirectional and TimeDistributed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fairlead.convert.graph_builder import Value, memory_order
from fairlead.convert.layer_use import LayerUse
from fairlead.convert.layers.recurrent import TIME_FIRST, Direction, read_direction, run
from fairlead.core.layer_kinds import IDENTITY_KINDS

# Layers that treat every step alike as they are.
_POINTWISE = IDENTITY_KINDS | {"Dense", "ReLU", "LeakyReLU", "ELU", "Rescaling"}


@dataclass(frozen=True)
class _Side:
    """What one direction gives: all steps (time, batch, units) in the order of the input, and its last state(s) (batch, units)."""

    steps: str
    states: list[str]
    units: int


def convert_bidirectional(use: LayerUse, inputs: Sequence[Value]) -> list[Value]:
    """Bidirectional: the outputs of both directions merged, then the states of forward and backward."""
    forward_use, backward_use = use.nested("forward", use.config.get("layer")), use.nested("backward", use.config.get("backward_layer"))
    forward, backward = read_direction(forward_use), read_direction(backward_use)
    forward_use.check_all_used()
    backward_use.check_all_used()
    if forward.is_backward or not backward.is_backward:
        raise use.refusal("has a forward layer that goes backwards")
    for key in ("return_sequences", "return_state"):
        if getattr(forward, key) != getattr(backward, key):
            raise use.refusal(f"has directions with different {key}")
    sequence, states = inputs[0], list(inputs[1:])
    half = forward.state_count if states else 0
    given = [states[:half], states[half:]] if states else []
    sides = _run_both(use, sequence, [forward, backward], given)
    merged = _merge(use, sides, sequence.shape[1], is_sequence=forward.return_sequences)
    if not forward.return_state:
        return merged
    return [*merged, *(Value(state, (None, side.units)) for side in sides for state in side.states)]


def _run_both(use: LayerUse, sequence: Value, directions: list[Direction], states: list[list[Value]]) -> list[_Side]:
    """Run both directions: in one operator where they have one form."""
    builder, (forward, backward) = use.builder, directions
    if all(getattr(forward, key) == getattr(backward, key) for key in ("operator", "units", "attributes")):
        outputs = run(use, sequence, directions, states)
        axes = [1, *[0] * forward.state_count]
        pairs = [builder.add_many("Split", [output], 2, axis=axis, num_outputs=2) for output, axis in zip(outputs, axes, strict=True)]
        sides = [[pair[side] for pair in pairs] for side in (0, 1)]
    else:
        sides = [run(use, sequence, [one], states[place : place + 1]) for place, one in enumerate(directions)]
    flat = [
        [builder.add("Squeeze", [tensor, builder.integers([axis], "axes")]) for tensor, axis in zip(side, (1, 0, 0), strict=False)]
        for side in sides
    ]
    return [_Side(side[0], side[1:], one.units) for side, one in zip(flat, directions, strict=True)]


def _merge(use: LayerUse, sides: list[_Side], time: int | None, *, is_sequence: bool) -> list[Value]:
    builder, mode = use.builder, use.config.get("merge_mode", "concat")
    tensors = [side.steps if is_sequence else side.states[0] for side in sides]
    order = TIME_FIRST if is_sequence else ()
    lengths = (None, time) if is_sequence else (None,)
    if mode is None:
        return [Value(tensor, (*lengths, side.units), order=order) for tensor, side in zip(tensors, sides, strict=True)]
    if mode == "concat":
        return [Value(builder.add("Concat", tensors, axis=-1), (*lengths, sum(side.units for side in sides)), order=order)]
    if mode not in ("sum", "mul", "ave") or sides[0].units != sides[1].units:
        raise use.refusal(f"has merge_mode={mode!r} for {sides[0].units} and {sides[1].units} units")
    tensor = builder.add("Mul" if mode == "mul" else "Add", tensors)
    if mode == "ave":
        tensor = builder.add("Mul", [tensor, builder.floats(0.5)])
    return [Value(tensor, (*lengths, sides[0].units), order=order)]


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
