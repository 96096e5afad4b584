"""Rows are chosen in proportion and with a seed; what a model is made with and what it is proven on share no row."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.dataset import Dataset
from fairlead.core.dtype import DType
from fairlead.core.interface import Decision, DecisionKind, Interface, TensorSpec
from fairlead.datasets.row_choice import check_apart, check_calibration, choose, count_outside, set_apart
from fairlead.errors import DataError

RNG = np.random.default_rng(0)


def interface(kind: DecisionKind = DecisionKind.ARGMAX) -> Interface:
    return Interface((TensorSpec("x", DType.FP32, (None, 4)),), (TensorSpec("y", DType.FP32, (None, 3)),), decision=Decision(kind, "y"))


def dataset(rows: int, target: np.ndarray | None = None) -> Dataset:
    return Dataset({"x": RNG.normal(size=(rows, 4)).astype(np.float32)}, target, description="some rows")


def coarse(rows: int, kinds: int, random: np.random.Generator = RNG) -> Dataset:
    """Rows as in a table of a few categories."""
    return Dataset({"x": random.integers(0, kinds, size=(rows, 1)).repeat(4, axis=1).astype(np.float32)})


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8), st.integers(1, 200), st.integers(0, 5))
def test_every_class_is_chosen_in_proportion(sizes: list[int], count: int, seed: int) -> None:
    target = np.repeat(np.arange(len(sizes)), sizes)
    chosen = choose(Dataset({"x": np.arange(len(target), dtype=np.float32)[:, None]}, target), interface(), count=count, seed=seed)
    assert chosen.rows == min(count, len(target))
    assert chosen.target is not None
    counts = Counter(chosen.target.tolist())
    if count >= len(sizes):
        assert set(counts) == set(range(len(sizes)))
    raised = sum(size * count < len(target) for size in sizes)
    for label, size in enumerate(sizes):
        assert abs(counts[label] - chosen.rows * size / len(target)) <= 1 + raised


def test_a_choice_is_repeatable_keeps_its_order_and_says_what_it_is() -> None:
    data = dataset(100, np.arange(100) % 3)
    one, two, other = (choose(data, interface(), count=10, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one.inputs["x"], two.inputs["x"])
    assert not np.array_equal(one.inputs["x"], other.inputs["x"])
    places = [int(np.flatnonzero((data.inputs["x"] == row).all(axis=1))[0]) for row in one.inputs["x"]]
    assert places == sorted(places)
    assert one.target is not None
    assert one.target.tolist() == [place % 3 for place in places]
    assert one.description == "some rows; 10 of 100 rows, seed 1"


def test_few_rows_are_all_taken() -> None:
    data = dataset(5)
    assert choose(data, interface(), count=5, seed=0) is data


def test_parts_share_no_row_even_where_rows_repeat() -> None:
    once = dataset(300)
    data = Dataset({"x": np.concatenate([once.inputs["x"], once.inputs["x"][::-1]])}, np.arange(600) % 3)
    chosen, rest = set_apart(data, interface(), count=100, seed=3)
    assert chosen.rows + rest.rows == 600
    assert 100 <= chosen.rows <= 106
    assert check_apart(rest, chosen) == ()
    assert chosen.target is not None
    assert set(chosen.target.tolist()) == {0, 1, 2}
    assert "set apart with seed 3" in chosen.description


def test_rows_of_a_few_kinds_are_divided_like_others() -> None:
    chosen, rest = set_apart(coarse(400, 8), interface(), count=100, seed=0)
    assert (chosen.rows, rest.rows) == (100, 300)
    assert "taken for chance" in check_apart(rest, chosen)[0]


def test_nothing_is_set_apart_where_nothing_would_be_left() -> None:
    with pytest.raises(DataError, match="none is left"):
        set_apart(dataset(10), interface(), count=10, seed=0)
    with pytest.raises(DataError, match="too few"):
        set_apart(dataset(2, np.array([0, 1])), interface(), count=1, seed=0)
    with pytest.raises(DataError, match="0 rows"):
        choose(dataset(2), interface(), count=0, seed=0)


def test_a_leaked_row_is_named_on_both_sides() -> None:
    evaluation, training = dataset(50), dataset(80)
    training.inputs["x"][70] = evaluation.inputs["x"][7]
    with pytest.raises(DataError, match=r"1 of 50 evaluation rows .* the calibration rows: row 7 \(there 70\)\.") as caught:
        check_apart(evaluation, training, called="calibration")
    assert "leave them out" in caught.value.hint


def test_rows_of_the_same_file_are_refused_and_the_first_five_named() -> None:
    data = dataset(40)
    with pytest.raises(DataError, match=r"40 of 40 .*row 0 \(there 0\), .* and 35 more"):
        check_apart(data, data)


def test_a_zero_with_a_sign_and_another_nan_are_the_same_row() -> None:
    one, other = dataset(20), dataset(20)
    one.inputs["x"][3] = [0.0, 1.0, np.nan, 2.0]
    other.inputs["x"][4] = [-0.0, 1.0, -np.nan, 2.0]
    with pytest.raises(DataError, match="row 3"):
        check_apart(one, other)


def test_equal_texts_are_equal_rows_and_others_are_not() -> None:
    def texts(*words: str) -> Dataset:
        return Dataset({"x": np.array(words, dtype=object)[:, None]})

    with pytest.raises(DataError, match=r"row 1 \(there 0\)"):
        check_apart(texts("a", "größer"), texts("größer", "c"))
    assert check_apart(texts("a", "b"), texts("ab", "c")) == ()


@pytest.mark.parametrize("kinds", [5, 60, 500, 3000])
def test_rows_that_repeat_by_chance_are_no_leak(kinds: int) -> None:
    random = np.random.default_rng(1)
    for _ in range(20):
        check_apart(coarse(1000, kinds, random), coarse(300, kinds, random))


def test_a_leak_among_rows_that_repeat_now_and_then_is_found() -> None:
    evaluation, training = coarse(200, 20_000), coarse(1000, 20_000)
    training.inputs["x"][:60] = evaluation.inputs["x"][:60]
    with pytest.raises(DataError, match="evaluation rows are also"):
        check_apart(evaluation, training)


def test_calibration_rows_of_one_class_are_refused() -> None:
    evaluation = dataset(60, np.arange(60) % 3)
    with pytest.raises(DataError, match=r"All 20 calibration rows are of one class, 2\.") as caught:
        check_calibration(dataset(20, np.full(20, 2)), evaluation, interface())
    assert "shuffle" in caught.value.hint
    with pytest.raises(DataError, match="one class"):
        check_calibration(dataset(20), evaluation, interface(), decided=np.zeros(20, dtype=np.int64))


def test_a_number_is_no_class() -> None:
    assert not [
        said for said in check_calibration(dataset(20, np.full(20, 2.0)), dataset(9), interface(DecisionKind.VALUE)) if "class" in said
    ]


def test_classes_that_calibration_lacks_are_named() -> None:
    said = check_calibration(dataset(20, np.arange(20) % 2), dataset(60, np.arange(60) % 4), interface())
    assert "no calibration row is of 2 of the 4 classes: 2, 3" in said


def test_calibration_rows_that_are_all_equal_or_hold_no_number_are_refused() -> None:
    with pytest.raises(DataError, match="equal"):
        check_calibration(Dataset({"x": np.ones((8, 4), np.float32)}), dataset(9), interface())
    empty = dataset(3)
    empty.inputs["x"][:, 0] = 1.0
    nothing = Dataset({"x": np.array([[np.nan] * 4, [np.inf] * 4], dtype=np.float32)})
    with pytest.raises(DataError, match="finite"):
        check_calibration(nothing, dataset(9), interface())


def test_values_outside_of_the_calibrated_range_are_counted() -> None:
    calibration = Dataset({"x": np.array([[0, 1, 2, 3], [np.nan, 1, np.inf, 4]], dtype=np.float32)})
    evaluation = Dataset({"x": np.array([[0, 5, 6, 3], [np.nan, 1, 1, 1], [-1, 1, 1, 1]], dtype=np.float32)})
    (item,) = count_outside(evaluation, calibration)
    assert (item.low, item.high, item.value_count, item.row_count) == (0.0, 4.0, 3, 2)
    assert "3 values in 2 of 3 evaluation rows" in check_calibration(calibration, evaluation, interface())[0]
