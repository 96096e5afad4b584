"""More rows than there are: each a real one, some of whose numbers are those of a near neighbour.

A model can answer rows that nobody has labelled, so what replaces it can be fitted where the training rows say nothing, and where trees do
not know their rows by heart. After MUNGE (Bucila, Caruana, Niculescu-Mizil, Model Compression, 2006). Takes a table of numbers, NaN among
them; gives rows of values that occur in the same column. The same seed gives the same rows. Pure.
"""

from __future__ import annotations

import numpy as np

from fairlead.core.interface import Array

_POOL = 2000  # rows that neighbours are looked for among
_NEAREST = 5
_SHARE = 0.5  # of the numbers that come from the neighbour
_PIECE_ROWS = 2048


def mixed_rows(table: Array, copies: int, seed: int) -> Array:
    """Return `copies` mixed rows for each row of `table` (rows, columns)."""
    random = np.random.default_rng(seed)
    near = _neighbours(table, random)
    made = [np.zeros((0, table.shape[1]), table.dtype)]
    for _ in range(copies):
        other = near[np.arange(len(table)), random.integers(0, near.shape[1], len(table))]
        made.append(np.where(random.random(table.shape) < _SHARE, table[other], table))
    return np.concatenate(made)


def _neighbours(table: Array, random: np.random.Generator) -> Array:
    """Return the numbers of a few rows near each row, itself excluded: (rows, few)."""
    pool = np.sort(random.permutation(len(table))[:_POOL])
    scaled = _scaled(table)
    centres = scaled[pool]
    count = max(min(_NEAREST, len(pool) - 1), 1)
    found = []
    for start in range(0, len(table), _PIECE_ROWS):
        piece = scaled[start : start + _PIECE_ROWS]
        distances = (centres**2).sum(axis=1) - 2 * piece @ centres.T
        distances[pool[np.newaxis] == np.arange(start, start + len(piece))[:, np.newaxis]] = np.inf
        found.append(pool[np.argpartition(distances, min(count, len(pool) - 1), axis=1)[:, :count]])
    return np.concatenate(found)


def _scaled(table: Array) -> Array:
    """Columns of mean 0 and spread 1; what is missing or infinite stands in the middle."""
    values = np.where(np.isfinite(table), table, np.nan).astype(np.float64)
    known = ~np.isnan(values)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, values, 0.0).sum(axis=0) / count
    centred = np.where(known, values - mean, 0.0)
    spread = np.sqrt((centred**2).sum(axis=0) / count)
    return np.asarray(centred / np.where(spread > 0, spread, 1.0))
