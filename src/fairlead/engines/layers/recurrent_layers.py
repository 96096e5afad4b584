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
from fairlead.engines.layers.value import Evaluate, Inputs, Value

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

    def run(self, sequence: Array, states: Sequence[Array], mask: Array | None, *, zeroes_masked: bool = False) -> tuple[Array, States]:
        """Return the output (batch, units) or (batch, steps, units) in the order in which steps were taken, and the last states."""
        current: States = tuple(states) or (np.zeros((len(sequence), self.cell.units)),) * self.cell.state_count
        order = range(sequence.shape[1])[:: -1 if self.is_backward else 1]
        prepared = self.cell.project(sequence)
        outputs = np.empty((len(sequence), sequence.shape[1], self.cell.units)) if self.gives_sequences else None
        for place, step in enumerate(order):
            following = self.cell.step(prepared[:, step], current)
            counts = None if mask is None else mask[:, step, np.newaxis]
            if counts is not None:
                following = tuple(np.where(counts, new, old) for new, old in zip(following, current, strict=True))
            current = following
            if outputs is not None:
                outputs[:, place] = np.where(counts, current[0], 0.0) if zeroes_masked and counts is not None else current[0]
        return current[0] if outputs is None else outputs, current


def _recurrence(spec: LayerSpec) -> _Recurrence:
    flags = (spec.flag(key, False) for key in ("go_backwards", "return_sequences", "return_state"))
    return _Recurrence(CELLS[spec.kind](spec), *flags)


def _arguments(inputs: Inputs) -> tuple[Value, tuple[Array, ...], Array | None]:
    """Return the sequence, the initial states (none: zeros) and the mask, which may be an argument or come along with the sequence."""
    sequence, *others = inputs.values
    masks = inputs.named("mask")
    states = tuple(value.data for value in others if not any(value is mask for mask in masks))
    return sequence, states, masks[0].data.astype(np.bool_) if masks else sequence.mask


def _recurrent(spec: LayerSpec) -> Evaluate:
    recurrence = _recurrence(spec)

    def evaluate(inputs: Inputs) -> tuple[Value, ...]:
        sequence, states, mask = _arguments(inputs)
        output, last = recurrence.run(sequence.data, states, mask)
        first = Value(output, mask if recurrence.gives_sequences else None)
        return (first, *map(Value, last)) if recurrence.gives_states else (first,)

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

    def evaluate(inputs: Inputs) -> tuple[Value, ...]:
        sequence, states, mask = _arguments(inputs)
        half = len(states) // 2
        ahead, ahead_states = forward.run(sequence.data, states[:half], mask, zeroes_masked=True)
        back, back_states = backward.run(sequence.data, states[half:], mask, zeroes_masked=True)
        outputs = merge(ahead, np.flip(back, axis=1) if forward.gives_sequences else back)
        kept = mask if forward.gives_sequences else None
        last = (*ahead_states, *back_states) if forward.gives_states else ()
        return (*(Value(output, kept) for output in outputs), *map(Value, last))

    return evaluate


LAYERS: dict[str, Callable[[LayerSpec], Evaluate]] = {**dict.fromkeys(CELLS, _recurrent), "Bidirectional": _bidirectional}
