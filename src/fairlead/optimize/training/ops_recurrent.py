"""What the recurrent operators of ONNX compute, in PyTorch, step by step.

Gates stand in ONNX's order: LSTM input, output, forget, cell; GRU update, reset, hidden. Raises UnsupportedError for peepholes, clipping,
lengths per row and other activations than the default ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from fairlead.optimize.training.operation import Call, Compute, not_trainable

_DEFAULTS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}
_Step = Callable[[Tensor, tuple[Tensor, ...]], tuple[Tensor, ...]]


def _check(call: Call, lengths: Tensor | None, peepholes: Tensor | None = None) -> list[str]:
    """Return the directions, forward or reverse, that the operator runs in."""
    activations = tuple(name.decode() for name in call.get("activations", ()))
    wanted = _DEFAULTS[call.operator]
    direction = call.get("direction", b"forward").decode()
    directions = ["forward", "reverse"] if direction == "bidirectional" else [direction]
    if activations and activations != wanted * len(directions):
        raise not_trainable(f"{call.operator} with the activations {', '.join(activations)}")
    if lengths is not None or peepholes is not None or call.get("clip") or call.get("input_forget", 0) or call.get("layout", 0):
        raise not_trainable(f"{call.operator} with lengths, peepholes, clipping or batch-first layout")
    return directions


def _run(step: _Step, inputs: Tensor, state: tuple[Tensor, ...], direction: str) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return the hidden states (time, rows, units) and the last state of one direction; `inputs` are (time, rows, gates)."""
    order = range(inputs.shape[0]) if direction == "forward" else range(inputs.shape[0] - 1, -1, -1)
    hidden: dict[int, Tensor] = {}
    for time in order:
        state = step(inputs[time], state)
        hidden[time] = state[0]
    return torch.stack([hidden[time] for time in range(inputs.shape[0])]), state


def _biases(bias: Tensor | None, place: int, width: int, like: Tensor) -> tuple[Tensor, Tensor]:
    zeros = like.new_zeros(2 * width) if bias is None else bias[place]
    return zeros[:width], zeros[width:]


def _initial(given: Tensor | None, place: int, inputs: Tensor, units: int) -> Tensor:
    return inputs.new_zeros(inputs.shape[1], units) if given is None else given[place]


def _lstm(call: Call, inputs: Tensor, weight: Tensor, recurrent: Tensor, *rest: Tensor | None) -> tuple[Tensor, ...]:
    bias, lengths, hidden, cell, peepholes = (*rest, *[None] * 5)[:5]
    units = recurrent.shape[2]
    outputs, states = [], []
    for place, direction in enumerate(_check(call, lengths, peepholes)):
        before, after = _biases(bias, place, 4 * units, inputs)
        steps = _LstmStep(recurrent[place])
        projected = inputs @ weight[place].T + before + after
        start = _initial(hidden, place, inputs, units), _initial(cell, place, inputs, units)
        answers, state = _run(steps, projected, start, direction)
        outputs.append(answers)
        states.append(state)
    return torch.stack(outputs, 1), torch.stack([state[0] for state in states]), torch.stack([state[1] for state in states])


class _LstmStep:
    """One step of an LSTM: the input's part of the gates, and (hidden, cell) -> the next."""

    def __init__(self, recurrent: Tensor) -> None:
        self._recurrent = recurrent.T

    def __call__(self, projected: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        hidden, cell = state
        into, out, forget, new = torch.chunk(projected + hidden @ self._recurrent, 4, dim=-1)
        cell = torch.sigmoid(forget) * cell + torch.sigmoid(into) * torch.tanh(new)
        return torch.sigmoid(out) * torch.tanh(cell), cell


class _GruStep:
    """One step of a GRU; `is_reset_after` applies the reset gate to the product, as PyTorch does and Keras by default."""

    def __init__(self, recurrent: Tensor, bias: Tensor, *, is_reset_after: bool) -> None:
        self._gates, self._hidden = (part.T for part in torch.split(recurrent, [2 * recurrent.shape[1], recurrent.shape[1]]))
        self._gate_bias, self._hidden_bias = torch.split(bias, [2 * recurrent.shape[1], recurrent.shape[1]])
        self._is_reset_after = is_reset_after

    def __call__(self, projected: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        (hidden,) = state
        units = hidden.shape[-1]
        gates, new = projected[..., : 2 * units], projected[..., 2 * units :]
        update, reset = torch.chunk(torch.sigmoid(gates + hidden @ self._gates + self._gate_bias), 2, dim=-1)
        if self._is_reset_after:
            new = torch.tanh(new + reset * (hidden @ self._hidden + self._hidden_bias))
        else:
            new = torch.tanh(new + (reset * hidden) @ self._hidden + self._hidden_bias)
        return ((1 - update) * new + update * hidden,)


class _RnnStep:
    """One step of a plain recurrent layer."""

    def __init__(self, recurrent: Tensor) -> None:
        self._recurrent = recurrent.T

    def __call__(self, projected: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (torch.tanh(projected + state[0] @ self._recurrent),)


def _gated(call: Call, inputs: Tensor, weight: Tensor, recurrent: Tensor, *rest: Tensor | None) -> tuple[Tensor, ...]:
    """GRU and RNN, which differ in their step alone."""
    bias, lengths, hidden = (*rest, *[None] * 3)[:3]
    units = recurrent.shape[2]
    outputs, states = [], []
    for place, direction in enumerate(_check(call, lengths)):
        before, after = _biases(bias, place, recurrent.shape[1], inputs)
        projected = inputs @ weight[place].T + before
        step: Any
        if call.operator == "GRU":
            step = _GruStep(recurrent[place], after, is_reset_after=bool(call.get("linear_before_reset", 0)))
        else:
            step, projected = _RnnStep(recurrent[place]), projected + after
        answers, state = _run(step, projected, (_initial(hidden, place, inputs, units),), direction)
        outputs.append(answers)
        states.append(state[0])
    return torch.stack(outputs, 1), torch.stack(states)


RECURRENT: Mapping[str, Compute] = {"LSTM": _lstm, "GRU": _gated, "RNN": _gated}
