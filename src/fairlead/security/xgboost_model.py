"""XGBoost's model files (.json, .ubj), taken apart without XGBoost: what is there has the type and the length that it has to have.

Takes bytes, gives an XgboostModel of plain values. Raises SourceError that says what is damaged, UnsupportedError for boosters that are
neither trees nor linear. Nothing is trained, run or imported. https://xgboost.readthedocs.io/en/stable/tutorials/saving_model.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fairlead.core.interface import Array, shorten
from fairlead.errors import SourceError, UnsupportedError
from fairlead.security.ubjson import DEPTH_LIMIT, read_ubjson

SIZE_LIMIT_BYTES = 2**30
_TREE_LIMIT, _FEATURE_LIMIT, _OUTPUT_LIMIT = 10**6, 10**6, 10**5
_CATEGORY_END = 2**24  # XGBoost takes no larger number for a category
_HEAD_BYTES = 4096
_LARGEST_SINGLE = float(np.finfo(np.float32).max)
_HINT = "Save it again with model.save_model('model.json')."


@dataclass(frozen=True)
class XgboostTree:
    """One tree's arrays, all of `node_count` entries, as the file names them; `leaf_weights` are the values of vector leaves."""

    left: Array
    right: Array
    features: Array
    conditions: Array
    default_left: Array
    is_category: Array
    category_sets: Mapping[int, Array] = field(repr=False)
    leaf_weights: Array | None = None


@dataclass(frozen=True)
class XgboostModel:
    """`rounds` are the first tree of each boosting round, and the end; `groups` the output of each tree. `weights` scale DART's trees.

    `best_round` is the number of rounds that early stopping chose, 0 where it did not run. `linear` are the weights of a linear booster,
    (features + 1, outputs), the last row its biases; it has no trees then, and others have None.
    """

    version: tuple[int, ...]
    objective: str
    base_scores: tuple[float, ...]
    output_count: int
    feature_count: int
    trees: tuple[XgboostTree, ...]
    groups: Array
    rounds: tuple[int, ...]
    weights: Array
    best_round: int
    feature_names: tuple[str, ...]
    feature_types: tuple[str, ...]
    linear: Array | None = field(default=None, repr=False)


def damaged(problem: str) -> SourceError:
    """Return the error for a file that is not what XGBoost writes."""
    return SourceError(f"The XGBoost model is damaged: {problem}.", hint=_HINT)


def parse_xgboost(data: bytes) -> XgboostModel:
    """Return the model in the bytes of a .json or .ubj file."""
    return model_of(decode_xgboost(data))


def decode_xgboost(data: bytes) -> dict[str, Any]:
    """Return the outermost object of JSON or UBJSON; raises SourceError for damage, doubled keys, and nesting beyond any model's."""
    if len(data) > SIZE_LIMIT_BYTES:
        raise SourceError(f"The XGBoost model has more than {SIZE_LIMIT_BYTES} bytes.", hint="Train it with fewer trees.")
    try:
        is_text = data[:_HEAD_BYTES].lstrip()[1:].lstrip()[:1] in (b'"', b"}")
        value = json.loads(data, object_pairs_hook=_without_doubles) if is_text else read_ubjson(data)
    except (ValueError, RecursionError) as error:
        reason = "it nests too deep" if isinstance(error, RecursionError) else shorten(str(error), 120)
        raise damaged(reason) from None
    if not isinstance(value, dict):
        raise damaged("it is not an object")
    _check_depth(value)
    return value


def _check_depth(value: dict[str, Any]) -> None:
    """XGBoost's own parser recurses without a bound and dies of deep nesting; Python's bound is far above any model's."""
    level: list[Any] = [value]
    for _ in range(DEPTH_LIMIT):
        children = (child for item in level for child in (item.values() if isinstance(item, dict) else item))
        level = [child for child in children if isinstance(child, dict | list)]
        if not level:
            return
    raise damaged("it nests too deep")


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands there twice")
    return found


