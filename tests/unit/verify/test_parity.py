"""Parity: a difference is seen wherever it is planted, and nothing is equal that is not."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fairlead.core.dtype import DType
from fairlead.core.interface import Array, Decision, DecisionKind, Interface, Task, Tensors, TensorSpec
from fairlead.errors import CorruptError
from fairlead.verify import run_rows
from fairlead.verify.differences import differences
from fairlead.verify.parity import compare
from fairlead.verify.run_rows import repeat_rows, run_in_pieces

SCORES = Interface(
    (TensorSpec("x", DType.FP32, (None, 2)),),
    (TensorSpec("y", DType.FP32, (None, 2)),),
    Task.CLASSIFICATION,
    Decision(DecisionKind.ARGMAX, "y", scores="y"),
)
ROWS = {"x": np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)}


@dataclass
class FakeEngine:
    """Computes with a function of the rows; `name` is its output's name."""

    function: Callable[[Array], Array]
    interface: Interface = SCORES
    description: str = "fake"
    name: str = "y"
    calls: int = 0

    def run(self, inputs: Tensors, outputs: Sequence[str] = ()) -> dict[str, Array]:
        self.calls += 1
        return {self.name: self.function(inputs["x"])}

    def close(self) -> None:
        return


def same(rows: Array) -> Array:
    return rows.copy()


def test_equal_engines_differ_by_nothing() -> None:
    found = compare(FakeEngine(same), FakeEngine(same), ROWS, None, 1e-5)
    assert found.scaled_max == found.batch_scaled_max == 0
    assert found.parity.decision_flip_count == 0
    assert found.parity.is_deterministic
    assert found.parity.row_count == 50
    assert list(found.parity.batch_max_abs) == ["1", "2", "7"]


def test_a_difference_in_one_element_of_one_row_is_found() -> None:
    def shifted(rows: Array) -> Array:
        out = rows.copy()
        out[rows[:, 0] == ROWS["x"][33, 0], 1] += 0.5
        return out

    found = compare(FakeEngine(same), FakeEngine(shifted), ROWS, None, 1e-5)
    assert found.parity.outputs[0].max_abs == pytest.approx(0.5)
    assert found.parity.outputs[0].mean_abs == pytest.approx(0.5 / 100)


def test_a_decision_that_flips_is_counted_and_the_first_is_named() -> None:
    def flipped(rows: Array) -> Array:
        out = rows.copy()
        wanted = np.isin(rows[:, 0], ROWS["x"][[7, 12], 0])
        out[wanted] = out[wanted][:, ::-1]
        return out

    found = compare(FakeEngine(same), FakeEngine(flipped), ROWS, None, 1e-5)
    assert found.parity.decision_flip_count == 2
    assert found.first_flip.startswith("row 7: ")


def test_a_frozen_batch_is_found() -> None:
    def sees_neighbours(rows: Array) -> Array:
        return rows - rows.mean(axis=0) * np.float32(0.01)

    found = compare(FakeEngine(sees_neighbours), FakeEngine(sees_neighbours), ROWS, None, 1e-5)
    assert found.scaled_max == 0
    assert found.batch_scaled_max > 1e-3


def test_an_engine_that_rolls_dice_is_found() -> None:
    generator = np.random.default_rng(0)
    found = compare(FakeEngine(same), FakeEngine(lambda rows: rows + generator.normal(0, 1e-9, rows.shape)), ROWS, None, 1e-5)
    assert not found.parity.is_deterministic


def test_probes_take_part_but_are_not_measured_for_quality() -> None:
    found = compare(FakeEngine(same), FakeEngine(lambda rows: np.where(rows > 90, 0, rows)), ROWS, {"x": np.full((3, 2), 99.0)}, 1e-5)
    assert found.parity.probe_count == 3
    assert found.parity.row_count == 53
    assert found.parity.outputs[0].max_abs == 99
    assert found.candidate["y"].shape == (50, 2)


