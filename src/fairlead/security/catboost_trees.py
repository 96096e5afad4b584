"""CatBoost's trees as core.tree_ensemble: `x > border` in single precision, sums in double, and what CatBoost's predict makes of them.

Takes what `catboost_model` parsed; gives a TreeEnsemble that keeps its law. Raises UnsupportedError for loss functions whose answer is not
one number or one class, SourceError for trees with cycles.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fairlead.core.dtype import DType
from fairlead.core.interface import Array, Label, shorten
from fairlead.core.tree_ensemble import Missing, Split, Transform, TreeEnsemble
from fairlead.errors import CorruptError, SourceError, UnsupportedError
from fairlead.security.catboost_categories import damaged
from fairlead.security.catboost_model import AS_TRUE, CatBoostModel

_NODE_LIMIT = 2**26
_EXPONENT = frozenset({"Poisson", "Tweedie", "LogLinQuantile"})
# Losses whose prediction is the sum itself: regression and ranking.
_PLAIN = frozenset({
    "RMSE", "MAE", "MAPE", "Quantile", "MultiQuantile", "MultiRMSE", "GroupQuantile", "Expectile", "Huber", "Lq", "LogCosh", "QueryRMSE",
    "YetiRank", "YetiRankPairwise", "PairLogit", "PairLogitPairwise", "QuerySoftMax", "QueryCrossEntropy", "StochasticRank",
    "StochasticFilter", "LambdaMart", "Cox",
})  # fmt: skip
_BINARY, _MANY, _EACH = frozenset({"Logloss", "CrossEntropy", "Focal"}), frozenset({"MultiClass"}), frozenset({"MultiClassOneVsAll"})
_CATEGORY_HINT = "Save it with save_model('model.cbm'): CatBoost itself then answers for it, in a process of its own."


@dataclass(frozen=True)
class Answers:
    """What a model answers: its loss, and its classes (none for regression and ranking)."""

    loss: str
    labels: tuple[Label, ...]
    transform: Transform


def answers_of(model: CatBoostModel) -> Answers:
    """Return what the model answers. Raises UnsupportedError that names its loss."""
    loss = str(_inside(model.description("params"), "loss_function").get("type", ""))
    if loss in _PLAIN or loss in _EXPONENT:
        return Answers(loss, (), Transform.EXP if loss in _EXPONENT else Transform.IDENTITY)
    if loss not in _BINARY | _MANY | _EACH:
        raise UnsupportedError(f"CatBoost's loss function '{shorten(loss)}' is not known.", hint="Export the model to ONNX with CatBoost.")
    labels = _labels(model, max(2, model.dimension))
    if (model.dimension == 1) != (loss in _BINARY):
        raise damaged(f"loss function {loss} does not fit {model.dimension} outputs")
    transforms = {**dict.fromkeys(_BINARY, Transform.SIGMOID), **dict.fromkeys(_MANY, Transform.SOFTMAX)}
    return Answers(loss, labels, transforms.get(loss, Transform.ONE_VS_ALL))


def _inside(description: dict[str, object], name: str) -> dict[str, object]:
    found = description.get(name, {})
    return found if isinstance(found, dict) else {}


def _labels(model: CatBoostModel, count: int) -> tuple[Label, ...]:
    known = model.description("class_params")
    if model.info.get("binclass_probability_threshold", "0.5") != "0.5":
        raise UnsupportedError(
            "The CatBoost model decides at a probability threshold of its own.", hint="Save it before set_probability_threshold is called."
        )
    names = known.get("class_names")
    if not names:
        return tuple(range(count))
    kinds = {type(name) for name in names} if isinstance(names, list) else set()
    if len(kinds) != 1 or not kinds <= {str, int, float, bool} or len(names) != count or len(set(names)) != count:
        raise damaged("its class names are not one for each class")
    if known.get("class_to_label") not in (list(range(count)), [float(place) for place in range(count)]):
        raise UnsupportedError("The CatBoost model learned only some of its classes.", hint="Train it on rows of every class.")
    return tuple(names)


def ensemble_of(model: CatBoostModel) -> TreeEnsemble:
    """Return the trees of `model`. Raises UnsupportedError where they ask for categories: CatBoost hashes their text."""
    if model.categories.columns:
        raise UnsupportedError("The CatBoost model takes categories, which CatBoost alone hashes and looks up.", hint=_CATEGORY_HINT)
    nodes = _symmetric(model) if model.is_symmetric else _free(model)
    answers = answers_of(model)
    inner = nodes.splits != Split.LEAF
    columns = np.repeat([feature.column for feature in model.features], [len(feature.values) for feature in model.features])
    borders = np.concatenate([np.empty(0, np.float32), *(feature.values for feature in model.features)]).astype(np.float64)
    is_true = np.repeat([feature.missing == AS_TRUE for feature in model.features], [len(feature.values) for feature in model.features])
    count = len(inner)
    chosen = nodes.border[inner]

    def spread(values: Array, dtype: type[np.generic]) -> Array:
        column = np.zeros(count, dtype=dtype)
        column[inner] = values[chosen] if len(chosen) else 0
        return column

    names = tuple(feature.name for feature in model.features)
    has_names = all(names) and len(names) == model.column_count and len(set(names)) == len(names)
    ensemble = TreeEnsemble(
        feature_count=model.column_count,
        output_count=model.dimension,
        roots=nodes.roots,
        groups=np.zeros(len(nodes.roots), dtype=np.int32),
        splits=nodes.splits,
        features=spread(columns, np.int32),
        thresholds=spread(borders, np.float64),
        left=nodes.left,
        right=nodes.right,
        missing=np.where(inner, Missing.NAN, 0).astype(np.uint8),
        missing_left=spread(is_true, np.bool_),
        leaf_values=nodes.values * model.scale,
        base=model.bias,
        category_offsets=np.zeros(count + 1, dtype=np.int32),
        category_values=np.empty(0, dtype=np.int32),
        unknown_category_left=np.zeros(count, dtype=bool),
        compare_dtype=DType.FP32,
        sum_dtype=DType.FP64,
        transform=answers.transform,
        is_decided_by_sum=bool(answers.labels),
        feature_names=names if has_names else (),
    )
    try:
        ensemble.check()
    except CorruptError as error:
        raise SourceError(error.message, hint=error.hint) from None
    return ensemble


@dataclass
class _Nodes:
    """Nodes of all trees; `border` is the split's number at inner nodes."""

    roots: Array
    splits: Array
    border: Array
    left: Array
    right: Array
    values: Array


