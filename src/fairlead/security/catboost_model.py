"""CatBoost's own model file (.cbm), taken apart and counted without CatBoost.

Takes the bytes of a file, or of the state of a pickled model; gives its features, trees and description as plain values. Every offset lies
in the file, every index in its range, and what CatBoost would read in two ways (splits, and their packed copies) says the same. Raises
SourceError for damage, UnsupportedError by name for text and embedding features. Runs nothing.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fairlead.core.interface import Array, shorten
from fairlead.errors import UnsupportedError
from fairlead.security.catboost_categories import PART, Categories, check_tables, damaged, read_categories
from fairlead.security.flat_table import FlatTable

SIZE_LIMIT_BYTES = 2**30
_MAGIC, _VERSION = b"CBM1", "FlabuffersModel_v1"
# Fields of TModelCore and TModelTrees, by their order in catboost/libs/model/flatbuffers/model.fbs.
_FORMAT, _TREES, _INFO, _PARTS = range(4)
(
    _DIMENSION, _SPLITS, _SIZES, _STARTS, _CAT_FEATURES, _FLOAT_FEATURES, _ONE_HOT_FEATURES, _CTR_FEATURES, _LEAF_VALUES, _LEAF_WEIGHTS,
    _STEPS, _LEAF_IDS, _TEXT_FEATURES, _ESTIMATED_FEATURES, _SCALE, _BIAS, _MULTI_BIAS, _PACKED, _EMBEDDING_FEATURES,
) = range(19)  # fmt: skip
_REFUSED = {
    _TEXT_FEATURES: "text features",
    _EMBEDDING_FEATURES: "embedding features",
    _ESTIMATED_FEATURES: "estimated features",
}
_DEPTH_LIMIT = 16
_BORDERS_OF_A_BIN = 254  # a feature with more borders takes several of CatBoost's bins
AS_IS, AS_FALSE, AS_TRUE = range(3)  # ENanValueTreatment


@dataclass(frozen=True)
class Borders:
    """One feature of numbers: its column, its borders rising, and how NaN compares with them."""

    column: int
    name: str
    values: Array
    missing: int


@dataclass(frozen=True)
class CatBoostModel:
    """Splits are numbers into all features' borders, one after the other, then one-hot values, then borders of target statistics. Of tree t
    they are splits[starts[t]:starts[t] + sizes[t]].

    A symmetric tree has one split per level. Otherwise there is one node per split: `steps` (nodes, 2) are distances to the next node on
    the left (not above the border) and on the right, 0 where the way ends in the values that begin at `leaf_ids`.
    """

    dimension: int
    column_count: int
    features: tuple[Borders, ...]
    splits: Array = field(repr=False)
    sizes: Array = field(repr=False)
    starts: Array = field(repr=False)
    leaf_values: Array = field(repr=False)
    steps: Array = field(repr=False)
    leaf_ids: Array = field(repr=False)
    scale: float = 1.0
    bias: Array = field(repr=False, default_factory=lambda: np.zeros(1))
    info: Mapping[str, str] = field(default_factory=dict)
    categories: Categories = field(default_factory=Categories)

    @property
    def is_symmetric(self) -> bool:
        """Whether all nodes of a level share their split."""
        return not len(self.steps)

    def description(self, name: str) -> dict[str, Any]:
        """Return a part of the description that is JSON; empty where it is absent. Raises SourceError."""
        try:
            found = json.loads(self.info.get(name, "{}"))
        except (ValueError, RecursionError):
            raise damaged(f"'{name}' is no JSON") from None
        if not isinstance(found, dict):
            raise damaged(f"'{name}' is no object")
        return found


def parse_catboost(data: bytes) -> CatBoostModel:
    """Return the model in `data`."""
    if len(data) > SIZE_LIMIT_BYTES:
        raise UnsupportedError(f"The CatBoost model is larger than {SIZE_LIMIT_BYTES} bytes.", hint="Train it with fewer trees.")
    size = int.from_bytes(data[4:8], "little")
    if data[:4] != _MAGIC or not 8 < 8 + size <= len(data):
        raise damaged("it breaks off, or does not begin as such a file does")
    core = data[8 : 8 + size]
    try:
        root = FlatTable.root(core)
        if root.text(_FORMAT) != _VERSION:
            raise UnsupportedError(f"The CatBoost model has format '{shorten(root.text(_FORMAT), 40)}'.", hint="Save it with CatBoost 1.2.")
        model, parts = _model(root), root.texts(_PARTS)
        if parts != ([PART] if model.categories.has_tables else []) or (len(data) > 8 + size and not parts):
            raise damaged("something follows after its trees")
        if parts:
            check_tables(model.categories, data[8 + size :])
    except (ValueError, OverflowError) as error:
        raise damaged(str(error)) from None
    return model


def _model(root: FlatTable) -> CatBoostModel:
    trees = root.table(_TREES)
    for number, name in _REFUSED.items():
        if trees.tables(number):
            raise UnsupportedError(
                f"The CatBoost model uses {name}.",
                hint="Encode them as numbers (scikit-learn's TfidfVectorizer in a Pipeline), and train on those.",
            )
    features, categories = _features(trees)
    columns = [*(feature.column for feature in features), *(category.column for category in categories.columns)]
    model = CatBoostModel(
        dimension=int(trees.number(_DIMENSION, "i", 1)),
        column_count=max(columns, default=-1) + 1,
        features=features,
        splits=trees.array(_SPLITS, "<i4"),
        sizes=trees.array(_SIZES, "<i4"),
        starts=trees.array(_STARTS, "<i4"),
        leaf_values=trees.array(_LEAF_VALUES, "<f8"),
        steps=trees.array(_STEPS, "<u2,<u2").view("<u2").reshape(-1, 2).astype(np.int64),
        leaf_ids=trees.array(_LEAF_IDS, "<u4").astype(np.int64),
        scale=trees.number(_SCALE, "d", 1.0),
        bias=_bias(trees),
        info=_info(root),
        categories=categories,
    )
    _check(model)
    _check_packed(model, trees.array(_PACKED, "<u4"))
    return model


def _features(trees: FlatTable) -> tuple[tuple[Borders, ...], Categories]:
    """Return the features of numbers and those of categories; each has a column of its own."""
    tables = trees.tables(_FLOAT_FEATURES)
    features = tuple(_feature(table) for table in tables)
    borders = {int(table.number(1, "i", -1)): feature.values for table, feature in zip(tables, features, strict=True)}
    categories = read_categories(trees.tables(_CAT_FEATURES), trees.tables(_ONE_HOT_FEATURES), trees.tables(_CTR_FEATURES), borders)
    numbers, texts = [feature.column for feature in features], [category.column for category in categories.columns]
    is_ordered = numbers == sorted(set(numbers)) and texts == sorted(set(texts)) and not set(numbers) & set(texts)
    if not is_ordered or not all(0 <= column < 2**20 for column in (*numbers, *texts)):
        raise damaged("its features are not in order")
    return features, categories


def _feature(table: FlatTable) -> Borders:
    values, missing = table.array(3, "<f4"), int(table.number(5, "b", AS_IS))
    column = int(table.number(2, "i", -1))
    if column < 0 or missing not in (AS_IS, AS_FALSE, AS_TRUE) or not np.isfinite(values).all() or (np.diff(values) <= 0).any():
        raise damaged("a feature has no column, or borders that do not rise")
    return Borders(column, table.text(4), values, missing)


def _bias(trees: FlatTable) -> Array:
    several = trees.array(_MULTI_BIAS, "<f8")
    return several if len(several) else np.array([trees.number(_BIAS, "d", 0.0)])


def _info(root: FlatTable) -> dict[str, str]:
    info: dict[str, str] = {}
    for entry in root.tables(_INFO):
        if entry.text(0) in info:
            raise damaged(f"'{entry.text(0)}' stands in it twice")
        info[entry.text(0)] = entry.text(1)
    return info


def _check(model: CatBoostModel) -> None:
    """Every index in its range, and every number used once."""
    borders = sum(len(feature.values) for feature in model.features)
    borders += sum(model.categories.one_hot_counts) + sum(model.categories.border_counts)
    if not 1 <= model.dimension <= 2**16 or len(model.bias) != model.dimension or not len(model.sizes):
        raise damaged("it has no outputs, no trees, or another number of bias values")
    if not (np.isfinite(model.leaf_values).all() and np.isfinite(model.bias).all() and np.isfinite(model.scale)):
        raise damaged("a leaf, the scale or the bias is not a finite number")
    if (model.sizes < 0).any() or len(model.starts) != len(model.sizes):
        raise damaged("its trees have no sizes")
    expected = np.cumsum([0, *model.sizes.astype(np.int64)])
    if not np.array_equal(model.starts, expected[:-1]) or expected[-1] != len(model.splits):
        raise damaged("its trees do not lie one after the other")
    if ((model.splits < 0) | (model.splits >= max(borders, 1))).any():
        raise damaged("a split names a border that does not exist")
    if not model.is_symmetric:
        _check_steps(model)
        return
    if (model.sizes > _DEPTH_LIMIT).any():
        raise damaged(f"a tree is deeper than {_DEPTH_LIMIT}")
    if int((2 ** model.sizes.astype(np.int64)).sum()) * model.dimension != len(model.leaf_values):
        raise damaged("its trees have another number of leaves than values")


def _check_steps(model: CatBoostModel) -> None:
    count = len(model.splits)
    if len(model.steps) != count or len(model.leaf_ids) != count or (model.sizes < 1).any():
        raise damaged("its trees have no nodes, or nodes without steps")
    ends = np.repeat(np.cumsum(model.sizes.astype(np.int64)), model.sizes)
    if ((np.arange(count)[:, np.newaxis] + model.steps) >= ends[:, np.newaxis]).any():
        raise damaged("a step leads out of its tree")
    terminal = (model.steps == 0).any(axis=1)
    if (model.leaf_ids[terminal] + model.dimension > len(model.leaf_values)).any():
        raise damaged("a leaf has no values")


def _check_packed(model: CatBoostModel, packed: Array) -> None:
    """CatBoost walks by these copies of the splits where they are there: bin, mask of one-hot splits, and place in the bin plus one.

    A one-hot split is met where the bin, changed by the mask, is 255 or more: so the mask is the place's complement.
    """
    if not len(packed):
        return
    kinds = [(len(feature.values), False) for feature in model.features]
    kinds += [(count, True) for count in model.categories.one_hot_counts]
    kinds += [(count, False) for count in model.categories.border_counts]
    places: list[int] = []
    bins = itertools.count()
    for count, is_one_hot in kinds:
        for start in range(0, count, _BORDERS_OF_A_BIN):
            number = next(bins)
            marks = range(1, min(_BORDERS_OF_A_BIN, count - start) + 1)
            places.extend(number | (~mark & 0xFF) << 16 | 0xFF << 24 if is_one_hot else number | mark << 24 for mark in marks)
    known = np.array([*places, 0], dtype=np.uint32)
    if len(packed) != len(model.splits) or (places and not np.array_equal(packed, known[model.splits])):
        raise damaged("its packed splits are not its splits")
