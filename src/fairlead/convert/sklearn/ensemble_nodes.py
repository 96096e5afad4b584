"""core.tree_ensemble inside of a pipeline's graph: leaves found by the tree operator, sums and transforms in the library's own types.

Takes a Builder, the rows as doubles, and an ensemble; gives names. Every split becomes `x <= threshold` without changing one answer:
`x < t` is `x <= the number before t`, `x > t` has its sides exchanged, sets of categories and zeros that count as missing become columns
of their own. Exponentials of single precision are rounded once from double, as good C libraries do. Raises UnsupportedError for what has
no such form.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from fairlead.convert.sklearn.graph import Builder
from fairlead.convert.sklearn.trees import Nodes, leaf_values
from fairlead.core.dtype import DType
from fairlead.core.interface import Array
from fairlead.core.tree_ensemble import Missing, Split, Transform, TreeEnsemble
from fairlead.engines.tree_ensemble_outputs import LARGEST_EXPONENT
from fairlead.errors import UnsupportedError

_ZERO = float(np.float32(1e-35))  # LightGBM's kZeroThreshold
_SIDE_LIMIT = 2**25
_LEFT, _RIGHT = -1.0, 1.0
_TYPES = {DType.FP32: TensorProto.FLOAT, DType.FP64: TensorProto.DOUBLE}


@dataclass(frozen=True)
class Walk:
    """Trees whose splits all are `x <= threshold`. Features from `width` on are columns of their own: first those of features whose zeros
    are missing (`zeros`), then one per split on a set (`sets`: node of the ensemble).
    """

    trees: tuple[Nodes, ...]
    leaves: tuple[Array, ...]
    zeros: tuple[int, ...]
    sets: tuple[int, ...]


def walk_of(ensemble: TreeEnsemble) -> Walk:
    """Return the trees as the operator walks them, and the ensemble's node of each of their leaves."""
    thresholds, missing_left, is_swapped = _as_at_most(ensemble)
    zeros = np.unique(ensemble.features[(ensemble.missing == Missing.ZERO) & (ensemble.splits != Split.LEAF)])
    features = ensemble.features.astype(np.int64)
    is_zero = (ensemble.missing == Missing.ZERO) & (ensemble.splits != Split.LEAF)
    features[is_zero] = ensemble.feature_count + np.searchsorted(zeros, features[is_zero])
    sets = np.flatnonzero(ensemble.splits == Split.CATEGORY)
    features[sets] = ensemble.feature_count + len(zeros) + np.arange(len(sets))
    left, right = (
        np.where(ensemble.splits == Split.LEAF, -1, np.where(is_swapped, *sides))
        for sides in ((ensemble.right, ensemble.left), (ensemble.left, ensemble.right))
    )
    trees, leaves = [], []
    for root in ensemble.roots:
        members = _members(int(root), left, right)
        place = {int(node): number for number, node in enumerate(members)}
        children = [np.array([place.get(int(child), -1) for child in side[members]], dtype=np.int64) for side in (left, right)]
        missing = missing_left[members].astype(np.int64)
        trees.append(Nodes(features[members], thresholds[members], children[0], children[1], missing))
        leaves.append(members[left[members] < 0])
    return Walk(tuple(trees), tuple(leaves), tuple(int(feature) for feature in zeros), tuple(int(node) for node in sets))


def _as_at_most(ensemble: TreeEnsemble) -> tuple[Array, Array, Array]:
    """Thresholds of `x <= t`, where NaN goes then, and at which nodes the sides are exchanged."""
    splits = ensemble.splits
    if (splits == Split.EQUAL).any():
        raise UnsupportedError("a split on one value has no exact form in a pipeline")
    dtype = ensemble.compare_dtype.numpy
    with np.errstate(over="ignore"):
        before = np.nextafter(ensemble.thresholds.astype(dtype), np.array(-np.inf, dtype=dtype)).astype(np.float64)
    thresholds = np.where(splits == Split.LESS, before, ensemble.thresholds)
    thresholds = np.where(splits == Split.CATEGORY, 0.0, thresholds)
    is_swapped = splits == Split.GREATER
    left = ensemble.missing_left ^ is_swapped
    return thresholds, np.where((ensemble.missing == Missing.NEVER) & (splits != Split.CATEGORY), thresholds >= 0, left), is_swapped


