"""Categories in CatBoost's own model file: columns of text, one-hot values, and the tables of target statistics behind the trees.

Takes tables of the file's flatbuffer and the bytes behind it; gives what a split may name, counted. CatBoost checks none of what is checked
here: it looks a category's hash up until it meets an empty bucket, and reads the numbers that the bucket names. Raises SourceError for
damage. Hashes nothing, answers nothing. Layout: catboost/libs/model/flatbuffers/{features,ctr_data}.fbs and ctr_value_table.cpp
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from fairlead.core.interface import Array, shorten
from fairlead.errors import SourceError
from fairlead.security.flat_table import FlatTable

PART = "static_provider_v1"
_BORDERS, _BUCKETS, _MEAN, _FLOAT_MEAN, _COUNTER, _FREQUENCY = range(6)  # ECtrType
_BUCKET = np.dtype([("hash", "<u8"), ("index", "<u4")])
_EMPTY_HASH = 2**64 - 1
_TABLE_LIMIT = 2**16
# What a table is of: columns of categories, splits of numbers, one-hot splits, ECtrType, and which target where there are several.
Base = tuple[tuple[int, ...], tuple[tuple[int, float], ...], tuple[tuple[int, int], ...], int, int]


@dataclass(frozen=True)
class Category:
    """One column of categories; `is_used` where a tree asks for it."""

    column: int
    name: str
    is_used: bool


@dataclass(frozen=True)
class Categories:
    """All columns of categories, how many values each one-hot feature has, and how many borders each target statistic.

    `bases` are the tables that target statistics ask, each with the highest class that is asked of it.
    """

    columns: tuple[Category, ...] = ()
    one_hot_counts: tuple[int, ...] = ()
    border_counts: tuple[int, ...] = ()
    bases: dict[Base, int] = field(default_factory=dict, repr=False)

    @property
    def has_tables(self) -> bool:
        """Whether tables of target statistics follow after the trees."""
        return bool(self.border_counts)


def damaged(problem: str) -> SourceError:
    """Return the error for a file that CatBoost does not write."""
    return SourceError(f"The CatBoost model is not sound: {shorten(problem, 200)}.", hint="Save the model again with save_model(path).")


def read_categories(
    columns: list[FlatTable], one_hot: list[FlatTable], statistics: list[FlatTable], borders: dict[int, Array]
) -> Categories:
    """Return what three vectors of TModelTrees say; `borders` are those of the features of numbers, by their index."""
    found = tuple(Category(int(item.number(1, "i", -1)), item.text(2), bool(item.number(3, "b", 1))) for item in columns)
    if [int(item.number(0, "i", -1)) for item in columns] != list(range(len(columns))):
        raise damaged("its columns of categories are not in order")
    values = dict(_one_hot(item, found) for item in one_hot)
    if len(values) != len(one_hot):
        raise damaged("a column's one-hot values stand in it twice")
    bases: dict[Base, int] = {}
    counts = []
    for item in statistics:
        base, place = _statistic(item)
        _check_combination(base, found, values, borders)
        bases[base] = max(bases.get(base, 0), place)
        counts.append(len(_rising(item.array(1, "<f4"))))
    return Categories(found, tuple(map(len, values.values())), tuple(counts), bases)


def _one_hot(item: FlatTable, columns: tuple[Category, ...]) -> tuple[int, frozenset[int]]:
    index, values = int(item.number(0, "i", -1)), item.array(1, "<i4").tolist()
    _check_used([index], columns)
    if not values or len(set(values)) != len(values) or len(item.texts(2)) not in (0, len(values)):
        raise damaged("a column has no one-hot values, or one of them twice")
    return index, frozenset(values)


def _check_used(indices: Iterable[int], columns: tuple[Category, ...]) -> None:
    if any(not 0 <= index < len(columns) or not columns[index].is_used for index in indices):
        raise damaged("it uses a column of categories that does not exist")


def _rising(borders: Array) -> Array:
    if not np.isfinite(borders).all() or (np.diff(borders) <= 0).any():
        raise damaged("a target statistic has borders that do not rise")
    return borders


def _statistic(item: FlatTable) -> tuple[Base, int]:
    """Return what a TCtrFeature computes, and the class that it asks of the table."""
    statistic = item.table(0)
    place = int(statistic.number(1, "i", 0))
    numbers = [statistic.number(number, "f", default) for number, default in ((2, 0.0), (3, 1.0), (4, 0.0), (5, 1.0))]
    if place < 0 or not np.isfinite(numbers).all():
        raise damaged("a target statistic asks for a class that does not exist, or has numbers that are none")
    return _base(statistic.table(0)), place


def _base(base: FlatTable) -> Base:
    """Return a TModelCtrBase as a key."""
    combination, kind = base.table(0), int(base.number(1, "b", 0))
    if not _BORDERS <= kind <= _FREQUENCY:
        raise damaged("a target statistic is of a kind that is not known")
    numbers, one_hot = combination.array(1, "<i4,<f4").tolist(), combination.array(2, "<i4,<i4").tolist()
    columns, target = tuple(combination.array(0, "<i4").tolist()), int(base.number(2, "i", 0))
    return columns, tuple(map(tuple, numbers)), tuple(map(tuple, one_hot)), kind, target


def _check_combination(base: Base, columns: tuple[Category, ...], values: dict[int, frozenset[int]], borders: dict[int, Array]) -> None:
    categories, numbers, one_hot, _, _ = base
    _check_used(categories, columns)
    for index, border in numbers:
        if index not in borders or np.float32(border) not in borders[index]:
            raise damaged("a target statistic combines a border that does not exist")
    if not categories or any(value not in values.get(index, ()) for index, value in one_hot):
        raise damaged("a target statistic combines nothing, or a value that does not exist")


def check_tables(categories: Categories, data: bytes) -> None:
    """Raise SourceError unless `data` is exactly the tables that the target statistics ask, each sound."""
    count, place = int.from_bytes(data[:4], "little"), 4
    if len(data) < 4 or count > _TABLE_LIMIT:
        raise damaged("its tables break off")
    seen = set()
    for _ in range(count):
        size = int.from_bytes(data[place : place + 4], "little")
        if not 8 <= size <= len(data) - place - 4:
            raise damaged("its tables break off")
        base = _check_table(FlatTable.root(data[place + 4 : place + 4 + size]), categories)
        if base in seen:
            raise damaged("a table stands in it twice")
        seen.add(base)
        place += 4 + size
    if place != len(data) or seen != set(categories.bases):
        raise damaged("its tables are not those of its target statistics")


def _check_table(table: FlatTable, categories: Categories) -> Base:
    base = _base(table.table(0))
    buckets, blob = table.array(1, "<u1"), table.array(2, "<u1")
    classes = int(table.number(4, "i", 0))
    by_class = base[3] in (_BORDERS, _BUCKETS)
    if by_class and not max(2, categories.bases.get(base, 0) + 1) <= classes <= 2**16:
        raise damaged("a table has fewer classes than are asked of it")
    entry_bytes = 4 * classes if by_class else 8 if base[3] in (_MEAN, _FLOAT_MEAN) else 4
    if len(blob) % entry_bytes or len(buckets) % _BUCKET.itemsize:
        raise damaged("a table's numbers break off")
    found = buckets.view(_BUCKET)
    is_used = found["hash"] != _EMPTY_HASH
    # A search starts at the hash's last bits and ends at an empty bucket: without one it would never end.
    if len(found) & (len(found) - 1) or is_used.all():
        raise damaged("a table cannot be searched")
    if (found["index"][is_used] >= len(blob) // entry_bytes).any():
        raise damaged("a table names numbers that do not exist")
    return base