def _symmetric(model: CatBoostModel) -> _Nodes:
    """Full trees: node i of a level has the children 2i + 1 and 2i + 2; above the border means bit k of the leaf's number."""
    sizes = 2 ** (model.sizes.astype(np.int64) + 1) - 1
    nodes = _empty(np.cumsum([0, *sizes]), model.dimension)
    first_value = 0
    for tree, (depth, root) in enumerate(zip(model.sizes, nodes.roots, strict=True)):
        count = 2 ** int(depth)
        inside = np.arange(count - 1)
        level = np.floor(np.log2(inside + 1)).astype(np.int64)
        nodes.splits[root + inside] = Split.GREATER
        nodes.border[root + inside] = model.splits[model.starts[tree] + level]
        nodes.left[root + inside], nodes.right[root + inside] = root + 2 * inside + 2, root + 2 * inside + 1
        # The way to leaf p of the last level stands in its bits, highest first; CatBoost's number has the first level in bit 0.
        order = np.zeros(count, dtype=np.int64)
        for bit in range(int(depth)):
            order |= ((np.arange(count) >> (int(depth) - 1 - bit)) & 1) << bit
        leaves = model.leaf_values[first_value : first_value + count * model.dimension].reshape(count, model.dimension)
        nodes.values[root + count - 1 : root + 2 * count - 1] = leaves[order]
        first_value += count * model.dimension
    return nodes


def _free(model: CatBoostModel) -> _Nodes:
    """Trees of any shape: nodes stay where they are, those whose ways both end become leaves, and a way that ends beside another that goes
    on gets a leaf of its own at the end.
    """
    steps, count = model.steps, len(model.splits)
    is_leaf = (steps == 0).all(axis=1)
    ends = [np.flatnonzero((steps[:, side] == 0) & ~is_leaf) for side in (0, 1)]
    extra = len(ends[0]) + len(ends[1])
    nodes = _empty(np.array([0, count + extra]), model.dimension)
    nodes.roots = model.starts.astype(np.int32)
    inner = np.flatnonzero(~is_leaf)
    nodes.splits[inner] = Split.GREATER
    nodes.border[inner] = model.splits[inner]
    nodes.right[inner], nodes.left[inner] = inner + steps[inner, 0], inner + steps[inner, 1]
    for side, children, first in ((0, nodes.right, count), (1, nodes.left, count + len(ends[0]))):
        children[ends[side]] = first + np.arange(len(ends[side]))
    owners = np.concatenate([np.flatnonzero(is_leaf), ends[0], ends[1]])
    places = np.concatenate([np.flatnonzero(is_leaf), count + np.arange(extra)])
    reach = model.leaf_ids[owners][:, np.newaxis] + np.arange(model.dimension)
    nodes.values[places] = model.leaf_values[reach]
    return nodes


def _empty(starts: Array, dimension: int) -> _Nodes:
    count = int(starts[-1])
    if count * dimension > _NODE_LIMIT:
        raise UnsupportedError(f"The CatBoost model has more than {_NODE_LIMIT} nodes.", hint="Train it with fewer or shallower trees.")
    return _Nodes(
        roots=starts[:-1].astype(np.int32),
        splits=np.zeros(count, dtype=np.uint8),
        border=np.zeros(count, dtype=np.int64),
        left=np.zeros(count, dtype=np.int32),
        right=np.zeros(count, dtype=np.int32),
        values=np.zeros((count, dimension)),
    )
