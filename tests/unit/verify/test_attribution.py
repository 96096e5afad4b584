"""Whether two models decide for the same reasons: agreement of rankings, on models whose reasons are known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fairlead.core.dtype import DType
from fairlead.core.interface import Array, Decision, DecisionKind, Interface, Tensors, TensorSpec
from fairlead.errors import RequirementError
from fairlead.verify.attribution import compare_attributions, rank_agreement, usual

RNG = np.random.default_rng(3)
ROWS = {"x": RNG.normal(size=(50, 6)).astype(np.float32)}
SCORED = Interface(
    (TensorSpec("x", DType.FP32, (None, 6)),),
    (TensorSpec("y", DType.FP32, (None, 2)),),
    decision=Decision(DecisionKind.ARGMAX, "y", scores="y"),
)


class Linear:
    """Scores x @ weights; its reasons are weights * (x - mean), exactly."""

    description = "linear"

    def __init__(self, weights: list[float], interface: Interface = SCORED) -> None:
        self._weights = np.array(weights, np.float32)
        self.interface = interface
        self.row_count = 0

    def run(self, inputs: Tensors, outputs: tuple[str, ...] = ()) -> dict[str, Array]:
        rows = inputs["x"].reshape(len(inputs["x"]), -1)
        self.row_count += len(rows)
        score = rows @ self._weights
        return {"y": np.stack([-score, score], axis=1)}

    def close(self) -> None:
        """Nothing to give back."""


def test_the_same_model_has_the_same_reasons() -> None:
    found = compare_attributions(Linear([1, 2, 3, 4, 5, 6]), Linear([1, 2, 3, 4, 5, 6]), ROWS, seed=0)
    assert found.mean == found.low == pytest.approx(1.0)
    assert (found.row_count, found.part_count) == (32, 6)


def test_a_model_that_decides_by_other_columns_has_other_reasons() -> None:
    first, other = Linear([1, 1, 1, 0, 0, 0]), Linear([0, 0, 0, 1, 1, 1])
    assert compare_attributions(first, other, ROWS, seed=0).mean < 0.3
    opposite = compare_attributions(first, Linear([-1, -1, -1, 0, 0, 0]), ROWS, seed=0)
    assert opposite.mean == pytest.approx(-1.0)


def test_a_little_noise_in_the_weights_leaves_the_reasons_nearly_alike() -> None:
    found = compare_attributions(Linear([1, 2, 3, 4, 5, 6]), Linear([1.1, 2, 3, 3.9, 5, 6.1]), ROWS, seed=0)
    assert 0.95 < found.mean < 1.0


def test_patches_of_an_image_are_parts_wherever_its_channels_are() -> None:
    for shape in ((3, 28, 28), (28, 28, 3), (28, 28)):
        images = {"x": RNG.normal(size=(40, *shape)).astype(np.float32)}
        interface = dataclasses.replace(SCORED, inputs=(TensorSpec("x", DType.FP32, (None, *shape)),))
        engine = Linear(RNG.normal(size=int(np.prod(shape))).tolist(), interface)
        found = compare_attributions(engine, engine, images, seed=0)
        assert (found.part_count, found.mean) == (49, pytest.approx(1.0))


def test_rows_and_their_copies_stay_within_memory() -> None:
    images = {"x": np.zeros((40, 3, 512, 512), np.float32)}
    interface = dataclasses.replace(SCORED, inputs=(TensorSpec("x", DType.FP32, (None, 3, 512, 512)),))
    engine = Linear([0.0] * (3 * 512 * 512), interface)
    found = compare_attributions(engine, engine, images, seed=0)
    assert found.row_count == 1


def test_what_is_usual_is_the_mean_of_numbers_and_the_most_frequent_of_the_rest() -> None:
    inputs = {
        "number": np.array([[1.0], [3.0], [np.nan]], np.float32),
        "code": np.array([[2], [7], [7]]),
        "word": np.array([["b"], ["a"], ["a"]], dtype=object),
    }
    found = usual(inputs)
    assert found["number"].tolist() == [2.0]
    assert found["code"].tolist() == [7]
    assert found["word"].tolist() == ["a"]


def test_a_model_that_gives_labels_only_has_no_reasons_to_compare() -> None:
    interface = dataclasses.replace(SCORED, decision=Decision(DecisionKind.LABEL, "y"))
    with pytest.raises(RequirementError, match="gives no scores"):
        compare_attributions(Linear([1] * 6), Linear([1] * 6, interface), ROWS, seed=0)


NUMBERS = arrays.arrays(np.float64, 8, elements=st.floats(-100, 100).map(lambda value: round(value, 3)))


@given(NUMBERS, NUMBERS)
def test_agreement_lies_between_opposite_and_same_and_knows_no_order(left: Array, right: Array) -> None:
    found = rank_agreement(left, right)
    assert -1.0 - 1e-12 <= found <= 1.0 + 1e-12
    assert found == pytest.approx(rank_agreement(right, left))
    assert rank_agreement(left, left) == pytest.approx(1.0)


def test_agreement_is_spearmans() -> None:
    stats = pytest.importorskip("scipy.stats")
    for _ in range(20):
        left, right = RNG.integers(0, 6, size=(2, 12)).astype(float)
        assert rank_agreement(left, right) == pytest.approx(stats.spearmanr(left, right).statistic)


def test_a_ranking_and_none_have_nothing_in_common() -> None:
    assert rank_agreement(np.ones(4), np.arange(4.0)) == 0.0
    assert rank_agreement(np.ones(4), np.zeros(4)) == 1.0
    assert rank_agreement(np.array([1.0, np.nan]), np.array([1.0, 2.0])) == 0.0
