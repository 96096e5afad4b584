"""Trees that come once per output, as TreeEnsemble of ai.onnx.ml 5 has to have them -> trees whose leaves hold a value for every output.

Takes and gives core.tree_ensemble.TreeEnsemble; each output's sums are added in the same order as before. Where not every tree comes in
that way, the ensemble stays as it is. Pure.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np

from fairlead.core.interface import Array
from fairlead.core.tree_ensemble import Split, TreeEnsemble
from fairlead.engines.tree_attributes import depth_first

_PER_NODE = ("splits", "features", "thresholds", "missing_left", "unknown_category_left")


def with_vector_leaves(trees: TreeEnsemble) -> TreeEnsemble:
    """Return `trees` with each run of equal trees for outputs 0, 1, ... as one; the same value where they are not all such runs."""
    outputs = trees.output_count
    if outputs == 1 or trees.leaf_values.shape[1] > 1 or trees.is_averaged or (trees.splits == Split.CATEGORY).any():
        return trees
    order, tree = depth_first(trees)
    spans = [order[start:end] for start, end in itertools.pairwise(np.searchsorted(tree, np.arange(trees.tree_count + 1)))]
    values = np.zeros((trees.node_count, outputs))
    roots, place = [], 0
    while place < len(spans):
        run = spans[place : place + outputs]
        first, count = run[0], outputs
        if _is_run(trees, run, place):
            for output, nodes in enumerate(run):
                values[first, output] = trees.leaf_values[nodes, 0]
        elif _is_single(trees, first):
            values[first, trees.groups[place]] = trees.leaf_values[first, 0]
            count = 1
        else:
            return trees
        roots.append(place)
        place += count
    return _picked(replace(trees, leaf_values=values), [spans[root] for root in roots])


def _is_run(trees: TreeEnsemble, run: list[Array], place: int) -> bool:
    outputs = trees.output_count
    if len(run) < outputs or not np.array_equal(trees.groups[place : place + outputs], np.arange(outputs)):
        return False
    first = run[0]
    return all(
        len(nodes) == len(first) and all(np.array_equal(getattr(trees, name)[nodes], getattr(trees, name)[first]) for name in _PER_NODE)
        for nodes in run[1:]
    )


def _is_single(trees: TreeEnsemble, nodes: Array) -> bool:
    """Whether the tree has one value."""
    leaves = nodes[trees.splits[nodes] == Split.LEAF]
    return len(leaves) <= 2 and len(np.unique(trees.leaf_values[leaves, 0])) == 1


def _picked(trees: TreeEnsemble, spans: list[Array]) -> TreeEnsemble:
    """Return the nodes of `spans`, each a whole tree depth first, as an ensemble of their own."""
    nodes = np.concatenate(spans)
    place = np.zeros(trees.node_count, dtype=np.int32)
    place[nodes] = np.arange(len(nodes))
    is_leaf = trees.splits[nodes] == Split.LEAF
    return replace(
        trees,
        roots=place[[span[0] for span in spans]],
        groups=np.zeros(len(spans), dtype=np.int32),
        splits=trees.splits[nodes],
        features=trees.features[nodes],
        thresholds=trees.thresholds[nodes],
        left=np.where(is_leaf, 0, place[trees.left[nodes]]).astype(np.int32),
        right=np.where(is_leaf, 0, place[trees.right[nodes]]).astype(np.int32),
        missing=trees.missing[nodes],
        missing_left=trees.missing_left[nodes],
        leaf_values=trees.leaf_values[nodes],
        category_offsets=np.zeros(len(nodes) + 1, dtype=np.int32),
        unknown_category_left=trees.unknown_category_left[nodes],
    )
