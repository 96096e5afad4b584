"""The walk through the trees, node by node, against values worked out by hand and against a walk written with loops."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).parents[1] / "convert" / "trees"))
from ensembles import ensembles, interface_of, rows_for

from fairlead.core.dtype import DType
from fairlead.core.tree_ensemble import Missing, Split, TreeEnsemble
from fairlead.engines.tree_ensemble_engine import TreeEnsembleEngine, leaves_of, sums_of
from fairlead.errors import RequestError, UnavailableError

ZERO = float(np.float32(1e-35))


def goes_left(trees: TreeEnsemble, node: int, value: float) -> bool:
    """The law of one node, as core.tree_ensemble states it."""
    kind = Missing(int(trees.missing[node]))
    if (np.isnan(value) and kind is not Missing.NEVER) or (kind is Missing.ZERO and abs(value) <= ZERO):
        return bool(trees.missing_left[node])
    value = 0.0 if np.isnan(value) else value
    split, threshold = Split(int(trees.splits[node])), float(trees.thresholds[node])
    if split is not Split.CATEGORY:
        return {Split.LESS: value < threshold, Split.LESS_OR_EQUAL: value <= threshold, Split.EQUAL: value == threshold}.get(
            split, value > threshold
        )
    is_none = value >= 2.0**31 or (value < 0 if trees.compare_dtype is DType.FP32 else value <= -1)
    if is_none:
        return bool(trees.unknown_category_left[node])
    return int(value) in trees.category_values[trees.category_offsets[node] : trees.category_offsets[node + 1]]


def leaf(trees: TreeEnsemble, root: int, row: np.ndarray) -> int:
    node = root
    while trees.splits[node] != Split.LEAF:
        node = int((trees.left if goes_left(trees, node, float(row[trees.features[node]])) else trees.right)[node])
    return node


@given(ensembles(), st.integers(0, 2**32))
def test_every_row_reaches_the_leaf_of_a_plain_walk_and_adds_in_order(trees: TreeEnsemble, seed: int) -> None:
    rows = rows_for(trees, np.random.default_rng(seed), 12)
    expected = [[leaf(trees, int(root), row) for root in trees.roots] for row in rows]
    assert leaves_of(trees, rows).tolist() == expected
    kind = trees.sum_dtype.numpy.type
    for row, sums in zip(expected, sums_of(trees, rows), strict=True):
        for output in range(trees.output_count):
            total, count = kind(trees.base[output]), 0
            for node, group in zip(row, trees.groups, strict=True):
                if trees.leaf_values.shape[1] > 1 or group == output:
                    total, count = total + kind(trees.leaf_values[node, output if trees.leaf_values.shape[1] > 1 else 0]), count + 1
            assert sums[output] == (kind(total / max(count, 1)) if trees.is_averaged else total)


@given(ensembles())
def test_a_closed_engine_and_rows_of_another_width_are_refused(trees: TreeEnsemble) -> None:
    engine = TreeEnsembleEngine(trees, interface_of(trees))
    with pytest.raises(RequestError):
        engine.run({"x": np.zeros((2, 9), trees.compare_dtype.numpy)})
    with pytest.raises(RequestError, match="no output"):
        engine.run({"x": np.zeros((2, 4), trees.compare_dtype.numpy)}, ["other"])
    engine.close()
    engine.close()
    with pytest.raises(UnavailableError):
        engine.run({"x": np.zeros((2, 4), trees.compare_dtype.numpy)})
