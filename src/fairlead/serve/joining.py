"""Rows of several requests in one call of an engine, and each one's own rows out of its answer.

Takes tickets that share a batch; gives the tensors of all, and outputs for each. Raises nothing. Law: nobody gets another one's row; an
answer that does not have as many rows as were asked is not divided at all.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import numpy as np

from fairlead.core.interface import Array, Interface, Tensors
from fairlead.core.ports import Clock
from fairlead.serve.ticket import Ticket


def has_free_batch(interface: Interface) -> bool:
    """Whether every input and output has a free first dimension, so that rows can be joined and told apart."""
    return all(spec.shape[:1] == (None,) for spec in (*interface.inputs, *interface.outputs))


def key_of(inputs: Tensors, outputs: tuple[str, ...], parameters: Mapping[str, object] | None) -> Hashable:
    """Return what requests must share to run together. Element types are the interface's, so they are equal."""
    shapes = tuple(sorted((name, tensor.shape[1:]) for name, tensor in inputs.items()))
    return shapes, outputs, tuple(sorted((name, repr(value)) for name, value in parameters.items())) if parameters else ()


def join(batch: list[Ticket], clock: Clock) -> Tensors:
    """Return the rows of all tickets, one after the other, and note how long that took."""
    if len(batch) == 1:
        return batch[0].inputs
    began = clock()
    joined = {name: np.concatenate([ticket.inputs[name] for ticket in batch]) for name in batch[0].inputs}
    input_ms = (clock() - began) * 1e3
    for ticket in batch:
        ticket.input_ms = input_ms
    return joined


def part(batch: list[Ticket], outputs: dict[str, Array], clock: Clock) -> list[dict[str, Array]]:
    """Return each ticket's rows, and note how long that took; nothing where the rows cannot be told apart."""
    if len(batch) == 1:
        return [outputs]
    began, rows = clock(), 0
    for ticket in batch:
        rows += ticket.rows
    for array in outputs.values():
        if array.shape[:1] != (rows,):
            return []
    parts, start = [], 0
    for ticket in batch:
        end = start + ticket.rows
        parts.append({name: array[start:end] for name, array in outputs.items()})
        start = end
    output_ms = (clock() - began) * 1e3
    for ticket in batch:
        ticket.output_ms = output_ms
    return parts
