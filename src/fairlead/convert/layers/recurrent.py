"""SimpleRNN, LSTM and GRU as ONNX's own operators, with free sequence length; one direction or two.

Memory is (time, batch, features), which is what the operators want; stacked layers exchange it without transposes.
Gate orders: Keras LSTM i f c o, GRU z r h; ONNX LSTM i o f c, GRU z r h (https://onnx.ai/onnx/operators/).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fairlead.convert.graph_builder import GraphBuilder, Value
from fairlead.convert.layer_use import LayerUse
from fairlead.core.interface import Array

TIME_FIRST = (1, 0, 2)
_LSTM_GATES = (0, 3, 1, 2)
# Keras's name -> ONNX's name and its alpha and beta, for the functions that ONNX lists and ONNX Runtime computes right for every number.
# Softplus is not among them: inside these operators ONNX Runtime takes log(exp(x) + 1) as it stands, which is infinite above 88.
_ACTIVATIONS: dict[str, tuple[str, float | None, float | None]] = {
    "tanh": ("Tanh", None, None),
    "sigmoid": ("Sigmoid", None, None),
    "relu": ("Relu", None, None),
    "linear": ("Affine", 1.0, 0.0),
    "hard_sigmoid": ("HardSigmoid", 1 / 6, 0.5),
    "leaky_relu": ("LeakyRelu", 0.2, None),
    "elu": ("Elu", 1.0, None),
    "softsign": ("Softsign", None, None),
}
_OPERATORS = {"SimpleRNN": "RNN", "LSTM": "LSTM", "GRU": "GRU"}


@dataclass(frozen=True, eq=False)
class Direction:
    """One direction of a recurrent layer, in ONNX's layout: input weights (gates * units, features), recurrent weights
    (gates * units, units), biases (2 * gates * units), and its activations.
    """

    operator: str
    units: int
    kernel: Array
    recurrent: Array
    bias: Array
    activations: tuple[str, ...]
    attributes: tuple[tuple[str, Any], ...]
    is_backward: bool
    return_sequences: bool
    return_state: bool

    @property
    def state_count(self) -> int:
        """How many states it carries: LSTM two, others one."""
        return 2 if self.operator == "LSTM" else 1


def convert_recurrent(use: LayerUse, inputs: Sequence[Value]) -> list[Value]:
    """One recurrent layer; inputs are the sequence and, optionally, the initial states."""
    direction = read_direction(use)
    sequence, states = inputs[0], list(inputs[1:])
    outputs = run(use, sequence, [direction], [states] if states else [])
    builder, time = use.builder, sequence.shape[1]
    result = []
    if direction.return_sequences:
        tensor = builder.add("Squeeze", [outputs[0], builder.integers([1], "axes")])
        if direction.is_backward:
            tensor = flip_time(builder, tensor)
        result.append(Value(tensor, (None, time, direction.units), order=TIME_FIRST))
    last = [builder.add("Squeeze", [state, builder.integers([0], "axes")]) for state in outputs[1:]]
    finals = [Value(state, (None, direction.units)) for state in last]
    if not direction.return_sequences:
        result.append(finals[0])
    return [*result, *finals] if direction.return_state else result


def read_direction(use: LayerUse) -> Direction:
    """Return a recurrent layer's weights and settings in ONNX's layout. Raises UnsupportedError for what the operators cannot do."""
    if use.kind not in _OPERATORS:
        raise use.refusal("is not a recurrent layer with one cell")
    units, has_bias = int(use.config.get("units")), bool(use.config.get("use_bias", True))
    kernel, recurrent = use.weight("kernel"), use.weight("recurrent_kernel")
    gate_count = {"SimpleRNN": 1, "LSTM": 4, "GRU": 3}[use.kind]
    if kernel.shape[-1] != gate_count * units or recurrent.shape != (units, gate_count * units):
        raise use.refusal(f"has kernels of shapes {list(kernel.shape)} and {list(recurrent.shape)}")
    names = [use.config.get("activation", "tanh")]
    if use.kind != "SimpleRNN":
        names.insert(0, use.config.get("recurrent_activation", "sigmoid"))
    if use.kind == "LSTM":
        names.append(names[-1])  # ONNX names the function of the cell's output as well
    attributes: list[tuple[str, Any]] = []
    bias = use.weight("bias") if has_bias else np.zeros(gate_count * units)
    if use.kind == "GRU":
        resets_after = bool(use.config.get("reset_after", True))
        attributes.append(("linear_before_reset", int(resets_after)))
    biases = bias if bias.ndim == 2 else np.stack([bias, np.zeros_like(bias)])
    gates = _LSTM_GATES if use.kind == "LSTM" else tuple(range(gate_count))
    return Direction(
        operator=_OPERATORS[use.kind],
        units=units,
        kernel=_by_gate(kernel, gates, units).T,
        recurrent=_by_gate(recurrent, gates, units).T,
        bias=_by_gate(biases, gates, units).ravel(),
        activations=tuple(_known(use, name) for name in names),
        attributes=tuple(attributes),
        is_backward=bool(use.config.get("go_backwards", False)),
        return_sequences=bool(use.config.get("return_sequences", False)),
        return_state=bool(use.config.get("return_state", False)),
    )


def run(use: LayerUse, sequence: Value, directions: Sequence[Direction], states: Sequence[Sequence[Value]]) -> list[str]:
    """Add the operator and return its outputs: all steps (time, directions, batch, units), then the last state(s).

    `states` holds the initial states of each direction, or nothing. All directions have one operator and as many units.
    """
    builder, first = use.builder, directions[0]
    if sequence.rank != 3 or sequence.shape[-1] not in (None, first.kernel.shape[1]):
        raise use.refusal(f"takes {first.kernel.shape[1]} features per step, its input has shape {list(sequence.shape)}")
    sequence = builder.arranged(builder.as_float(sequence), TIME_FIRST)
    operands = [sequence.name]
    for label, arrays in (
        ("kernel", [one.kernel for one in directions]),
        ("recurrent_kernel", [one.recurrent for one in directions]),
        ("bias", [one.bias for one in directions]),
    ):
        operands.append(builder.floats(np.stack(arrays), label))
    if states:
        if any(len(given) != first.state_count for given in states):
            raise use.refusal(f"takes {first.state_count} initial states per direction")
        operands += ["", *(_initial(use, [given[place] for given in states]) for place in range(first.state_count))]
    names = [_ACTIVATIONS[name] for one in directions for name in one.activations]
    attributes = dict(first.attributes)
    attributes["activations"] = [name for name, _, _ in names]
    for key, numbers in (("activation_alpha", [alpha for _, alpha, _ in names]), ("activation_beta", [beta for _, _, beta in names])):
        given = [number for number in numbers if number is not None]
        if given:
            attributes[key] = given
    how = "bidirectional" if len(directions) == 2 else "reverse" if first.is_backward else "forward"
    return builder.add_many(first.operator, operands, 1 + first.state_count, hidden_size=first.units, direction=how, **attributes)


def flip_time(builder: GraphBuilder, tensor: str) -> str:
    """Return the tensor with its first axis (time) turned round."""
    operands = [builder.integers([number], "slice") for number in (-1, -(2**63) + 1, 0, -1)]
    return builder.add("Slice", [tensor, *operands])


def _initial(use: LayerUse, values: Sequence[Value]) -> str:
    builder = use.builder
    rows = [builder.arranged(builder.as_float(value)).name for value in values]
    lifted = [builder.add("Unsqueeze", [row, builder.integers([0], "axes")]) for row in rows]
    return lifted[0] if len(lifted) == 1 else builder.add("Concat", lifted, axis=0)


def _by_gate(array: Array, gates: Sequence[int], units: int) -> Array:
    """Return the last axis, which holds one block of `units` per gate, with its blocks in the order `gates`."""
    return np.concatenate([array[..., gate * units : (gate + 1) * units] for gate in gates], axis=-1)


def _known(use: LayerUse, name: str) -> str:
    if name not in _ACTIVATIONS:
        raise use.refusal(f"has the activation '{name}' in its cell, which is not supported")
    return name
