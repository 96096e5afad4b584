"""The law of tree ensembles: whatever breaks it is refused, and nothing that keeps it is."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).parents[1] / "convert" / "trees"))
from ensembles import ensembles

from fairlead.core.dtype import DType
from fairlead.core.tree_ensemble import Split, TreeEnsemble
from fairlead.errors import CorruptError


def small(**changes: Any) -> TreeEnsemble:
    """Two trees: 0 -> (1 -> (3, 4), 2), and a leaf 5. Node 1 asks for the categories 2 and 7."""
    n = 6
    trees = TreeEnsemble(
        feature_count=2,
        output_count=1,
        roots=np.asarray([0, 5], "i4"),
        groups=np.zeros(2, "i4"),
        splits=np.asarray([Split.LESS, Split.CATEGORY, 0, 0, 0, 0], "u1"),
        features=np.asarray([0, 1, 0, 0, 0, 0], "i4"),
        thresholds=np.asarray([0.5, 0, 0, 0, 0, 0], "f8"),
        left=np.asarray([1, 3, 0, 0, 0, 0], "i4"),
        right=np.asarray([2, 4, 0, 0, 0, 0], "i4"),
        missing=np.zeros(n, "u1"),
        missing_left=np.zeros(n, bool),
        leaf_values=np.asarray([[0], [0], [1], [2], [3], [4]], "f8"),
        base=np.zeros(1, "f8"),
        category_offsets=np.asarray([0, 0, 2, 2, 2, 2, 2], "i4"),
        category_values=np.asarray([2, 7], "i4"),
        unknown_category_left=np.zeros(n, bool),
        feature_names=("a", "b"),
    )
    return replace(trees, **changes)


def changed(name: str, place: Any, value: float) -> TreeEnsemble:
    array = getattr(small(), name).copy()
    array[place] = value
    return small(**{name: array})


def test_a_sound_ensemble_passes() -> None:
    small().check()


@given(ensembles())
def test_every_drawn_ensemble_passes(trees: TreeEnsemble) -> None:
    trees.check()


@pytest.mark.parametrize(
    ("name", "place", "value", "reason"),
    [
        ("left", 1, 1, "reached"),
        ("left", 1, 0, "reached"),
        ("left", 1, 5, "reached"),
        ("right", 0, 1, "reached"),
        ("right", 1, 3, "reached"),
        ("roots", 1, 0, "reached"),
        ("roots", 1, 2, "reached"),
        ("splits", 0, 0, "reached"),
        ("left", 0, 6, "left child that does not exist"),
        ("right", 0, -1, "right child that does not exist"),
        ("right", 0, 2**31 - 1, "right child that does not exist"),
        ("features", 0, 2, "feature"),
        ("features", 1, -1, "feature"),
        ("roots", 0, 6, "root"),
        ("roots", 0, -1, "root"),
        ("groups", 0, 1, "output"),
        ("groups", 0, -1, "output"),
        ("splits", 0, 6, "kind of split"),
        ("missing", 0, 3, "kind of missing"),
        ("thresholds", 0, np.nan, "not a number"),
        ("thresholds", 0, 0.1, "threshold is not exact"),
        ("leaf_values", (2, 0), np.inf, "finite"),
        ("leaf_values", (2, 0), np.nan, "finite"),
        ("leaf_values", (2, 0), 0.1, "leaf or a base value is not exact"),
        ("leaf_values", (2, 0), 1e39, "leaf or a base value is not exact"),
        ("base", 0, np.inf, "finite"),
        ("base", 0, 0.1, "leaf or a base value is not exact"),
        ("category_offsets", 1, 3, "categories"),
        ("category_offsets", 0, 1, "categories"),
        ("category_offsets", 6, 3, "categories"),
    ],
)
def test_one_wrong_number_is_refused(name: str, place: Any, value: float, reason: str) -> None:
    with pytest.raises(CorruptError, match=reason):
        changed(name, place, value).check()


def test_nodes_on_a_cycle_that_no_root_leads_to_are_refused() -> None:
    """Nodes 0 and 1 lead to each other and their leaves, each node has one parent, and the only root is a leaf."""
    cycle = small(
        roots=np.asarray([5], "i4"),
        groups=np.zeros(1, "i4"),
        left=np.asarray([1, 0, 0, 0, 0, 0], "i4"),
        right=np.asarray([2, 3, 0, 0, 0, 0], "i4"),
    )
    kept = [0, 1, 2, 3, 5]
    cut = replace(
        cycle,
        roots=np.asarray([4], "i4"),
        category_offsets=np.asarray([0, 0, 2, 2, 2, 2], "i4"),
        **{name: getattr(cycle, name)[kept] for name in _PER_NODE},
    )
    with pytest.raises(CorruptError, match="4 nodes lie on a cycle"):
        cut.check()


_PER_NODE = ("splits", "features", "thresholds", "left", "right", "missing", "missing_left", "leaf_values", "unknown_category_left")


@pytest.mark.parametrize("name", [*_PER_NODE, "base", "groups", "category_values", "category_offsets"])
def test_an_array_that_is_too_short_or_of_another_rank_is_refused(name: str) -> None:
    array = getattr(small(), name)
    for other in (array[:-1], np.concatenate([array, array[:1]]), array[np.newaxis], array.reshape(-1)[:1].reshape(())):
        with pytest.raises(CorruptError):
            small(**{name: other}).check()


@pytest.mark.parametrize(
    "changes", [{"output_count": 0}, {"output_count": 2}, {"feature_count": -1}, {"feature_names": ("a",)}, {"scale": np.inf}]
)
def test_counts_that_make_no_sense_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(CorruptError):
        small(**changes).check()


def test_infinite_thresholds_and_numbers_of_double_precision_are_sound_where_doubles_are_compared() -> None:
    wide = replace(changed("thresholds", 0, 0.1), compare_dtype=DType.FP64)
    wide.check()
    changed("thresholds", 0, np.inf).check()
    changed("thresholds", 0, -np.inf).check()
    replace(changed("leaf_values", (2, 0), 0.1), sum_dtype=DType.FP64).check()


@given(ensembles(), st.data())
def test_any_index_replaced_by_any_other_is_refused_or_leads_every_walk_to_a_leaf(trees: TreeEnsemble, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["left", "right", "roots"]))
    array = getattr(trees, name).copy()
    array[data.draw(st.integers(0, len(array) - 1))] = data.draw(st.integers(-2, trees.node_count + 1))
    other = replace(trees, **{name: array})
    try:
        other.check()
    except CorruptError:
        return
    level, steps = other.roots, 0
    while level.size:
        inside = level[other.splits[level] != Split.LEAF]
        level = np.concatenate([other.left[inside], other.right[inside]])
        steps += 1
        assert steps <= other.node_count
