"""Answered requests, to columns: the tensors of many requests joined, and what is known of each request repeated for its rows.

Takes what an AnswerBuffer held, of any models and versions; gives Batches, each of one version and the same outputs. What it was given by
reference it copies, so that bodies and batches that tensors are views of can go. Raises nothing; what has no rows, a refusal, is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from fairlead.core.interface import Array, Interface, Tensors, TensorSpec
from fairlead.core.observation import Observation
from fairlead.core.observation_log import is_text, row_width
from fairlead.core.version import Version
from fairlead.serve.record import Entry, text_bytes
from fairlead.serve.record_answer import Answer
from fairlead.serve.record_columns import Columns, spec_bytes
from fairlead.serve.record_facts import facts_of

_FACT_BYTES = 160  # what is known of a request beside its tensors
Joined: TypeAlias = Array | list[Array]


@dataclass(frozen=True)
class Batch:
    """Answers of one version. `facts` are columns of ROW_COLUMNS but `version` and `share`; `inputs` and `outputs` are joined tensors, or
    lists of tensors where the shapes of rows differ. `request_count` is how many answers there are.
    """

    version: Version
    interface: Interface
    request_count: int
    facts: dict[str, Array]
    inputs: dict[str, Joined]
    outputs: dict[str, Joined]

    @property
    def row_count(self) -> int:
        """How many rows there are."""
        return len(self.facts["at"])

    @property
    def size_bytes(self) -> int:
        """What it takes in memory, about."""
        tensors = (*self.inputs.values(), *self.outputs.values())
        arrays = [array for tensor in tensors for array in (tensor if isinstance(tensor, list) else [tensor])]
        return _FACT_BYTES * self.row_count + sum(array.nbytes + text_bytes(array) for array in arrays)


def batch_of(columns: Columns) -> Batch:
    """Return what was copied already as a batch; its tensors are views of the requests' bytes."""
    interface, place = columns.interface, 0
    sides: list[dict[str, Joined]] = []
    for specs in (interface.inputs, interface.outputs):
        side: dict[str, Joined] = {}
        for spec in specs:
            side[spec.name] = _unpacked(columns, spec, place)
            place += columns.rows * spec_bytes(spec)
        sides.append(side)
    return Batch(columns.version, interface, columns.count, columns.facts, *sides)


def _unpacked(columns: Columns, spec: TensorSpec, place: int) -> Joined:
    """Return the tensor of all requests that lies at `place` in the bytes of each."""
    dtype, shape = spec.dtype.numpy, tuple(size or 0 for size in spec.shape[1:])
    inner = np.empty((columns.rows, *shape), dtype).strides
    whole: Array = np.ndarray((columns.count, columns.rows, *shape), dtype, columns.content, place, (columns.record_bytes, *inner))
    return whole[:, 0] if columns.rows == 1 else whole.reshape(-1, *shape)


def batches(entries: Iterable[Entry]) -> list[Batch]:
    """Return answers that are held by reference as batches, in the order in which the first of each came."""
    groups: dict[tuple[int, tuple[str, ...]], list[tuple[Observation, Answer, Tensors]]] = {}
    for observation, asked, _ in entries:
        outputs = _outputs(observation, asked)
        if not observation.rows:
            continue
        key = (id(asked.served), (*outputs,))
        group = groups.get(key)
        if group is None:
            groups[key] = [(observation, asked, outputs)]
        else:
            group.append((observation, asked, outputs))
    return [_batch(group) for group in groups.values()]


_NOTHING: Tensors = {}


def _outputs(observation: Observation, asked: Answer) -> Tensors:
    """Return what a request was answered; nothing where it failed."""
    if observation.error_code:
        return _NOTHING
    found = asked.outputs if asked.ticket is None else asked.ticket.results
    return _NOTHING if found is None else found


def _batch(group: Sequence[tuple[Observation, Answer, Tensors]]) -> Batch:
    named = {place: (asked.request.own_id, "" if asked.draw is None else asked.draw.name) for place, (_, asked, _) in enumerate(group)}
    served, facts = group[0][1].served, facts_of([observation for observation, _, _ in group], named)
    interface, row_count = served.interface, len(facts["at"])
    return Batch(
        served.version,
        interface,
        len(group),
        facts,
        _joined([asked.request.inputs for _, asked, _ in group], row_count, interface.inputs),
        _joined([outputs for _, _, outputs in group], row_count, interface.outputs),
    )


def _joined(tensors: Sequence[Tensors], row_count: int, specs: Sequence[TensorSpec]) -> dict[str, Joined]:
    widths = {spec.name: row_width(spec) for spec in specs if not is_text(spec)}
    return {name: join([item[name] for item in tensors], row_count, widths.get(name)) for name in tensors[0]}


def join(parts: Sequence[Array], row_count: int, width: int | None) -> Joined:
    """Return the rows of all parts as one array, or copies of the parts where the shapes of their rows differ.

    With a `width`, each of the `row_count` rows is known to have so many numbers of one type: their bytes are joined four times as fast.
    """
    first = parts[0]
    if width is not None:
        try:
            content = b"".join(parts)  # type: ignore[arg-type]  # arrays are buffers; their types say so from Python 3.12 on
        except (BufferError, ValueError, TypeError):  # not contiguous
            content = b""
        if len(content) == row_count * width * first.itemsize:
            return np.frombuffer(content, first.dtype).reshape(row_count, *first.shape[1:])
    if len({part.shape[1:] for part in parts}) > 1:
        return [part.copy() for part in parts]
    return np.concatenate(parts)