def model_of(document: Mapping[str, Any]) -> XgboostModel:
    """Return the model of a decoded document; raises SourceError, UnsupportedError for a booster that is not known."""
    learner = _object(document, "learner")
    booster = _object(learner, "gradient_booster")
    kind = str(booster.get("name"))
    if kind not in ("gbtree", "dart", "gblinear"):
        raise UnsupportedError(f"XGBoost's booster '{shorten(kind)}' is not read.", hint="Train it with booster='gbtree' or 'dart'.")
    forest = _object(_object(booster, "gbtree") if kind == "dart" else booster, "model")
    parameters = _object(learner, "learner_model_param")
    features = _count(parameters, "num_feature", _FEATURE_LIMIT)
    outputs = max(1, _count(parameters, "num_class", _OUTPUT_LIMIT), _count(parameters, "num_target", _OUTPUT_LIMIT, default=1))
    linear = _weights(forest, features, outputs) if kind == "gblinear" else None
    listed = _list(forest, "trees", _TREE_LIMIT) if linear is None else []
    trees = tuple(_tree(item, number, features, outputs) for number, item in enumerate(listed))
    groups = _numbers(forest, "tree_info", len(trees), "i8", default=0 if linear is not None else -1)
    if len(groups) and (groups.min() < 0 or groups.max() >= outputs):
        raise damaged("a tree adds to an output that does not exist")
    weights = _numbers(booster, "weight_drop", len(trees), "f4") if kind == "dart" else np.ones(len(trees), np.float32)
    if not np.isfinite(weights).all():
        raise damaged("a tree's weight is not a number")
    names = _texts(learner, "feature_names", features)
    return XgboostModel(
        version=tuple(int(item) for item in _numbers(document, "version", None, "i8", default=None)),
        objective=str(_object(learner, "objective").get("name")),
        base_scores=_base_scores(parameters, outputs),
        output_count=outputs,
        feature_count=features,
        trees=trees,
        groups=groups,
        rounds=_rounds(forest, len(trees), outputs) if linear is None else (0,),
        weights=weights,
        best_round=_best_round(learner),
        feature_names=names,
        feature_types=_texts(learner, "feature_types", features),
        linear=linear,
    )


def _weights(model: Mapping[str, Any], features: int, outputs: int) -> Array:
    """XGBoost reads the weights by these two counts, whatever there is."""
    found = _numbers(model, "weights", (features + 1) * outputs, "f4")
    if not np.isfinite(found).all():
        raise damaged("a weight is not a number")
    return found.reshape(features + 1, outputs)


def _tree(item: Any, number: int, feature_count: int, output_count: int) -> XgboostTree:
    if not isinstance(item, Mapping):
        raise damaged(f"tree {number} is not an object")
    parameters = _object(item, "tree_param")
    count = _count(parameters, "num_nodes", 2**31 - 1)
    if count < 1:
        raise damaged(f"tree {number} has no nodes")
    left, right = _numbers(item, "left_children", count, "i8"), _numbers(item, "right_children", count, "i8")
    features = _numbers(item, "split_indices", count, "i8")
    kinds = _numbers(item, "split_type", count, "i8", default=0)
    inner = left != -1
    for children in (left, right):
        if ((children < -1) | (children >= count))[inner].any() or (children[inner] == -1).any():
            raise damaged(f"tree {number} has a child that does not exist")
    if ((features < 0) | (features >= feature_count))[inner].any():
        raise damaged(f"tree {number} splits on a feature that does not exist")
    if not np.isin(kinds, (0, 1)).all():
        raise damaged(f"tree {number} has a kind of split that is not known")
    conditions = _numbers(item, "split_conditions", count, "f4")
    width = _count(parameters, "size_leaf_vector", _OUTPUT_LIMIT, default=1)
    return XgboostTree(
        left,
        right,
        features,
        conditions,
        _numbers(item, "default_left", count, "i8") != 0,
        inner & (kinds == 1),
        _category_sets(item, number, count),
        _vector_leaves(item, number, width, output_count, int((~inner).sum())) if width > 1 else None,
    )


def _vector_leaves(item: Mapping[str, Any], number: int, width: int, output_count: int, leaf_count: int) -> Array:
    if "leaf_weights" not in item:
        raise UnsupportedError("XGBoost's vector leaves of before 3.0 are not read.", hint="Load and save the model with XGBoost 3.")
    if width != output_count:
        raise damaged(f"tree {number} has leaves of {width} values for {output_count} outputs")
    return _numbers(item, "leaf_weights", leaf_count * width, "f4").reshape(leaf_count, width)


