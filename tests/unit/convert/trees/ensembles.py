"""Drawn tree ensembles of every kind: for comparing two evaluations with each other."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from fairlead.core.dtype import DType
from fairlead.core.interface import Decision, DecisionKind, Interface, Task, TensorSpec
from fairlead.core.tree_ensemble import Missing, Split, Transform, TreeEnsemble

FEATURES = 4
THRESHOLDS = [0.0, -0.0, 0.5, 1.0, 2.0, 3.0, -1.5, 1e-35, float(np.float32(0.1)), 1e30, -1e30]


def build(
    random: np.random.Generator, *, compare: DType, total: DType, splits: list[Split], missing: list[Missing], **more
) -> TreeEnsemble:
    """Return an ensemble of up to five trees of depth up to four."""
    outputs, width = more.pop("outputs", 1), more.pop("width", 1)
    nodes: list[dict] = []
    roots, groups = [], []
    for _ in range(int(random.integers(1, 6))):
        roots.append(_grow(random, nodes, splits, missing, width, int(random.integers(0, 5))))
        groups.append(0 if width > 1 else int(random.integers(0, outputs)))
    sets = [node["categories"] for node in nodes]
    single = compare is DType.FP32

    def column(key: str, dtype: str) -> np.ndarray:
        return np.asarray([node[key] for node in nodes], dtype)

    thresholds = column("threshold", "f8")
    leaves = np.asarray([node["leaf"] for node in nodes], "f8").reshape(len(nodes), width)
    base = random.normal(size=outputs)
    return TreeEnsemble(
        feature_count=FEATURES,
        output_count=outputs,
        roots=np.asarray(roots, "i4"),
        groups=np.asarray(groups, "i4"),
        splits=column("split", "u1"),
        features=column("feature", "i4"),
        thresholds=thresholds.astype("f4").astype("f8") if single else thresholds,
        left=column("left", "i4"),
        right=column("right", "i4"),
        missing=column("missing", "u1"),
        missing_left=column("missing_left", "?"),
        leaf_values=leaves.astype("f4").astype("f8") if total is DType.FP32 else leaves,
        base=base.astype("f4").astype("f8") if total is DType.FP32 else base,
        category_offsets=np.cumsum([0, *map(len, sets)], dtype="i4"),
        category_values=np.asarray([item for chosen in sets for item in chosen], "i4"),
        unknown_category_left=column("unknown_left", "?"),
        compare_dtype=compare,
        sum_dtype=total,
        **more,
    )


def _grow(random: np.random.Generator, nodes: list[dict], splits: list[Split], missing: list[Missing], width: int, depth: int) -> int:
    number = len(nodes)
    is_leaf = depth == 0
    split = Split.LEAF if is_leaf else splits[int(random.integers(len(splits)))]
    is_set = split is Split.CATEGORY
    node = {
        "split": int(split),
        "feature": 0 if is_leaf else int(random.integers(FEATURES)),
        "threshold": 0.0 if is_leaf or is_set else float(random.choice(THRESHOLDS)),
        "left": 0,
        "right": 0,
        "missing": 0 if is_leaf else int(missing[int(random.integers(len(missing)))]),
        "missing_left": bool(not is_leaf and random.integers(2)),
        "leaf": random.normal(size=width).tolist() if is_leaf else [0.0] * width,
        "categories": sorted(random.choice(70, int(random.integers(0, 6)), replace=False).tolist()) if is_set else [],
        "unknown_left": bool(is_set and random.integers(2)),
    }
    nodes.append(node)
    if not is_leaf:
        node["left"] = _grow(random, nodes, splits, missing, width, depth - 1)
        node["right"] = _grow(random, nodes, splits, missing, width, int(random.integers(0, depth)))
    return number


PLAIN = [Split.LESS, Split.LESS_OR_EQUAL, Split.GREATER, Split.EQUAL]


@st.composite
def ensembles(draw: st.DrawFn) -> TreeEnsemble:
    """Any ensemble: types, splits, kinds of missing values, categories, several outputs, vector leaves, transforms."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    compare, total = draw(st.sampled_from([(DType.FP32, DType.FP32), (DType.FP64, DType.FP64), (DType.FP32, DType.FP64)]))
    splits = draw(st.sampled_from([[Split.LESS], [Split.LESS_OR_EQUAL], PLAIN, [*PLAIN, Split.CATEGORY], [Split.CATEGORY]]))
    missing = draw(st.sampled_from([[Missing.NAN], [Missing.NEVER], [Missing.ZERO], list(Missing)]))
    outputs = draw(st.sampled_from([1, 1, 3]))
    several = [Transform.SOFTMAX, Transform.ONE_VS_ALL, Transform.ONE_VS_ALL_NORMALIZED]
    single = [Transform.SIGMOID, Transform.IDENTITY, Transform.EXP, Transform.HINGE, Transform.SIGN_SQUARE, Transform.LOG1P_EXP]
    return build(
        random,
        compare=compare,
        total=total,
        splits=splits,
        missing=missing,
        outputs=outputs,
        width=outputs if draw(st.booleans()) else 1,
        transform=draw(st.sampled_from(several if outputs > 1 else single)),
        scale=1.0 if total is DType.FP32 else draw(st.sampled_from([1.0, 0.5, 2.0])),
        is_averaged=draw(st.booleans()),
        is_decided_by_sum=draw(st.booleans()),
    )


def rows_for(trees: TreeEnsemble, random: np.random.Generator, count: int = 60) -> np.ndarray:
    """Rows of odd numbers in the type that is compared in: thresholds and their neighbours, categories, nothing, everything."""
    kind = trees.compare_dtype.numpy.type
    near = [kind(value) for value in THRESHOLDS] + [
        np.nextafter(kind(value), kind(side)) for value in THRESHOLDS for side in (-np.inf, np.inf)
    ]
    odd = [np.nan, np.inf, -np.inf, 5e-324, 1e-40, 2.5, -0.5, -1.0, 63.0, 64.0, 69.0, 70.0, 2.0**31, 2.0**24, 1e-35, -1e-35]
    pool = np.asarray([*near, *[kind(value) for value in odd], *[kind(value) for value in range(0, 70, 3)]])
    return pool[random.integers(0, len(pool), (count, FEATURES))]


def interface_of(trees: TreeEnsemble) -> Interface:
    """What the ensemble takes and gives as a classifier with text labels."""
    classes = max(2, trees.output_count)
    kind = trees.sum_dtype
    return Interface(
        (TensorSpec("x", trees.compare_dtype, (None, FEATURES)),),
        (
            TensorSpec("label", DType.BYTES, (None,)),
            TensorSpec("probabilities", kind, (None, classes)),
            TensorSpec("scores", kind, (None, trees.output_count)),
        ),
        Task.CLASSIFICATION,
        Decision(DecisionKind.LABEL, "label", scores="probabilities"),
        labels=tuple(f"klasse {number} ü" for number in range(classes)),
    )
