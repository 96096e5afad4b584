"""The dry run: it says what is known, guesses nothing silently, registers nothing, and leaves nothing behind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import registered

from fairlead.app import plan_measure
from fairlead.app.intake import Intake
from fairlead.app.plan_model import Load, Planned, PlanRequest, plan_model
from fairlead.app.wiring import House
from fairlead.core.hardware import Budget
from fairlead.core.interface import Task
from fairlead.core.requirement import parse_requirements
from fairlead.core.strategy import Need, RolloutKind, Scenario
from fairlead.errors import DataError, RequirementError, SpecError
from fairlead.stores.document import dump

WIDTH = 64


class Silence:
    def step(self, text: str) -> None: ...
    def tell(self, text: str) -> None: ...
    def done(self, text: str) -> None: ...


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Intake:
    """A classifier whose own answers are the right ones, but for every tenth row."""
    folder = tmp_path_factory.mktemp("plan")
    path, _ = registered.classifier(folder / "pets.onnx", WIDTH)
    rows = np.random.default_rng(1).normal(size=(200, WIDTH)).astype(np.float32)
    weights = np.random.default_rng(0).normal(size=(WIDTH, 3)).astype(np.float32)
    right = np.argmax(rows @ weights, axis=1)
    right[::10] = (right[::10] + 1) % 3
    np.savez(folder / "rows.npz", x=rows, y=right)
    return Intake(path, folder / "rows.npz", task=Task.CLASSIFICATION)


def planned(house: House, files: Intake, *promise: str, **more: object) -> Planned:
    intake = replace(files, requirements=parse_requirements(promise))
    return plan_model(PlanRequest(intake, **more), house, Silence())  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def whole(files: Intake, tmp_path_factory: pytest.TempPathFactory) -> Planned:
    house = registered.new_house(tmp_path_factory.mktemp("home"))
    promise = ("accuracy>=0.99", "accuracy_drop<=0.05", "size_mb<=0.0003", "p99_ms<=500", "p50_ms@256<=0.0000001")
    more = {"scenario": Scenario.LOGISTICS, "load": Load(50, p99_ms=500), "budget": Budget(5000)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan_measure, "_PROFILE_S", 0.3)  # what is measured is looked at, not how long
        patch.setattr(plan_measure, "_CEILINGS_S", 0.3)
        found = planned(house, files, *promise, **more)
    assert house.records.names() == ()
    assert list(house.work.iterdir()) == []
    return found


@pytest.mark.slow
def test_what_is_measured_is_measured_on_this_machine(whole: Planned) -> None:
    assert whole.facts is not None
    assert whole.facts.parameter_count == WIDTH * 3
    assert whole.look is not None
    assert whole.look.profile.is_measured
    assert 256 in {point.batch for point in whole.look.profile.points}
    assert whole.look.values["accuracy"] == pytest.approx(0.9)
    assert whole.outlooks[0].is_latency_measured


@pytest.mark.slow
def test_the_promise_is_held_against_the_model_as_it_is(whole: Planned) -> None:
    accuracy, drop, size, p99, impossible = whole.promise
    assert (accuracy.is_kept, accuracy.measured) == (False, pytest.approx(0.9))
    assert (drop.is_kept, drop.measured) == (None, None)
    assert size.is_kept is False
    assert p99.is_kept is True
    assert impossible.is_impossible


@pytest.mark.slow
def test_candidates_capacity_hardware_and_strategy_are_all_there(whole: Planned) -> None:
    assert [one.candidate.name for one in whole.outlooks] == [one.name for one in whole.plan.candidates]
    assert "store-fp16" in {name for name, _ in whole.plan.refused}  # half of 768 bytes is above 300
    assert whole.capacity is not None
    assert whole.hardware is not None
    assert whole.hardware.chosen
    assert whole.strategy.rollout.kind is RolloutKind.CANARY
    assert whole.strategy.reasons["batching.rows_limit"].origin == "capacity"
    assert dump(whole)


def test_without_measuring_everything_is_predicted(house: House, files: Intake) -> None:
    found = planned(house, files, "p99_ms<=50", "size_mb<=0.0001", load=Load(10), is_measured=False)
    assert found.look is None
    assert [item.is_kept for item in found.promise] == [None, False]  # a file's size is known without a stopwatch
    assert found.capacity is None
    assert found.hardware is not None
    assert all(option.is_predicted for option in found.hardware.options)
    assert found.outlooks[0].latency_ms is None
    assert any("--no-measure" in note for note in found.notes)
    assert any("taken for what a client may wait" in note for note in found.notes)


def test_without_a_load_or_a_p99_there_is_no_cost_and_why_is_said(house: House, files: Intake) -> None:
    no_p99 = planned(house, files, load=Load(10), is_measured=False)
    assert (no_p99.capacity, no_p99.hardware) == (None, None)
    assert any("say how long a request may take" in note for note in no_p99.notes)
    no_load = planned(house, files, "p99_ms<=5", is_measured=False)
    assert any("--rate 200" in note for note in no_load.notes)


def test_drawn_rows_are_said_to_be_drawn(house: House, files: Intake) -> None:
    found = planned(house, replace(files, data=None), "decision_flips<=1", is_measured=False)
    assert any("drawn" in note for note in found.notes)
    assert "--data" in dict(found.plan.refused)["quantize-static-int8"]


def test_what_makes_no_sense_is_refused_before_the_model_is_opened(house: House, files: Intake, tmp_path: Path) -> None:
    absent = replace(files, model=tmp_path / "absent.onnx")
    with pytest.raises(SpecError, match="rows to train on"):
        plan_model(PlanRequest(absent, training=tmp_path / "absent.npz"), house, Silence())
    with pytest.raises(SpecError, match="Cannot read"):
        plan_model(PlanRequest(absent, catalogue=tmp_path / "absent.yaml"), house, Silence())
    with pytest.raises(SpecError, match="growing shares"):
        overrides = {"rollout.kind": RolloutKind.CANARY, "rollout.steps": (0.5, 0.1)}
        plan_model(PlanRequest(absent, overrides=overrides), house, Silence())  # type: ignore[arg-type]
    with pytest.raises(RequirementError, match="needs rows with right answers"):
        plan_model(PlanRequest(replace(absent, data=None, requirements=parse_requirements(["accuracy>=0.5"]))), house, Silence())


def test_rows_to_train_on_are_looked_at_and_none_of_those_that_prove_it(house: House, files: Intake, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="training"):
        planned(house, files, "accuracy_drop<=0.1", training=files.data, is_measured=False)
    rows = np.random.default_rng(9).normal(size=(60, WIDTH)).astype(np.float32)
    np.savez(tmp_path / "train.npz", x=rows, y=np.arange(60) % 3)
    found = planned(house, files, "accuracy_drop<=0.1", training=tmp_path / "train.npz", is_measured=False)
    assert "prune-structured" in [one.name for one in found.plan.candidates]
    assert any("60 rows" in note for note in found.notes)
    np.savez(tmp_path / "blind.npz", x=rows)
    blind = planned(house, files, "accuracy_drop<=0.1", training=tmp_path / "blind.npz", is_measured=False)
    assert any("learn from the original's alone" in note for note in blind.notes)
    np.savez(tmp_path / "one.npz", x=rows, y=np.ones(60, dtype=np.int64))
    with pytest.raises(DataError, match="All 60 training rows are of one class, 1"):
        planned(house, files, "accuracy_drop<=0.1", training=tmp_path / "one.npz", is_measured=False)


def test_a_need_for_the_edge_takes_a_device_on_site(house: House, files: Intake) -> None:
    found = planned(house, files, load=Load(10, p99_ms=100), needs=(Need.EDGE,), is_measured=False)
    assert found.hardware is not None
    assert found.hardware.chosen == "raspberry-pi-5"
