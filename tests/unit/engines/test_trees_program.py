"""The compiled walk: its sums are those of the numpy walk, bit for bit, whatever the nodes ask and whatever the rows hold."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
from drawn_trees import BY_ORDER, INNER, Shape, draw_rows, draw_trees
from hypothesis import given, settings
from hypothesis import strategies as some

from fairlead.core.dtype import DType
from fairlead.core.tree_ensemble import Missing, Split, Transform, TreeEnsemble
from fairlead.engines.tree_ensemble_engine import sums_of

if shutil.which("cc") is None:
    pytest.skip("there is no C compiler", allow_module_level=True)

from fairlead.engines import trees_layout
from fairlead.engines.tree_ensemble_outputs import class_index, transformed
from fairlead.engines.trees_build import kernel
from fairlead.engines.trees_program import TRANSFORMS, Program

REALS = some.sampled_from([DType.FP32, DType.FP64])


def sums(trees: TreeEnsemble, rows: np.ndarray) -> np.ndarray:
    return Program(trees, kernel()).compute(rows).sums()


def expected(trees: TreeEnsemble, rows: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        return sums_of(trees, rows)


@settings(max_examples=100, deadline=None)
@given(
    seed=some.integers(0, 2**32), trees=some.integers(0, 20), depth=some.integers(0, 5), features=some.integers(1, 5),
    outputs=some.integers(1, 4), has_vector_leaves=some.booleans(), compare=REALS, adds=REALS, given_as=REALS,
    splits=some.sampled_from([(Split.LESS,), BY_ORDER, INNER]), missing=some.sampled_from([(Missing.NAN,), tuple(Missing)]),
    is_averaged=some.booleans(), count=some.sampled_from([1, 3, 8, 9, 31, 32, 33, 70]),
)  # fmt: skip
def test_sums_are_those_of_the_numpy_walk_bit_for_bit(  # noqa: PLR0917 - what hypothesis draws
    seed, trees, depth, features, outputs, has_vector_leaves, compare, adds, given_as, splits, missing, is_averaged, count
) -> None:
    more = {"is_averaged": is_averaged}
    shape = Shape(
        trees, depth, features, outputs, has_vector_leaves=has_vector_leaves, compare=compare, sums=adds, splits=splits, missing=missing,
        more=more,
    )  # fmt: skip
    ensemble = draw_trees(seed, shape) if trees else _without_trees(draw_trees(seed, shape := Shape(1, 0, features, outputs)))
    rows = draw_rows(seed + 1, ensemble, count, given_as)
    assert sums(ensemble, rows).tobytes() == expected(ensemble, rows).tobytes()


def _without_trees(one: TreeEnsemble) -> TreeEnsemble:
    none = {name: getattr(one, name)[:0] for name in ("roots", "groups", "splits", "features", "thresholds", "left", "right", "missing")}
    others = {name: getattr(one, name)[:0] for name in ("missing_left", "leaf_values", "unknown_category_left", "category_values")}
    return TreeEnsemble(one.feature_count, one.output_count, **none, **others, base=one.base, category_offsets=one.category_offsets[:1])


def test_a_wrong_order_or_type_of_addition_would_be_seen() -> None:
    """The control: what the bits are sensitive to."""
    trees = draw_trees(1, Shape(trees=60, splits=(Split.LESS,)))
    rows = draw_rows(2, trees, 64)
    right = expected(trees, rows)
    wide = (expected(_with(trees, sum_dtype=DType.FP64), rows)).astype(np.float32)
    backwards = expected(_with(trees, roots=trees.roots[::-1], groups=trees.groups[::-1]), rows)
    assert wide.tobytes() != right.tobytes() != backwards.tobytes()


def test_wide_nodes_are_walked_as_narrow_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    trees = draw_trees(3, Shape(depth=5))
    rows = draw_rows(5, trees, 41)
    found = []
    for limit in (trees_layout._NARROW_LIMIT, 10):
        monkeypatch.setattr(trees_layout, "_NARROW_LIMIT", limit)
        found.append((trees_layout.lay_out(trees).nodes.dtype.itemsize, sums(trees, rows).tobytes()))
    assert found == [(8, expected(trees, rows).tobytes()), (12, expected(trees, rows).tobytes())]


def test_more_columns_than_a_narrow_node_can_name_make_nodes_wide() -> None:
    trees = draw_trees(4, Shape(trees=1, depth=0, features=70_000))
    count = 70_000
    number = np.arange(2 * count + 1)
    inner = number % 2 == 0
    inner[-1] = False
    chain = _chain(trees, inner, np.where(inner, number // 2, 0))
    assert trees_layout._nodes(chain, chain.thresholds, number // 2, np.zeros(len(number), int)).dtype.itemsize == 12


def _with(trees: TreeEnsemble, **changes: object) -> TreeEnsemble:
    return replace(trees, **changes)


def _chain(trees: TreeEnsemble, inner: np.ndarray, features: np.ndarray) -> TreeEnsemble:
    """One tree whose every left child is a leaf."""
    count, number = len(inner), np.arange(len(inner))
    return _with(
        trees,
        splits=np.where(inner, Split.LESS, Split.LEAF).astype(np.uint8),
        features=features.astype(np.int32),
        thresholds=np.where(inner, number / 2, 0.0),
        left=np.where(inner, number + 1, 0).astype(np.int32),
        right=np.where(inner, number + 2, 0).astype(np.int32),
        missing=np.zeros(count, np.uint8),
        missing_left=np.zeros(count, bool),
        leaf_values=np.where(inner, 0.0, number)[:, np.newaxis],
        unknown_category_left=np.zeros(count, bool),
        category_offsets=np.zeros(count + 1, np.int32),
    )


def test_a_tree_that_is_a_chain_is_walked_to_its_end() -> None:
    depth = 700
    inner = np.arange(2 * depth + 1) % 2 == 0
    inner[-1] = False
    trees = _chain(draw_trees(0, Shape(trees=1, depth=0, features=1)), inner, np.zeros(len(inner)))
    trees.check()
    rows = np.array([[-1.0], [0.0], [350.5], [1e9], [np.nan]], dtype=np.float32)
    assert sums(trees, rows).tobytes() == expected(trees, rows).tobytes()
    assert sums(trees, rows)[0, 0] != sums(trees, rows)[3, 0]


@pytest.mark.parametrize("adds", [DType.FP32, DType.FP64])
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("kind", sorted(TRANSFORMS))
def test_transforms_and_classes_are_those_of_numpy(kind: Transform, outputs: int, adds: DType) -> None:
    for is_decided_by_sum in (False, True):
        more = {"transform": kind, "scale": 0.7 if adds is DType.FP64 else 1.0, "is_decided_by_sum": is_decided_by_sum}
        trees = draw_trees(7, Shape(outputs=outputs, sums=adds, more=more))
        answer = Program(trees, kernel()).compute(draw_rows(8, trees, 400))
        values = transformed(trees, answer.sums())
        np.testing.assert_array_max_ulp(answer.values(), values, maxulp=1 if adds is DType.FP32 else 4)
        assert answer.labels().tolist() == class_index(trees, answer.sums(), values).tolist()
        if outputs == 1:
            assert np.array_equal(answer.pairs(), np.concatenate([1 - answer.values(), answer.values()], axis=1))


def test_a_class_is_decided_at_the_very_sum_where_the_reference_decides_it() -> None:
    """p > 0.5 in single precision begins at 1.5 * 2^-24, not above 0."""
    middle = np.float32(1.5 * 2**-24)
    for value in (middle, np.nextafter(middle, np.float32(1)), np.nextafter(middle, np.float32(0)), np.float32(0), np.float32(1e-30)):
        trees = draw_trees(0, Shape(trees=1, depth=0, features=1, more={"transform": Transform.SIGMOID}))
        trees = _with(trees, base=np.zeros(1), leaf_values=np.array([[float(value)]]))
        answer = Program(trees, kernel()).compute(np.zeros((1, 1), np.float32))
        assert answer.labels().tolist() == class_index(trees, answer.sums(), transformed(trees, answer.sums())).tolist()
