"""One chunk of rows through the model: brought into form, answered in small batches, as columns. Rows that do not fit are found one by one.

Takes a Chunk and an Engine; gives an Answered. Raises what the engine raises that is no row's fault, and UnsupportedError where rows cannot
be told apart. Law: what a row's answer is does not depend on whether other rows fit, but for what rounding in another batch changes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import pyarrow as pa

from fairlead.app.batch_columns import ColumnPlan, to_table
from fairlead.app.batch_kinds import check_kinds
from fairlead.core.interface import Array, Interface, Tensors
from fairlead.core.ports import Engine
from fairlead.datasets.bind import bind_inputs
from fairlead.datasets.stream import Chunk
from fairlead.errors import DataError, InputError, RequestError

T = TypeVar("T")
_PLACE = re.compile(r" in row \d+(?: \(\d+ in all\))?")


@dataclass(frozen=True)
class Answered:
    """`table` answers the rows that fit (None: none does); `errors` are (row, reason) of the others; `said` is what was decided."""

    rows: int
    table: pa.Table | None = field(repr=False)
    errors: list[tuple[int, str]]
    said: tuple[str, ...] = ()


@dataclass(frozen=True)
class RowJob:
    """How to answer: `batch_rows` rows go through the engine at once. `kinds` are what columns of a file without types hold."""

    engine: Engine
    plan: ColumnPlan
    batch_rows: int
    kinds: Mapping[str, str] = field(default_factory=dict)

    @property
    def interface(self) -> Interface:
        """What the model takes and gives."""
        return self.engine.interface

    def answer(self, chunk: Chunk) -> Answered:
        """Return the answers to a chunk; each row that does not fit is told from the others by halving."""
        errors: list[tuple[int, str]] = []
        said: list[str] = []

        def bound(start: int, stop: int) -> dict[str, Array]:
            raw = chunk.read(start, stop)
            check_kinds(raw, self.kinds)
            inputs, _, sentences = bind_inputs(raw, self.interface, target=None, allow_missing=True, allow_extra=True)
            said.extend(sentence for sentence in sentences if "missing value" not in sentence)
            return inputs

        parts = _halving(bound, 0, chunk.rows, errors)
        answers: list[tuple[range, dict[str, Array]]] = []
        for rows, inputs in parts:
            answers += self._run(rows, inputs, errors)
        errors.sort()
        table = self._table(chunk, answers) if answers else None
        return Answered(chunk.rows, table, [(chunk.first + row, why) for row, why in errors], tuple(dict.fromkeys(said)))

    def _run(self, rows: range, inputs: Tensors, errors: list[tuple[int, str]]) -> list[tuple[range, dict[str, Array]]]:
        def run(start: int, stop: int) -> dict[str, Array]:
            part = {name: tensor[start - rows.start : stop - rows.start] for name, tensor in inputs.items()}
            return self.engine.run(part, self.plan.needed)

        found = []
        for start in range(rows.start, rows.stop, self.batch_rows):
            found += _halving(run, start, min(start + self.batch_rows, rows.stop), errors)
        return found

    def _table(self, chunk: Chunk, answers: Sequence[tuple[range, dict[str, Array]]]) -> pa.Table:
        is_ragged = any(len({part[name].shape[1:] for _, part in answers}) > 1 for name in self.plan.needed)
        if is_ragged:
            table = pa.concat_tables([to_table(self.plan, part) for _, part in answers]).combine_chunks()
        else:
            joined = {name: np.concatenate([part[name] for _, part in answers]) for name in self.plan.needed}
            table = to_table(self.plan, joined)
        places = [row for rows, _ in answers for row in rows]
        kept = chunk.keep(None if len(places) == chunk.rows else places)
        columns = {name: kept.column(name) for name in kept.column_names} | {name: table.column(name) for name in table.column_names}
        return pa.table(columns).combine_chunks()


def _halving(work: Callable[[int, int], T], start: int, stop: int, errors: list[tuple[int, str]]) -> list[tuple[range, T]]:
    """Return what `work` gives for the rows that it takes, in order; the others join `errors`."""
    try:
        return [(range(start, stop), work(start, stop))]
    except (DataError, RequestError) as error:
        if stop - start == 1:
            errors.append((start, _reason(error)))
            return []
    middle = (start + stop) // 2
    return [*_halving(work, start, middle, errors), *_halving(work, middle, stop, errors)]


def _reason(error: InputError) -> str:
    """Say what is wrong with a row that was tried alone: its number there means nothing."""
    return _PLACE.sub("", error.message)
