"""CatBoost's files are taken apart without CatBoost: offsets and indices that lead elsewhere are refused, whatever they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.engines.tree_ensemble_engine import sums_of
from fairlead.errors import InputError, SourceError, UnsupportedError
from fairlead.security.catboost_model import parse_catboost
from fairlead.security.catboost_trees import answers_of, ensemble_of
from fairlead.security.flat_table import FlatTable

DATA = Path(__file__).parents[2] / "data" / "trees"
SYMMETRIC, LOSSGUIDE = ((DATA / name).read_bytes() for name in ("symmetric.cbm", "lossguide.cbm"))


def reads(data: bytes) -> None:
    model = parse_catboost(data)
    answers_of(model)
    ensemble_of(model).check()


def trees_of(data: bytes) -> FlatTable:
    return FlatTable.root(data[8:]).table(1)


def vector_place(data: bytes, field: int) -> int:
    """Where the first number of a vector of TModelTrees stands in the file."""
    trees = trees_of(data)
    place = trees._place + int(trees._fields[field])
    return 8 + place + int.from_bytes(data[8 + place : 12 + place], "little") + 4


def with_number(data: bytes, place: int, value: int, width: int = 4) -> bytes:
    return data[:place] + value.to_bytes(width, "little", signed=value < 0) + data[place + width :]


def test_labels_outputs_and_features_are_read():
    model = parse_catboost(SYMMETRIC)
    assert answers_of(model).labels == ("hïgh", "low", "mid")
    ensemble = ensemble_of(model)
    assert (ensemble.output_count, ensemble.feature_count, ensemble.tree_count) == (3, 3, 3)


def test_a_missing_value_goes_where_the_file_says():
    ensemble = ensemble_of(parse_catboost(LOSSGUIDE))
    rows = np.array([[0, 0, np.nan], [0, 0, -np.inf]], dtype=np.float32)
    first, second = sums_of(ensemble, rows)
    assert first == second  # NaN counts as less than every border


@pytest.mark.parametrize("data", [SYMMETRIC, LOSSGUIDE], ids=["symmetric", "lossguide"])
@pytest.mark.parametrize("value", [-1, 999_999, 2**31 - 1])
@pytest.mark.parametrize(("field", "reason"), [(1, "border"), (2, "tree"), (3, "one after the other")])
def test_splits_sizes_and_starts_out_of_range_are_refused(data: bytes, value: int, field: int, reason: str):
    with pytest.raises(SourceError, match=reason):
        reads(with_number(data, vector_place(data, field), value))


def test_a_step_out_of_its_tree_is_refused():
    with pytest.raises(SourceError, match="out of its tree"):
        reads(with_number(LOSSGUIDE, vector_place(LOSSGUIDE, 10), 60_000, 2))


def test_two_steps_to_one_node_are_refused():
    with pytest.raises(SourceError, match="reached"):
        reads(with_number(LOSSGUIDE, vector_place(LOSSGUIDE, 10) + 2, 1, 2))


def test_a_leaf_without_values_is_refused():
    ids = parse_catboost(LOSSGUIDE).leaf_ids
    leaf = int(np.flatnonzero(ids < 2**31)[0])
    with pytest.raises(SourceError, match="no values"):
        reads(with_number(LOSSGUIDE, vector_place(LOSSGUIDE, 11) + 4 * leaf, 2**31 - 1))


def test_packed_splits_that_say_something_else_are_refused():
    """CatBoost walks by the packed copies: a file whose copies differ would answer otherwise than what was checked."""
    with pytest.raises(SourceError, match="packed"):
        place = vector_place(SYMMETRIC, 17) + 3
        reads(with_number(SYMMETRIC, place, SYMMETRIC[place] + 1, 1))


def test_what_follows_the_trees_is_refused():
    with pytest.raises(SourceError, match="follows"):
        reads(SYMMETRIC + b"\0")


def test_every_truncation_is_refused():
    for length in range(0, len(SYMMETRIC), 97):
        with pytest.raises(SourceError):
            reads(SYMMETRIC[:length])


def test_an_unknown_loss_and_an_own_threshold_are_refused_by_name():
    loss = SYMMETRIC.replace(b'"loss_function":{"type":"MultiClass"', b'"loss_function":{"type":"MultiKlass"')
    assert loss != SYMMETRIC
    with pytest.raises(UnsupportedError, match="MultiKlass"):
        reads(loss)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_mutated_files_are_read_soundly_or_refused(data: st.DataObject):
    source = bytearray(data.draw(st.sampled_from([SYMMETRIC, LOSSGUIDE])))
    first = vector_place(bytes(source), 1) - 200
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.one_of(st.integers(0, 200), st.integers(first, min(first + 2500, len(source) - 1))))
        source[place] = data.draw(st.integers(0, 255))
    try:
        reads(bytes(source))
    except InputError:
        return


@pytest.fixture(scope="module")
def catboost():
    return pytest.importorskip("catboost", reason="the extra 'catboost' is not installed")


ROWS = np.random.default_rng(0).normal(size=(400, 5)).astype(np.float32)
ROWS[np.random.default_rng(1).random(400) < 0.3, 3] = np.nan
BINARY = (ROWS[:, 0] + np.nan_to_num(ROWS[:, 3]) > 0).astype(int)
SEVERAL = np.array(["a", "b", "é"])[np.digitize(ROWS[:, 0], [-0.5, 0.5])]
NUMBER = 2 * ROWS[:, 0] + ROWS[:, 1]

MODELS = {
    "binary": ({"loss_function": "Logloss"}, BINARY),
    "several classes with text labels": ({"loss_function": "MultiClass"}, SEVERAL),
    "one against all": ({"loss_function": "MultiClassOneVsAll"}, SEVERAL),
    "cross entropy": ({"loss_function": "CrossEntropy"}, BINARY),
    "missing is largest": ({"loss_function": "Logloss", "nan_mode": "Max"}, BINARY),
    "lossguide": ({"loss_function": "RMSE", "grow_policy": "Lossguide"}, NUMBER),
    "depthwise": ({"loss_function": "MultiClass", "grow_policy": "Depthwise"}, SEVERAL),
    "numbers": ({"loss_function": "RMSE"}, NUMBER),
    "several numbers": ({"loss_function": "MultiRMSE"}, np.stack([NUMBER, -NUMBER], axis=1)),
    "Poisson": ({"loss_function": "Poisson"}, np.abs(NUMBER)),
    "more borders than a bin holds": ({"loss_function": "RMSE", "border_count": 390}, NUMBER),
}


@pytest.mark.parametrize("name", MODELS)
def test_every_kind_of_model_answers_as_catboost(name: str, tmp_path: Path, catboost) -> None:
    parameters, target = MODELS[name]
    trained = catboost.CatBoost(
        {"iterations": 12, "depth": 4, "verbose": 0, "thread_count": 1, "allow_writing_files": False, **parameters}
    ).fit(ROWS, target)
    trained.save_model(tmp_path / "model.cbm")
    ensemble = ensemble_of(parse_catboost((tmp_path / "model.cbm").read_bytes()))
    parts = [ROWS]
    for node in np.flatnonzero(ensemble.splits)[:300]:
        threshold = np.float32(ensemble.thresholds[node])
        marks = [threshold, np.nextafter(threshold, np.float32(9e9)), np.nextafter(threshold, np.float32(-9e9)), np.nan, np.inf, -np.inf]
        block = np.repeat(ROWS[node % 400][np.newaxis], len(marks), axis=0)
        block[:, ensemble.features[node]] = marks
        parts.append(block)
    rows = np.vstack(parts)
    sums = sums_of(ensemble, rows)
    expected = trained.predict(rows, prediction_type="RawFormulaVal").reshape(sums.shape)
    np.testing.assert_allclose(sums, expected, rtol=1e-14, atol=1e-14)
    if ensemble.is_decided_by_sum:
        labels = answers_of(parse_catboost((tmp_path / "model.cbm").read_bytes())).labels
        index = np.argmax(sums, axis=1) if sums.shape[1] > 1 else (sums[:, 0] > 0).astype(int)
        wanted = [str(label) for label in trained.predict(rows, prediction_type="Class").reshape(-1)]
        assert [str(labels[place]) for place in index] == wanted
