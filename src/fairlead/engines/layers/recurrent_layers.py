"""SimpleRNN, LSTM and GRU over sequences (batch, steps, features), and Bidirectional around them.

A masked step leaves the states as they are and repeats the output of the step before (Bidirectional: gives zeros instead).
https://keras.io/api/layers/recurrent_layers/
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from fairlead.core.interface import Array
from fairlead.engines.layers.layer_spec import LayerSpec
from fairlead.engines.layers.recurrent_cells import CELLS, Cell, States
from fairlead.engines.layers.value import Evaluate, Inputs

_MERGES: dict[str | None, Callable[[Array, Array], tuple[Array, ...]]] = {
    "concat": lambda forward, backward: (np.concatenate([forward, backward], axis=-1),),
    "sum": lambda forward, backward: (forward + backward,),
    "ave": lambda forward, backward: ((forward + backward) / 2.0,),
    "mul": lambda forward, backward: (forward * backward,),
    None: lambda forward, backward: (forward, backward),
}


@dataclass(frozen=True)
class _Recurrence:
    """A cell and how it runs over a sequence."""

    cell: Cell
    is_backward: bool
    gives_sequences: bool
    gives_states: bool

    def run(self, sequence: Array, states: Sequence[Array]) -> tuple[Array, States]:
        """Return the output (batch, units) or (batch, steps, units) in the order in which steps were taken, and the last states."""
        current: States = tuple(states) or (np.zeros((len(sequence), self.cell.units)),) * self.cell.state_count
        prepared = self.cell.project(sequence)
        outputs = []
        for step in range(sequence.shape[1])[:: -1 if self.is_backward else 1]:
            current = self.cell.step(prepared[:, step], current)
            outputs.append(current[0])
        return np.stack(outputs, axis=1) if self.gives_sequences else current[0], current


def _recurrence(spec: LayerSpec) -> _Recurrence:
    flags = (spec.flag(key, False) for key in ("go_backwards", "return_sequences", "return_state"))
    return _Recurrence(CELLS[spec.kind](spec), *flags)


def _recurrent(spec: LayerSpec) -> Evaluate:
    recurrence = _recurrence(spec)

    def evaluate(inputs: Inputs) -> tuple[Array, ...]:
        output, last = recurrence.run(inputs.first, inputs.tensors[1:])
        return (output, *last) if recurrence.gives_states else (output,)

    return evaluate


def _bidirectional(spec: LayerSpec) -> Evaluate:
    forward_spec, backward_spec = spec.inner("layer", "forward"), spec.inner("backward_layer", "backward")
    if not {forward_spec.kind, backward_spec.kind} <= set(CELLS):
        raise spec.refusal("layer")
    forward, backward = _recurrence(forward_spec), _recurrence(backward_spec)
    forward_spec.finish()
    backward_spec.finish()
    mode = spec.option("merge_mode", "concat")
    if mode not in _MERGES:
        raise spec.refusal("merge_mode")
    merge = _MERGES[mode]

    def evaluate(inputs: Inputs) -> tuple[Array, ...]:
        sequence, *states = inputs.tensors
        half = len(states) // 2
        ahead, ahead_states = forward.run(sequence, states[:half])
        back, back_states = backward.run(sequence, states[half:])
        outputs = merge(ahead, np.flip(back, axis=1) if forward.gives_sequences else back)
        return (*outputs, *ahead_states, *back_states) if forward.gives_states else outputs

    return evaluate


LAYERS: dict[str, Callable[[LayerSpec], Evaluate]] = {**dict.fromkeys(CELLS, _recurrent), "Bidirectional": _bidirectional}
