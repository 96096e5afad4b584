"""The profile of a release's data: what is in it, and how much the model uses each input."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import registered

from fairlead.app.profiling import affordable_rows, answer_change, describe, measure_use, profile_of, spread
from fairlead.core.dataset import Dataset
from fairlead.core.dtype import DType
from fairlead.core.interface import Array, Decision, DecisionKind, Interface, Tensors, TensorSpec
from fairlead.core.profile import Profile
from fairlead.engines.onnxruntime_engine import OnnxRuntimeEngine
from fairlead.errors import RequestError
from fairlead.stores.document import dump, load

COLUMNS = ("age", "size", "noise")


class Formula:
    """y = 3 age + size: an engine for tests."""

    description = "a formula"

    def __init__(self, kind: DecisionKind = DecisionKind.VALUE, *, fails_after: int = 10**9) -> None:
        self.calls, self.fails_after = 0, fails_after
        self.interface = Interface(
            (TensorSpec("x", DType.FP32, (None, 3), COLUMNS),), (TensorSpec("y", DType.FP32, (None,)),), decision=Decision(kind, "y")
        )

    def run(self, inputs: Tensors, outputs: Sequence[str] = ()) -> dict[str, Array]:
        del outputs
        self.calls += 1
        if self.calls > self.fails_after:
            raise RequestError("Such rows are not taken.")
        y = 3 * inputs["x"][:, 0] + inputs["x"][:, 1]
        if self.interface.decision.kind is DecisionKind.LABEL:
            return {"y": np.where(y > 0, "yes", "no").astype(object)}
        return {"y": y}

    def close(self) -> None:
        pass


def rows(count: int = 600) -> Dataset:
    return Dataset({"x": np.random.default_rng(0).normal(size=(count, 3)).astype("f4")}, description="rows.csv")


def test_the_model_uses_what_its_answers_hang_on() -> None:
    found = profile_of(rows(), Formula(), seed=1)
    use = {feature.name: feature.use for feature in found.features}
    assert use["noise"] == 0.0
    assert use["age"] == pytest.approx(3 / np.sqrt(10), abs=0.1)
    assert use["size"] == pytest.approx(1 / np.sqrt(10), abs=0.1)
    assert [feature.is_used for feature in found.features] == [True, True, False]
    assert describe(found).startswith("3 features of 600 rows; the model uses 2 of 3, most of all age")


@pytest.mark.parametrize("value", [7.0, np.nan])
def test_the_use_of_what_never_changes_is_unknown_and_counts_as_used(value: float) -> None:
    data = rows()
    data.inputs["x"][:, 2] = value
    found = profile_of(data, Formula(), seed=1)
    assert [feature.use is None for feature in found.features] == [False, False, True]
    assert found.features[2].is_used


def test_use_is_the_same_in_any_unit_of_the_answers() -> None:
    features = profile_of(rows(), Formula(), seed=1).features
    value, _ = measure_use(features, rows().inputs, Formula(), seed=1)
    label, change = measure_use(features, rows().inputs, Formula(DecisionKind.LABEL), seed=1)
    assert set(value) == set(label) == set(COLUMNS)
    assert label["noise"] == 0.0
    assert label["age"] > label["size"] > 0
    assert change == pytest.approx(0.5, abs=0.1)


def test_a_profile_comes_back_from_its_document() -> None:
    found = profile_of(rows(), Formula(), seed=1)
    assert load(dump(found), Profile) == found
    assert found.embedding is not None
    assert found.row_count == 600
    assert [item.name for item in found.predictions] == ["value"]


def test_what_the_time_does_not_reach_counts_as_used() -> None:
    found = profile_of(rows(), Formula(), seed=1, time_s=-1.0)
    assert [feature.use for feature in found.features] == [None, None, None]
    assert all(feature.is_used for feature in found.features)


def test_a_model_that_does_not_take_mixed_rows_leaves_its_use_unknown() -> None:
    found = profile_of(rows(), Formula(fails_after=3), seed=1)
    assert [feature.use for feature in found.features] == [None, None, None]
    assert found.shuffled_change is None


def test_a_slow_model_is_asked_for_fewer_rows_from_all_over_the_data() -> None:
    inputs = {"x": np.arange(3000.0, dtype="f4").reshape(1000, 3)}
    assert affordable_rows(Formula(), inputs, 0.0) == 32
    assert affordable_rows(Formula(), inputs, 1e9) == 20_000
    taken = spread(inputs, 32)["x"][:, 0]
    assert len(taken) == 32
    assert (taken[0], taken[-1]) == (0.0, 2997.0)
    assert spread(inputs, 5000) is inputs


def test_a_constant_answer_uses_nothing_that_can_be_measured() -> None:
    constant = Dataset({"x": np.ones((50, 3), "f4")})
    found = profile_of(constant, Formula(), seed=1)
    assert found.shuffled_change == 0.0
    assert profile_of(Dataset({"x": np.ones((1, 3), "f4")}), Formula(), seed=1).features[0].use is None


def test_changed_scores_are_measured_without_those_that_are_missing() -> None:
    engine = Formula()
    before, after = {"y": np.array([1.0, np.nan])}, {"y": np.array([3.0, 1.0])}
    assert answer_change(engine.interface, before, after) == 2.0


def test_a_classifier_is_profiled_by_its_own_engine(tmp_path: Path) -> None:
    path, interface = registered.classifier(tmp_path / "pets.onnx")
    engine = OnnxRuntimeEngine(path, interface)
    found = profile_of(Dataset(registered.draw(interface, 400)), engine, seed=0)
    engine.close()
    assert {item.name for item in found.predictions} == {"decision", "confidence"}
    assert all(feature.use is not None for feature in found.features)