def _members(root: int, left: Array, right: Array) -> Array:
    """The nodes of one tree, level by level."""
    levels = [np.array([root])]
    while True:
        inner = levels[-1][left[levels[-1]] >= 0]
        if not len(inner):
            return np.concatenate(levels)
        levels.append(np.concatenate([left[inner], right[inner]]))


def sums(builder: Builder, rows: str, ensemble: TreeEnsemble) -> str:
    """Return what the trees add up to, [batch, outputs] in `sum_dtype`, base included; `rows` are doubles [batch, features]."""
    walk = walk_of(ensemble)
    is_double = ensemble.compare_dtype is DType.FP64
    rounded = rows if is_double else builder.doubles(builder.add("Cast", rows, to=TensorProto.FLOAT))
    dtype = ensemble.sum_dtype.numpy
    tables = [ensemble.leaf_values[nodes].astype(dtype) for nodes in walk.leaves]
    is_vector = ensemble.leaf_values.shape[1] > 1
    started: set[int] = set()
    for number, group in enumerate(map(int, ensemble.groups)):
        if group not in started:  # the sum starts with the base
            started.add(group)
            tables[number] = tables[number] + ensemble.base.astype(dtype)[slice(None) if is_vector else group]
    if len(started) != (1 if is_vector else ensemble.output_count):
        raise UnsupportedError("an output without trees has no exact form in a pipeline")
    table = _with_columns(builder, rounded, ensemble, walk)
    values = leaf_values(builder, table, walk.trees, [part.astype(np.float64) for part in tables], is_double=is_double)
    values = builder.add("Cast", values, to=_TYPES[ensemble.sum_dtype])
    if is_vector:
        return builder.sum_in_order(values)
    parts = []
    for group in range(ensemble.output_count):
        chosen = np.flatnonzero(ensemble.groups == group)
        own = values if len(chosen) == ensemble.tree_count else builder.add("Gather", values, builder.integers(*map(int, chosen)), axis=1)
        parts.append(builder.sum_in_order(own))
    return builder.add("Concat", *parts, axis=1) if len(parts) > 1 else parts[0]


def averaged(builder: Builder, total: str, ensemble: TreeEnsemble) -> str:
    """Divide the sums by the number of trees of their output."""
    vector = ensemble.leaf_values.shape[1] > 1
    counts = [ensemble.tree_count if vector else int((ensemble.groups == group).sum()) for group in range(ensemble.output_count)]
    return builder.add("Div", total, builder.constant(counts, ensemble.sum_dtype.numpy.type))


def _with_columns(builder: Builder, rows: str, ensemble: TreeEnsemble, walk: Walk) -> str:
    parts = [rows]
    for feature in walk.zeros:
        column = builder.add("Gather", rows, builder.integers(feature), axis=1)
        is_tiny = builder.add("LessOrEqual", builder.add("Abs", column), builder.constant(_ZERO))
        parts.append(builder.add("Where", is_tiny, builder.constant(np.nan), column))
    by_feature: dict[int, list[int]] = {}
    for node in walk.sets:
        by_feature.setdefault(int(ensemble.features[node]), []).append(node)
    columns: dict[int, str] = {}
    for feature, nodes in by_feature.items():
        sides = _sides(builder, rows, ensemble, feature, nodes)
        for number, node in enumerate(nodes):
            columns[node] = builder.add("Gather", sides, builder.integers(number), axis=1) if len(nodes) > 1 else sides
    parts.extend(columns[node] for node in walk.sets)
    return builder.add("Concat", *parts, axis=1) if len(parts) > 1 else rows


