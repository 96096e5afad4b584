"""Rounds leaf values to a few binary digits, so that files compress better and equal leaves can be merged. Lossy.

`bits` is how many digits the largest value of an ensemble keeps; smaller ones are rounded to the same step, so that every leaf is a whole
multiple of it. Values of one leaf that add up to 1 still do. Nothing gets faster by it. Refuses a model without trees, and one that has no
fewer different values afterwards.
"""

from __future__ import annotations

import numpy as np

from fairlead.core.interface import Array
from fairlead.core.tree_ensemble import Split, TreeEnsemble
from fairlead.errors import IdlePassError, SpecError
from fairlead.optimize.job import PassJob, PassResult
from fairlead.optimize.trees.cutting import without_idle_splits
from fairlead.optimize.trees.model import counted, open_model, write_model
from fairlead.optimize.trees.shape import with_values


def round_leaves(job: PassJob) -> PassResult:
    """Write the model of `job.source` with leaf values of `bits` digits."""
    bits = int(job.settings["bits"])
    if not 2 <= bits <= 24:
        raise SpecError(f"'bits' is {bits}; it has to lie between 2 and 24.", hint="For example bits=8.")
    model = open_model(job.source)
    rounded = [_rounded(trees, bits) for trees in model.trees]
    distinct = [sum(len(np.unique(trees.leaf_values)) for trees in part) for part in (model.trees, rounded)]
    if distinct[1] >= distinct[0]:
        raise IdlePassError("The leaf values of the trees are as few as that.", hint="Leave the pass 'round_leaves' out.")
    changed = [without_idle_splits(trees) for trees in rounded]
    write_model(model, changed, job.destination)
    note = f"{distinct[0]:,} different leaf values became {distinct[1]:,}; {counted(model.trees, changed)}"
    return PassResult({"numpy": np.__version__}, {}, (note,))


def _rounded(trees: TreeEnsemble, bits: int) -> TreeEnsemble:
    is_leaf = trees.splits == Split.LEAF
    values = trees.leaf_values[is_leaf]
    largest = float(np.abs(values).max(initial=0))
    if largest == 0:
        return trees
    step = 2.0 ** (np.floor(np.log2(largest)) + 1 - bits)
    found = trees.leaf_values.copy()
    found[is_leaf] = _shares(values, step) if _are_shares(values) else np.round(values / step) * step
    return with_values(trees, found)


def _are_shares(values: Array) -> bool:
    return values.shape[1] > 1 and bool((values >= 0).all() and np.allclose(values.sum(axis=1), 1.0, atol=1e-6))


def _shares(values: Array, step: float) -> Array:
    """Round running totals instead of values: what is left between them adds up to 1 and is not negative."""
    totals = np.round(np.cumsum(values, axis=1) / step) * step
    totals[:, -1] = 1.0
    return np.diff(totals, axis=1, prepend=0.0)
