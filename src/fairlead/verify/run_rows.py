"""Runs an engine over many rows in pieces, so that memory stays bounded whatever the data's size. Raises what the engine raises."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fairlead.core.interface import Array, Tensors
from fairlead.core.ports import Engine

# A piece goes through at once. Inner values of a network take tens to hundreds of times the bytes of its inputs.
PIECE_ROWS = 8192
PIECE_BYTES = 32 * 2**20
# A reference may start a process for each call, and bounds its own memory: it gets as much at once as travels well by file.
REFERENCE_PIECE_BYTES = 2**30


def count_rows(tensors: Tensors) -> int:
    """Return the size of the first dimension."""
    return int(next(iter(tensors.values())).shape[0])


def run_in_pieces(engine: Engine, inputs: Tensors, piece_rows: int = 0) -> dict[str, Array]:
    """Return the outputs for all rows, computed `piece_rows` rows at a time (0: as many as fit into a piece)."""
    pieces = [engine.run(piece) for piece in _pieces(inputs, piece_rows or fitting_rows(inputs))]
    if len(pieces) == 1:
        return pieces[0]
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}


def run_reference(reference: Engine, inputs: Tensors) -> dict[str, Array]:
    """Return the original's outputs for all rows, in as few calls as memory allows."""
    return run_in_pieces(reference, inputs, max(REFERENCE_PIECE_BYTES // _row_bytes(inputs), 1))


def fitting_rows(inputs: Tensors) -> int:
    """Return how many rows make a piece: at most PIECE_ROWS, and PIECE_BYTES of inputs."""
    return max(min(PIECE_ROWS, PIECE_BYTES // _row_bytes(inputs)), 1)


def _row_bytes(inputs: Tensors) -> int:
    return max(sum(tensor.nbytes for tensor in inputs.values()) // count_rows(inputs), 1)


def repeat_rows(inputs: Tensors, count: int) -> dict[str, Array]:
    """Return exactly `count` rows: the first ones, from the start again where there are fewer."""
    rows = np.arange(count) % count_rows(inputs)
    return {name: tensor[rows] for name, tensor in inputs.items()}


def _pieces(inputs: Tensors, piece_rows: int) -> Iterator[dict[str, Array]]:
    for start in range(0, count_rows(inputs), piece_rows):
        yield {name: tensor[start : start + piece_rows] for name, tensor in inputs.items()}