def _sides(builder: Builder, rows: str, ensemble: TreeEnsemble, feature: int, nodes: list[int]) -> str:
    """[batch, nodes]: below zero where the row's category goes left at the node, above zero where it goes right."""
    offsets, values = ensemble.category_offsets, ensemble.category_values
    limit = 1 + max((int(values[offsets[node] : offsets[node + 1]].max(initial=-1)) for node in nodes), default=-1)
    if (limit + 2) * len(nodes) > _SIDE_LIMIT:
        raise UnsupportedError("its sets of categories are too large for a pipeline's graph")
    table = np.full((limit + 2, len(nodes)), _RIGHT)
    for number, node in enumerate(nodes):
        table[:limit, number] = _LEFT if ensemble.unknown_category_left[node] else _RIGHT
        table[values[offsets[node] : offsets[node + 1]], number] = _LEFT
        table[limit, number] = _LEFT if ensemble.unknown_category_left[node] else _RIGHT
        table[limit + 1, number] = _LEFT if ensemble.missing_left[node] else _RIGHT
    column = builder.flat(builder.add("Gather", rows, builder.integers(feature), axis=1))
    lowest = 0.0 if ensemble.compare_dtype is DType.FP32 else float(np.nextafter(-1.0, 0.0))
    is_known = builder.add(
        "And",
        builder.add("GreaterOrEqual", column, builder.constant(lowest)),
        builder.add("Less", column, builder.constant(float(limit))),
    )
    safe = builder.add("Where", is_known, column, builder.constant(float(limit)))
    place = builder.add("Where", builder.add("IsNaN", column), builder.constant(float(limit + 1)), safe)
    return builder.add("Gather", builder.constant(table), builder.add("Cast", place, to=TensorProto.INT64), axis=0)


def transformed(builder: Builder, total: str, ensemble: TreeEnsemble) -> str:
    """Return what the library's own predict makes of the sums; shape and type stay."""
    kind, dtype = ensemble.transform, ensemble.sum_dtype
    if kind is Transform.IDENTITY:
        return total
    if kind is Transform.SIGMOID:
        return _sigmoid(builder, total, ensemble)
    if kind is Transform.SOFTMAX:
        largest = builder.add("ReduceMax", total, builder.integers(1), keepdims=1)
        return _shared(builder, _exp(builder, builder.add("Sub", total, largest), dtype), dtype)
    if kind is Transform.EXP:
        return _exp(builder, total, dtype)
    if kind is Transform.SIGN_SQUARE:
        return builder.add("Mul", builder.add("Mul", builder.add("Sign", total), total), total)
    if kind is Transform.HINGE:
        return builder.add("Cast", builder.add("Greater", total, builder.constant(0.0, dtype.numpy.type)), to=_TYPES[dtype])
    if kind is Transform.LOG1P_EXP:
        return builder.add("Log", builder.add("Add", builder.constant(1.0, dtype.numpy.type), _exp(builder, total, dtype)))
    each = _sigmoid(builder, total, ensemble)
    return each if kind is Transform.ONE_VS_ALL else _shared(builder, each, dtype)


def _exp(builder: Builder, name: str, dtype: DType) -> str:
    powers = builder.add("Exp", builder.doubles(name))
    return powers if dtype is DType.FP64 else builder.add("Cast", powers, to=TensorProto.FLOAT)


def _sigmoid(builder: Builder, total: str, ensemble: TreeEnsemble) -> str:
    one = builder.constant(1.0, ensemble.sum_dtype.numpy.type)
    if ensemble.sum_dtype is DType.FP64:
        scaled = builder.add("Mul", total, builder.constant(-ensemble.scale))
    else:
        scaled = builder.add("Min", builder.add("Neg", total), builder.constant(LARGEST_EXPONENT, np.float32))
    return builder.add("Div", one, builder.add("Add", _exp(builder, scaled, ensemble.sum_dtype), one))


def _shared(builder: Builder, each: str, dtype: DType) -> str:
    """Divide each row by its sum, which is taken in double from first to last and rounded once."""
    total = builder.column_of(builder.sum_in_order(builder.doubles(each)))
    return builder.add("Div", each, total if dtype is DType.FP64 else builder.add("Cast", total, to=TensorProto.FLOAT))
