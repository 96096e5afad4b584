"""Tree ensembles and rows, drawn: every kind of node, missing value, category and leaf, and rows on thresholds and beside them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fairlead.core.dtype import DType
from fairlead.core.interface import Decision, DecisionKind, Interface, Task, TensorSpec
from fairlead.core.tree_ensemble import Missing, Split, TreeEnsemble

LARGEST = float(np.finfo(np.float32).max)
TINY = float(np.float32(1e-35))
NUMBERS = (0.0, -0.0, 1.0, 2.0, 2.5, -0.5, -1.0, 1e-45, -1e-45, 5e-324, TINY, -TINY, 1e-38, LARGEST, -LARGEST, np.inf, -np.inf, 0.1, 1 / 3)
ODD = (np.nan, 1e300, -1e300, 2.0**31, 2.0**31 - 1, -(2.0**31), -0.999, 0.999, 7.0, 8.9, 1e9)
BY_ORDER = (Split.LESS, Split.LESS_OR_EQUAL, Split.GREATER)
INNER = (*BY_ORDER, Split.EQUAL, Split.CATEGORY)


@dataclass
class Shape:
    """What `draw_trees` draws from."""

    trees: int = 20
    depth: int = 4
    features: int = 4
    outputs: int = 1
    has_vector_leaves: bool = False
    compare: DType = DType.FP32
    sums: DType = DType.FP32
    splits: tuple[Split, ...] = INNER
    missing: tuple[Missing, ...] = tuple(Missing)
    numbers: tuple[float, ...] = NUMBERS
    more: dict[str, Any] = field(default_factory=dict)


@dataclass
class _Nodes:
    """Columns that grow node by node."""

    random: np.random.Generator
    shape: Shape
    rows: list[dict[str, Any]] = field(default_factory=list)

    def grow(self, depth: int) -> int:
        random, shape, number = self.random, self.shape, len(self.rows)
        is_leaf = depth == 0 or (depth < shape.depth and random.random() < 0.15)
        split = Split.LEAF if is_leaf else Split(random.choice(shape.splits))
        width = shape.outputs if shape.has_vector_leaves else 1
        with np.errstate(all="ignore"):
            threshold = float(np.asarray(random.choice(shape.numbers)).astype(shape.compare.numpy))
        node = {
            "splits": split,
            "features": 0 if is_leaf else random.integers(shape.features),
            "thresholds": 0.0 if is_leaf else threshold,
            "left": 0,
            "right": 0,
            "missing": random.choice(shape.missing),
            "missing_left": random.random() < 0.5,
            "leaf_values": random.normal(size=width).astype(shape.sums.numpy) * is_leaf,
            "unknown_category_left": random.random() < 0.5,
            "categories": random.integers(0, 12, size=random.integers(0, 6)) if split is Split.CATEGORY else [],
        }
        self.rows.append(node)
        if not is_leaf:
            node["left"], node["right"] = self.grow(depth - 1), self.grow(depth - 1)
        return number


def draw_trees(seed: int, shape: Shape | None = None) -> TreeEnsemble:
    """Return an ensemble that keeps its law."""
    shape = shape or Shape()
    random = np.random.default_rng(seed)
    nodes = _Nodes(random, shape)
    roots = [nodes.grow(shape.depth) for _ in range(shape.trees)]
    groups = np.zeros(shape.trees) if shape.has_vector_leaves else random.integers(0, shape.outputs, shape.trees)
    types = {
        "splits": "u1", "features": "i4", "thresholds": "f8", "left": "i4", "right": "i4", "missing": "u1", "missing_left": "?",
        "leaf_values": "f8", "unknown_category_left": "?",
    }  # fmt: skip
    columns = {name: np.array([node[name] for node in nodes.rows], dtype=dtype) for name, dtype in types.items()}
    counts = [len(node["categories"]) for node in nodes.rows]
    trees = TreeEnsemble(
        feature_count=shape.features,
        output_count=shape.outputs,
        roots=np.array(roots, dtype=np.int32),
        groups=groups.astype(np.int32),
        **columns,
        base=random.normal(size=shape.outputs).astype(shape.sums.numpy).astype(np.float64),
        category_offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int32),
        category_values=np.concatenate([node["categories"] for node in nodes.rows]).astype(np.int32),
        compare_dtype=shape.compare,
        sum_dtype=shape.sums,
        **shape.more,
    )
    trees.check()
    return trees


def draw_rows(seed: int, trees: TreeEnsemble, count: int, dtype: DType | None = None) -> np.ndarray:
    """Return rows of the thresholds, one unit in the last place to both sides of them, and what is odd."""
    real = trees.compare_dtype.numpy
    with np.errstate(all="ignore"):
        exact = np.array([*NUMBERS, *trees.thresholds], dtype=real)
        beside = [np.nextafter(exact, real.type(side)) for side in (np.inf, -np.inf)]
        known = np.concatenate([exact, *beside, np.array([*ODD, *[np.nan] * 8], dtype=real), np.arange(-2, 14).astype(real)])
        chosen = np.random.default_rng(seed).choice(known, size=(count, trees.feature_count))
        return chosen.astype((dtype or trees.compare_dtype).numpy)


def classifier(trees: TreeEnsemble, labels: tuple[Any, ...] | None = None) -> Interface:
    """Return what a classifier of these trees takes and gives."""
    classes = max(2, trees.output_count)
    labels = tuple(range(classes)) if labels is None else labels
    label = TensorSpec("label", DType.BYTES if labels and isinstance(labels[0], str) else DType.INT64, (None,))
    return Interface(
        (TensorSpec("x", trees.compare_dtype, (None, trees.feature_count)),),
        (label, TensorSpec("probabilities", trees.sum_dtype, (None, classes))),
        Task.CLASSIFICATION,
        Decision(DecisionKind.LABEL, "label", scores="probabilities"),
        labels,
    )


def regressor(trees: TreeEnsemble) -> Interface:
    """Return what a regressor of these trees takes and gives."""
    return Interface(
        (TensorSpec("x", trees.compare_dtype, (None, trees.feature_count)),),
        (TensorSpec("prediction", trees.sum_dtype, (None, trees.output_count)),),
        Task.REGRESSION,
        Decision(DecisionKind.VALUE, "prediction"),
    )