def test_nan_beside_a_number_is_an_infinite_difference_and_nan_in_both_is_counted() -> None:
    one, other = np.array([[np.nan, 1.0]]), np.array([[np.nan, np.nan]])
    assert differences(one, other)[0].tolist() == [[0.0, math.inf]]
    nan = FakeEngine(lambda rows: np.where(rows > 0, np.nan, rows))
    assert compare(nan, nan, ROWS, None, 1e-5).nan_count == int((ROWS["x"] > 0).any(axis=1).sum())


@given(hnp.arrays(np.float64, hnp.array_shapes(max_dims=2, max_side=4), elements=st.floats(allow_subnormal=False)))
def test_everything_is_equal_to_itself_and_a_wrong_shape_to_nothing(values: Array) -> None:
    assert not differences(values, values.copy())[0].any()
    assert differences(values, values[..., None])[0].tolist() == [math.inf]


@given(st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_two_numbers_that_are_not_equal_differ(one: float, other: float) -> None:
    absolute, scaled = differences(np.array([one]), np.array([other]))
    assert (absolute[0] > 0) == (one != other)
    assert not np.isnan(absolute).any()
    assert not np.isnan(scaled).any()


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (["a", "b"], ["a", "c"], [0, 1]),
        ([True, False], [True, True], [0, 1]),
        ([1, 200], [1, 100], [0, 100]),
        ([np.inf, -np.inf], [np.inf, np.inf], [0, np.inf]),
    ],
)
def test_every_kind_of_value_has_a_difference(one: list, other: list, expected: list) -> None:
    kind = object if isinstance(one[0], str) else None
    assert differences(np.array(one, dtype=kind), np.array(other, dtype=kind))[0].tolist() == expected


def test_small_unsigned_numbers_do_not_wrap_around() -> None:
    assert differences(np.array([1], np.uint8), np.array([2], np.uint8))[0].tolist() == [1]
    assert differences(np.array([200], np.uint8), np.array([100], np.uint8))[0].tolist() == [100]


def test_outputs_that_conversion_renamed_are_matched_by_place() -> None:
    found = compare(FakeEngine(same, name="dense_3"), FakeEngine(same), ROWS, None, 1e-5)
    assert found.scaled_max == 0


def test_a_reference_with_other_outputs_is_refused() -> None:
    class Two(FakeEngine):
        def run(self, inputs: Tensors, outputs: Sequence[str] = ()) -> dict[str, Array]:
            return {"a": inputs["x"], "b": inputs["x"]}

    with pytest.raises(CorruptError, match="gives 2 outputs"):
        compare(Two(same), FakeEngine(same), ROWS, None, 1e-5)


@given(st.integers(1, 20), st.integers(1, 25))
def test_pieces_are_put_together_in_order(rows: int, size: int) -> None:
    engine = FakeEngine(same)
    inputs = {"x": np.arange(rows * 2, dtype=np.float32).reshape(rows, 2)}
    assert run_in_pieces(engine, inputs, size)["y"].tolist() == inputs["x"].tolist()
    assert engine.calls == math.ceil(rows / size)


def test_many_rows_never_go_through_at_once() -> None:
    engine = FakeEngine(same)
    run_in_pieces(engine, {"x": np.zeros((run_rows.PIECE_ROWS * 2 + 1, 2), np.float32)})
    assert engine.calls == 3


def test_wide_rows_go_through_in_smaller_pieces() -> None:
    engine = FakeEngine(same)
    run_in_pieces(engine, {"x": np.zeros((4, run_rows.PIECE_BYTES // 8), np.float32)})
    assert engine.calls == 2
    assert run_rows.fitting_rows({"x": np.zeros((2, run_rows.PIECE_BYTES), np.float32)}) == 1


def test_rows_are_repeated_to_fill_a_batch() -> None:
    assert repeat_rows({"x": np.array([1, 2, 3])}, 7)["x"].tolist() == [1, 2, 3, 1, 2, 3, 1]
