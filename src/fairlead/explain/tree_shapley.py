"""Exact Shapley values of what a tree ensemble adds up to, for many rows at once.

Takes core.tree_ensemble.TreeEnsemble, rows and background rows; gives weights (rows, features, outputs), base and sums. The worth of a set
of features is the mean, over the background, of the sum for a row that has these features from the row and the others from the background
("interventional": Janzing, Minorics and Bloebaum 2020, https://arxiv.org/abs/1910.13413; for trees Lundberg et al. 2020,
https://doi.org/10.1038/s42256-019-0138-9). Sums are explained, not what a sigmoid or softmax makes of them. Pure; raises UnsupportedError.

A leaf is worth its value v to the mixture of a row x and a background row b unless some feature keeps both off the leaf's path. Of the p
features that keep b off, each adds v (p-1)! n! / (p+n)!; of the n that keep x off, each adds -v p! (n-1)! / (p+n)!. So all that counts of a
row is which features keep it off a path: rows that are kept off alike have one answer, found once and looked up for each. The time for a
row does not grow with the background.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from fairlead.core.interface import Array
from fairlead.core.tree_ensemble import TreeEnsemble
from fairlead.explain.tree_paths import Paths, as_columns, divisors, paths_of, pieces

_CELLS = 2**20  # leaves times rows at once: fits the caches
_WIDEST = 40  # features of a path whose codes can be counted in a table
_TABLE = 2**22  # codes of all paths that are counted so whatever the rows, and for each row and path; where there are more, they are sorted
_PER_CELL = 16
_MANY = 1024  # pairs of patterns of a path, on average, beyond which they are looked at path by path
_PAIRS = 2**22  # pairs of patterns at once
_ROWS = 1024
_FEWEST = 32  # rows that a piece is made for at least, so that whoever looks at the time is asked often


@dataclass(frozen=True)
class TreeShapley:
    """`weights` (rows, features, outputs), `base` (outputs,) and `sums` (rows, outputs), double precision."""

    weights: Array
    base: Array
    sums: Array


def tree_shapley(trees: TreeEnsemble, rows: Array, background: Array, *, check: Callable[[], None] = lambda: None) -> TreeShapley:
    """Return the weights for tables (rows, features); `check` is called between pieces of work, and may raise."""
    others = as_columns(trees, background)
    blocks = [as_columns(trees, rows[start : start + _ROWS]) for start in range(0, len(rows), _ROWS)]
    shape = (trees.feature_count, trees.output_count, len(rows))
    weights, sums, base = np.zeros(shape), np.zeros((trees.output_count, len(rows))), np.zeros(trees.output_count)
    for first, last in pieces(trees, max(_CELLS // min(max(len(rows), _FEWEST), _ROWS), 1)):
        paths = paths_of(trees, first, last)
        patterns = _background_patterns(paths, paths.misses(others))
        base += patterns.reached @ paths.values
        place = 0
        for columns in blocks:
            check()
            part = slice(place, place + columns.shape[1])
            misses = paths.misses(columns)
            sums[:, part] += paths.values.T @ (misses == 0)
            _add(paths, misses, patterns, weights[:, :, part])
            place = part.stop
    start = trees.base / divisors(trees)
    return TreeShapley(np.ascontiguousarray(weights.transpose(2, 0, 1)), start + base, (start + sums.T))


@dataclass(frozen=True)
class _Patterns:
    """What of paths occurs in rows: `owners` (patterns,) are paths, in order, `codes` what keeps the rows off, `shares` how many."""

    owners: Array
    codes: Array
    starts: Array  # (paths + 1,): where each path's patterns begin
    shares: Array
    reached: Array  # (paths,): the share of rows that end there


def _background_patterns(paths: Paths, misses: Array) -> _Patterns:
    owners, codes, places = _distinct(paths, misses)
    starts = np.searchsorted(owners, np.arange(paths.count + 1))
    shares = np.bincount(places.ravel(), minlength=len(owners)) / misses.shape[1]
    return _Patterns(owners, codes, starts, shares, (misses == 0).mean(axis=1))


def _distinct(paths: Paths, misses: Array) -> tuple[Array, Array, Array]:
    """Return the distinct codes of each path: their paths (in order), the codes, and the place of each of `misses` among them."""
    width = int(paths.counts.max(initial=0))
    starts = np.concatenate([[0], np.cumsum(np.int64(1) << paths.counts)]) if width < _WIDEST else None
    if starts is not None and starts[-1] <= max(_TABLE, _PER_CELL * misses.size):
        kind = np.int32 if starts[-1] < 2**31 else np.int64
        keys = starts[:-1, np.newaxis].astype(kind) + misses.astype(kind)
        present = np.zeros(starts[-1], dtype=np.bool_)
        present[keys] = True
        found = np.flatnonzero(present)
        place_of = np.empty(starts[-1], dtype=np.intp)
        place_of[found] = np.arange(len(found))
        owners = np.searchsorted(starts, found, side="right") - 1
        return owners, found - starts[owners], place_of[keys]
    if paths.count << width < 2**63:
        keys = (np.arange(paths.count, dtype=np.int64) << width)[:, np.newaxis] | misses.astype(np.int64)
        found, places = np.unique(keys, return_inverse=True)
        return found >> width, found & ((1 << width) - 1), places.reshape(misses.shape)
    return _distinct_one_by_one(misses)


def _distinct_one_by_one(misses: Array) -> tuple[Array, Array, Array]:
    """Likewise where path and code together have more bits than a number."""
    found = [np.unique(row, return_inverse=True) for row in misses.astype(np.int64)]
    sizes = [len(codes) for codes, _ in found]
    starts = np.cumsum([0, *sizes[:-1]])
    places = np.stack([start + own for start, (_, own) in zip(starts, found, strict=True)])
    return np.repeat(np.arange(len(sizes)), sizes), np.concatenate([codes for codes, _ in found]), places


def _add(paths: Paths, misses: Array, background: _Patterns, weights: Array) -> None:
    """Add what these paths give to `weights` (features, outputs, rows)."""
    owners, codes, places = _distinct(paths, misses)
    table = _table(owners, codes, background, paths.features.shape[1])
    for bit in range(table.shape[0]):
        asked = paths.features[:, bit]
        order = np.argsort(asked, kind="stable")
        bounds = np.flatnonzero(np.diff(asked[order], prepend=-2, append=-2))
        for start, stop in itertools.pairwise(bounds):
            some = order[start:stop]
            feature = asked[some[0]]
            if feature >= 0:  # some paths have fewer features
                weights[feature] += paths.values[some].T @ table[bit].take(places[some], mode="clip")


def _table(owners: Array, codes: Array, background: _Patterns, width: int) -> Array:
    """Return (bits, patterns): what each feature of its path adds for rows of each pattern, the leaf's value being 1."""
    table = np.zeros((width, len(owners)))
    gain, loss = _factors(width)
    for start, stop, mine, theirs in _fitting(owners, codes, background):
        own, other, share = codes[mine], background.codes[theirs], background.shares[theirs]
        for_row, against = np.bitwise_count(other), np.bitwise_count(own)
        pluses, minuses = share * gain[for_row, against], share * loss[for_row, against]
        lost = np.bincount(mine - start, minuses, stop - start)
        for bit in range(width):
            won = np.bincount(mine - start, pluses * ((other >> bit) & 1), stop - start)
            table[bit, start:stop] = won - lost * ((codes[start:stop] >> bit) & 1)
    return table


