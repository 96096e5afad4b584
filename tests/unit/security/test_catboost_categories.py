"""Tables of categories are taken apart without CatBoost: what it would search without an end, or read out of bounds, is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.errors import InputError, SourceError, UnsupportedError
from fairlead.security.catboost_model import parse_catboost
from fairlead.security.catboost_trees import answers_of, ensemble_of
from fairlead.security.flat_table import FlatTable

DATA = Path(__file__).parents[2] / "data" / "trees"
SEVERAL, STATISTICS = ((DATA / name).read_bytes() for name in ("categories.cbm", "statistics.cbm"))
BUCKET_BYTES = 12
FULL = 2**64 - 1


def first_table(data: bytes) -> int:
    """Where the first table behind the trees begins."""
    return 8 + int.from_bytes(data[4:8], "little") + 8


def field_place(data: bytes, number: int, *, is_vector: bool = True) -> int:
    """Where a field of the first table, or the first element of its vector, stands in the file."""
    start = first_table(data)
    table = FlatTable.root(data[start:])
    place = table._place + int(table._fields[number])
    return start + place + (int.from_bytes(data[start + place :][:4], "little") + 4 if is_vector else 0)


def changed(data: bytes, place: int, value: int, width: int = 4) -> bytes:
    return data[:place] + value.to_bytes(width, "little", signed=value < 0) + data[place + width :]


def buckets(data: bytes) -> list[tuple[int, int]]:
    """(place, hash) of each bucket of the first table."""
    place = field_place(data, 1)
    count = int.from_bytes(data[place - 4 : place], "little") // BUCKET_BYTES
    places = [place + BUCKET_BYTES * number for number in range(count)]
    return [(each, int.from_bytes(data[each : each + 8], "little")) for each in places]


def test_columns_one_hot_values_and_statistics_are_read() -> None:
    model = parse_catboost(SEVERAL)
    columns = [(item.column, item.name, item.is_used) for item in model.categories.columns]
    assert columns == [(0, "city", True), (2, "kind", True), (3, "zip", False)]
    assert model.categories.one_hot_counts == (1,)
    assert model.categories.border_counts == (2, 1, 1, 1)
    assert (model.column_count, [feature.column for feature in model.features]) == (4, [1])
    assert answers_of(model).labels == ("maybe", "no", "yes")
    assert parse_catboost(STATISTICS).categories.has_tables


def test_trees_that_ask_for_categories_are_no_trees_of_ours() -> None:
    with pytest.raises(UnsupportedError, match="categories") as refused:
        ensemble_of(parse_catboost(SEVERAL))
    assert "save_model" in refused.value.hint


def test_a_bucket_of_numbers_that_do_not_exist_is_refused() -> None:
    place, _ = next(item for item in buckets(SEVERAL) if item[1] != FULL)
    with pytest.raises(SourceError, match="numbers that do not exist"):
        parse_catboost(changed(SEVERAL, place + 8, 2**27))


def test_a_table_without_an_empty_bucket_would_be_searched_for_ever_and_is_refused() -> None:
    data = SEVERAL
    for number, (place, digest) in enumerate(buckets(SEVERAL)):
        data = changed(data, place, 12_345 + number, 8) if digest == FULL else data
    with pytest.raises(SourceError, match="cannot be searched"):
        parse_catboost(data)


@pytest.mark.parametrize("length", [95, 84, 0, 12 * 6, 2**31 - 1])
def test_a_table_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(SourceError):
        parse_catboost(changed(SEVERAL, field_place(SEVERAL, 1) - 4, length))


@pytest.mark.parametrize("classes", [0, 1, -1, 2**30, 5])
def test_classes_that_the_numbers_do_not_have_are_refused(classes: int) -> None:
    with pytest.raises(SourceError):
        parse_catboost(changed(SEVERAL, field_place(SEVERAL, 4, is_vector=False), classes))


def test_tables_that_are_missing_or_too_many_are_refused() -> None:
    end = 8 + int.from_bytes(SEVERAL[4:8], "little")
    for data in (SEVERAL[:end], SEVERAL[:end] + bytes(4), changed(SEVERAL, end, 2), SEVERAL + b"\0", SEVERAL + SEVERAL[end + 4 :]):
        with pytest.raises(SourceError):
            parse_catboost(data)
    twice = changed(SEVERAL, end, 2) + SEVERAL[end + 4 :]
    with pytest.raises(SourceError, match="twice"):
        parse_catboost(twice)


@pytest.mark.parametrize("data", [SEVERAL, STATISTICS], ids=["several classes", "numbers"])
def test_every_truncation_is_refused(data: bytes) -> None:
    for length in range(0, len(data), 61):
        with pytest.raises(SourceError):
            parse_catboost(data[:length])


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_mutated_files_are_read_soundly_or_refused(data: st.DataObject) -> None:
    source = bytearray(data.draw(st.sampled_from([SEVERAL, STATISTICS])))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.one_of(st.integers(0, len(source) - 1), st.integers(first_table(bytes(source)), len(source) - 1)))
        source[place] = data.draw(st.integers(0, 255))
    try:
        model = parse_catboost(bytes(source))
    except InputError:
        return
    total = sum(len(feature.values) for feature in model.features)
    total += sum(model.categories.one_hot_counts) + sum(model.categories.border_counts)
    assert ((model.splits >= 0) & (model.splits < total)).all()


CITIES, KINDS = np.array(["Rome", "Oslo", "Köln", ""]), np.array(["a", "b"])
DRAW = np.random.default_rng(4)
TABLE = [[str(DRAW.choice(CITIES)), float(DRAW.uniform(18, 90)), str(DRAW.choice(KINDS)), int(DRAW.integers(0, 12))] for _ in range(300)]
NUMBER = np.array([row[1] * 0.05 + 2 * (row[0] == "Oslo") + row[3] % 3 for row in TABLE])
MODELS = {
    "one-hot only": {"one_hot_max_size": 100},
    "combined with numbers and each other": {"iterations": 40, "depth": 6, "max_ctr_complexity": 4},
    "every kind of statistic": {
        "one_hot_max_size": 2,
        "simple_ctr": [
            "Borders:TargetBorderCount=3",
            "Buckets:TargetBorderCount=2",
            "BinarizedTargetMeanValue:TargetBorderCount=2",
            "Counter",
        ],
    },
    "two numbers": {"loss_function": "MultiRMSE"},
    "leaf-wise": {"grow_policy": "Lossguide"},
    "level-wise": {"grow_policy": "Depthwise", "one_hot_max_size": 4},
}


@pytest.mark.parametrize("name", MODELS)
def test_what_catboost_writes_is_sound(name: str, tmp_path: Path) -> None:
    catboost = pytest.importorskip("catboost", reason="the extra 'catboost' is not installed")
    fixed = {"iterations": 8, "depth": 3, "thread_count": 1, "allow_writing_files": False, "random_seed": 0}
    model = catboost.CatBoostRegressor(**fixed | MODELS[name]).fit(
        TABLE, np.stack([NUMBER, -NUMBER], 1) if name == "two numbers" else NUMBER, cat_features=[0, 2, 3], verbose=0
    )
    model.save_model(tmp_path / "model.cbm")
    found = parse_catboost((tmp_path / "model.cbm").read_bytes())
    assert [item.column for item in found.categories.columns] == [0, 2, 3]
    assert found.categories.one_hot_counts or found.categories.border_counts
