"""The reference for tree ensembles where the library that trained them is not there: the trees walked with numpy, as the library does.

Takes core.tree_ensemble.TreeEnsemble; gives an `Engine`. Compares and adds in the library's own types and order, and is independent of the
ONNX converter, so that the two check each other. Runs no code from the file and needs no sandbox. Raises CorruptError, RequestError,
UnavailableError. Slow; never for serving.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fairlead.core.artifact import Artifact
from fairlead.core.dtype import DType
from fairlead.core.interface import Array, Interface, Tensors
from fairlead.core.ports import Sandbox
from fairlead.core.tree_ensemble import Missing, Split, TreeEnsemble
from fairlead.engines.tree_ensemble_file import read_tree_ensemble
from fairlead.engines.tree_ensemble_outputs import outputs_of
from fairlead.errors import UnavailableError

_PIECE_CELLS = 2**21  # rows times trees walked at once
_ZERO = float(np.float32(1e-35))  # kZeroThreshold of LightGBM's meta.h, a single-precision number


class TreeEnsembleEngine:
    """Walks trees. Holds no state between calls of `run`, so threads may share it."""

    def __init__(self, trees: TreeEnsemble, interface: Interface) -> None:
        self._trees: TreeEnsemble | None = trees
        self._interface = interface

    @property
    def interface(self) -> Interface:
        """What the model takes and gives."""
        return self._interface

    @property
    def description(self) -> str:
        """What walks the trees, with version."""
        return f"Fairlead's own evaluation of the trees (numpy {np.__version__})"

    def run(self, inputs: Tensors, outputs: Sequence[str] = ()) -> dict[str, Array]:
        """Return the named outputs (all where none are named); see core.ports.Engine for the errors."""
        trees = self._trees
        if trees is None:
            raise UnavailableError("The reference engine was closed.")
        self._interface.check_inputs(inputs)
        rows = inputs[self._interface.inputs[0].name]
        return outputs_of(trees, self._interface, sums_of(trees, rows), list(outputs))

    def close(self) -> None:
        """Let go of the trees. Idempotent."""
        self._trees = None


def sums_of(trees: TreeEnsemble, rows: Array) -> Array:
    """Return what the trees add up to for each row, base included: (rows, outputs) in `sum_dtype`."""
    step = max(1, _PIECE_CELLS // max(1, trees.tree_count))
    return np.concatenate([_sums(trees, rows[start : start + step]) for start in range(0, len(rows), step)])


def _sums(trees: TreeEnsemble, rows: Array) -> Array:
    dtype = trees.sum_dtype.numpy
    leaves = leaves_of(trees, rows)
    sums = np.repeat(trees.base.astype(dtype)[np.newaxis], len(rows), axis=0)
    is_vector = trees.leaf_values.shape[1] > 1
    for tree, group in enumerate(trees.groups):
        values = trees.leaf_values[leaves[:, tree]].astype(dtype)
        if is_vector:
            sums += values
        else:
            sums[:, group] += values[:, 0]
    if trees.is_averaged:
        counts = np.full(trees.output_count, trees.tree_count) if is_vector else np.bincount(trees.groups, minlength=trees.output_count)
        sums = (sums / np.maximum(counts, 1)).astype(dtype)
    return sums


def leaves_of(trees: TreeEnsemble, rows: Array) -> Array:
    """Return the node of the leaf that each row reaches in each tree: int64 (rows, trees)."""
    with np.errstate(over="ignore", invalid="ignore"):
        table = rows.astype(trees.compare_dtype.numpy)
    nodes = np.repeat(trees.roots[np.newaxis].astype(np.int64), len(rows), axis=0)
    if not nodes.size:
        return nodes
    is_inner = trees.splits != Split.LEAF
    where = np.nonzero(is_inner[nodes])
    while where[0].size:
        at = nodes[where]
        goes_left = _goes_left(trees, at, table[where[0], trees.features[at]])
        at = np.where(goes_left, trees.left[at], trees.right[at])
        nodes[where] = at
        still = is_inner[at]
        where = (where[0][still], where[1][still])
    return nodes


def _goes_left(trees: TreeEnsemble, at: Array, values: Array) -> Array:
    """Whether `values` go left at the nodes `at`, all flat and of one length."""
    kind = trees.missing[at]
    is_nan = np.isnan(values)
    is_missing = (is_nan & (kind != Missing.NEVER)) | ((kind == Missing.ZERO) & (np.abs(values) <= _ZERO))
    values = np.where(is_nan, values.dtype.type(0), values)
    thresholds = trees.thresholds[at].astype(values.dtype)
    split = trees.splits[at]
    left = np.select(
        [split == Split.LESS, split == Split.LESS_OR_EQUAL, split == Split.EQUAL, split == Split.GREATER],
        [values < thresholds, values <= thresholds, values == thresholds, values > thresholds],
        default=False,
    )
    sets = np.flatnonzero(split == Split.CATEGORY)
    if sets.size:
        left[sets] = _is_member(trees, at[sets], values[sets])
    return np.where(is_missing, trees.missing_left[at], left)


def _is_member(trees: TreeEnsemble, at: Array, values: Array) -> Array:
    """Whether each value's category is one of its node's, or is no category at all where those go left.

    A category is what (int)x gives; XGBoost (single precision) takes no x below 0 for one, LightGBM (double) none at or below -1.
    """
    is_category = (values >= 0) if trees.compare_dtype is DType.FP32 else (values > -1)
    is_category &= values < 2.0**31
    categories = np.where(is_category, values, 0).astype(np.int64)
    known = np.zeros(len(at), dtype=bool)
    for node in np.unique(at):
        chosen = at == node
        members = trees.category_values[trees.category_offsets[node] : trees.category_offsets[node + 1]]
        known[chosen] = np.isin(categories[chosen], members)
    return np.where(is_category, known, trees.unknown_category_left[at])


def open_reference(artifact: Artifact, scratch: Path, sandbox: Sandbox) -> TreeEnsembleEngine:
    """Return the engine for an artifact of form tree-ensemble. Raises CorruptError. Writes nothing, starts nothing."""
    del scratch, sandbox  # the trees are data of our own: nothing to isolate
    return TreeEnsembleEngine(read_tree_ensemble(artifact.path), artifact.interface)