def _category_sets(item: Mapping[str, Any], number: int, count: int) -> dict[int, Array]:
    """Return node -> its categories; segments lie inside of the list of all."""
    nodes = _numbers(item, "categories_nodes", None, "i8", default=None)
    default = -1 if len(nodes) else None  # older files have none of these arrays; none is missing where others stand
    segments, sizes = (_numbers(item, name, len(nodes), "i8", default=default) for name in ("categories_segments", "categories_sizes"))
    values = _numbers(item, "categories", None, "i8", default=None)
    outside = (nodes < 0) | (nodes >= count) | (segments < 0) | (sizes < 0) | (segments + sizes > len(values))
    if outside.any() or len(np.unique(nodes)) != len(nodes) or (len(values) and (values.min() < 0 or values.max() >= _CATEGORY_END)):
        raise damaged(f"tree {number} has categories that do not exist")
    return {int(node): np.unique(values[start : start + size]) for node, start, size in zip(nodes, segments, sizes, strict=True)}


def _rounds(forest: Mapping[str, Any], tree_count: int, outputs: int) -> tuple[int, ...]:
    """The first tree of each round, then the number of trees; older files do not list them."""
    if "iteration_indptr" in forest:
        found = _numbers(forest, "iteration_indptr", None, "i8")
        if len(found) < 1 or found[0] != 0 or found[-1] != tree_count or (np.diff(found) < 0).any():
            raise damaged("its rounds do not fit its trees")
        return tuple(int(item) for item in found)
    per_round = outputs * max(1, _count(_object(forest, "gbtree_model_param"), "num_parallel_tree", _TREE_LIMIT, default=1))
    return (*range(0, tree_count, per_round), tree_count)


def _best_round(learner: Mapping[str, Any]) -> int:
    best = str(_object(learner, "attributes", default={}).get("best_iteration", ""))
    return int(best) + 1 if best.isdecimal() and len(best) < 9 else 0


def _base_scores(parameters: Mapping[str, Any], outputs: int) -> tuple[float, ...]:
    """One number per output; XGBoost 3 writes a list of them as text."""
    text = str(parameters.get("base_score")).strip().removeprefix("[").removesuffix("]")
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) not in (1, outputs) or not all(abs(value) <= _LARGEST_SINGLE for value in values):
        raise damaged("its base score is not a number per output")
    return values if len(values) == outputs else values * outputs


def _object(parent: Mapping[str, Any], name: str, *, default: Any = None) -> Mapping[str, Any]:
    found = parent.get(name, default)
    if not isinstance(found, Mapping):
        raise damaged(f"'{name}' is missing or not an object")
    return found


def _list(parent: Mapping[str, Any], name: str, limit: int) -> list[Any]:
    found = parent.get(name)
    if not isinstance(found, list) or len(found) > limit:
        raise damaged(f"'{name}' is missing, not a list, or too long")
    return found


def _count(parent: Mapping[str, Any], name: str, limit: int, *, default: int = 0) -> int:
    text = str(parent.get(name, default))
    if not text.isascii() or not text.isdecimal() or len(text) > 10 or int(text) > limit:
        raise damaged(f"'{name}' is not a number up to {limit}")
    return int(text)


def _numbers(parent: Mapping[str, Any], name: str, count: int | None, dtype: str, *, default: int | None = -1) -> Array:
    """Return the array `name` of `count` numbers (None: of any length); `default` None stands for an empty one, 0 for zeros."""
    found = parent.get(name)
    if found is None and default != -1:
        return np.zeros(0 if default is None else count or 0, dtype)
    if isinstance(found, list) and not all(isinstance(item, int | float) for item in found):
        raise damaged(f"'{name}' holds something other than numbers")
    if not isinstance(found, list | np.ndarray) or (count is not None and len(found) != count):
        raise damaged(f"'{name}' does not have {count} entries")
    array = np.asarray(found)
    if array.dtype.kind == "O":  # a whole number beyond 64 bits
        raise damaged(f"'{name}' holds numbers that are too large")
    if dtype == "i8" and array.dtype.kind == "f" and not np.array_equal(array, np.trunc(array)):
        raise damaged(f"'{name}' holds fractions")
    if dtype == "i8" and array.size and not (float(array.min()) > -(2**62) and float(array.max()) < 2**62):
        raise damaged(f"'{name}' holds numbers that are no indices")
    with np.errstate(over="ignore"):
        return array.astype(dtype)


def _texts(parent: Mapping[str, Any], name: str, count: int) -> tuple[str, ...]:
    found = parent.get(name, [])
    if not isinstance(found, list) or len(found) not in (0, count) or not all(isinstance(item, str) for item in found):
        raise damaged(f"'{name}' does not name every feature")
    return tuple(found)