def _fitting(owners: Array, codes: Array, background: _Patterns) -> Iterator[tuple[int, int, Array, Array]]:
    """Yield the pairs of a pattern and a background pattern of the same path that no feature keeps off together: runs of patterns, all of
    whose pairs come at once, and the places of both sides of each pair.
    """
    counts = np.diff(background.starts)[owners]
    total = int(counts.sum())
    if total > _MANY * len(background.starts):
        yield from _fitting_by_path(owners, codes, background)
        return
    start = 0
    while start < len(owners):
        sums = np.cumsum(counts[start:])
        stop = start + max(int(np.searchsorted(sums, _PAIRS, side="right")), 1)
        mine = np.repeat(np.arange(start, stop), counts[start:stop])
        offset = np.arange(len(mine)) - np.repeat(sums[: stop - start] - counts[start:stop], counts[start:stop])
        theirs = background.starts[owners[mine]] + offset
        fits = (codes[mine] & background.codes[theirs]) == 0
        yield start, stop, mine[fits], theirs[fits]
        start = stop


def _fitting_by_path(owners: Array, codes: Array, background: _Patterns) -> Iterator[tuple[int, int, Array, Array]]:
    """Likewise, path by path: long paths have many patterns, few of which fit, so that most pairs are never written down."""
    starts = np.searchsorted(owners, np.arange(len(background.starts)))
    held: list[tuple[Array, Array]] = []
    first = size = 0
    for path in range(len(background.starts) - 1):
        own, other = slice(starts[path], starts[path + 1]), slice(background.starts[path], background.starts[path + 1])
        mine, theirs = np.nonzero((codes[own, np.newaxis] & background.codes[other]) == 0)
        held.append((mine + own.start, theirs + other.start))
        size += len(mine)
        if size > _PAIRS:
            yield first, int(own.stop), *_joined(held)
            held, first, size = [], int(own.stop), 0
    if held:
        yield first, len(owners), *_joined(held)


def _joined(pairs: list[tuple[Array, Array]]) -> tuple[Array, Array]:
    return np.concatenate([mine for mine, _ in pairs]), np.concatenate([theirs for _, theirs in pairs])


def _factors(width: int) -> tuple[Array, Array]:
    """Return (p-1)! n! / (p+n)! and p! (n-1)! / (p+n)! by p and n; 0 where there is no such feature."""
    gain, loss = np.zeros((width + 1, width + 1)), np.zeros((width + 1, width + 1))
    for p in range(width + 1):
        for n in range(width + 1 - p):
            if p:
                gain[p, n] = 1 / (p * math.comb(p + n, p))
            if n:
                loss[p, n] = 1 / (n * math.comb(p + n, n))
    return gain, loss
