"""One step of SimpleRNN, LSTM and GRU (https://keras.io/api/layers/recurrent_layers/).

Kernels hold the gates side by side: LSTM input, forget, candidate, output; GRU update, reset, candidate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from fairlead.core.interface import Array
from fairlead.engines.layers.activation_functions import activation
from fairlead.engines.layers.dense_layers import plus
from fairlead.engines.layers.layer_spec import LayerSpec

States: TypeAlias = tuple[Array, ...]


@dataclass(frozen=True)
class Cell:
    """`project` prepares all steps of the input at once (batch, steps, gates); `step` takes one of them and the states.

    The first state after a step is its output.
    """

    units: int
    state_count: int
    project: Callable[[Array], Array]
    step: Callable[[Array, States], States]


def simple_rnn_cell(spec: LayerSpec) -> Cell:
    """Build the cell of SimpleRNN."""
    units, kernel, recurrent = spec.integer("units"), spec.weight("kernel"), spec.weight("recurrent_kernel")
    bias, act = spec.weight_if(spec.flag("use_bias", True), "bias"), activation(spec, default="tanh")
    return Cell(units, 1, lambda x: plus(x @ kernel, bias), lambda x, states: (act(x + states[0] @ recurrent),))


def lstm_cell(spec: LayerSpec) -> Cell:
    """Build the cell of LSTM."""
    units, kernel, recurrent = spec.integer("units"), spec.weight("kernel"), spec.weight("recurrent_kernel")
    bias, act = spec.weight_if(spec.flag("use_bias", True), "bias"), activation(spec, default="tanh")
    gate = activation(spec, "recurrent_activation", "sigmoid")

    def step(x: Array, states: States) -> States:
        hidden, carry = states
        enter, forget, candidate, leave = np.split(x + hidden @ recurrent, 4, axis=-1)
        carry = gate(forget) * carry + gate(enter) * act(candidate)
        return gate(leave) * act(carry), carry

    return Cell(units, 2, lambda x: plus(x @ kernel, bias), step)


def gru_cell(spec: LayerSpec) -> Cell:
    """Build the cell of GRU; with `reset_after` the reset gate works on the recurrent product, which has a bias of its own."""
    units, kernel, recurrent = spec.integer("units"), spec.weight("kernel"), spec.weight("recurrent_kernel")
    bias, act = spec.weight_if(spec.flag("use_bias", True), "bias"), activation(spec, default="tanh")
    gate, is_reset_after = activation(spec, "recurrent_activation", "sigmoid"), spec.flag("reset_after", True)
    input_bias, recurrent_bias = bias if is_reset_after and bias is not None else (bias, None)

    def step(x: Array, states: States) -> States:
        (hidden,) = states
        from_input, for_candidate = x[:, : 2 * units], x[:, 2 * units :]
        if is_reset_after:
            product = plus(hidden @ recurrent, recurrent_bias)
            update, reset = np.split(gate(from_input + product[:, : 2 * units]), 2, axis=-1)
            candidate = act(for_candidate + reset * product[:, 2 * units :])
        else:
            update, reset = np.split(gate(from_input + hidden @ recurrent[:, : 2 * units]), 2, axis=-1)
            candidate = act(for_candidate + (reset * hidden) @ recurrent[:, 2 * units :])
        return (update * hidden + (1.0 - update) * candidate,)

    return Cell(units, 1, lambda x: plus(x @ kernel, input_bias), step)


CELLS: dict[str, Callable[[LayerSpec], Cell]] = {"SimpleRNN": simple_rnn_cell, "LSTM": lstm_cell, "GRU": gru_cell}
