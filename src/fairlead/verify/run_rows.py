"""Runs an engine over many rows in pieces, so that memory stays bounded whatever the data's size. Raises what the engine raises."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fairlead.core.interface import Array, Tensors
from fairlead.core.ports import Engine

PIECE_ROWS = 2048


def count_rows(tensors: Tensors) -> int:
    """Return the size of the first dimension."""
    return int(next(iter(tensors.values())).shape[0])


def run_in_pieces(engine: Engine, inputs: Tensors, piece_rows: int = PIECE_ROWS) -> dict[str, Array]:
    """Return the outputs for all rows, computed `piece_rows` rows at a time."""
    pieces = [engine.run(piece) for piece in _pieces(inputs, piece_rows)]
    if len(pieces) == 1:
        return pieces[0]
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}


def repeat_rows(inputs: Tensors, count: int) -> dict[str, Array]:
    """Return exactly `count` rows: the first ones, from the start again where there are fewer."""
    rows = np.arange(count) % count_rows(inputs)
    return {name: tensor[rows] for name, tensor in inputs.items()}


def _pieces(inputs: Tensors, piece_rows: int) -> Iterator[dict[str, Array]]:
    for start in range(0, count_rows(inputs), piece_rows):
        yield {name: tensor[start : start + piece_rows] for name, tensor in inputs.items()}
