"""Which rows serve for what, and what a search is aimed at."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fairlead.app.search_options import SearchOptions, check_passes, divide_rows
from fairlead.core.dataset import Dataset
from fairlead.core.dtype import DType
from fairlead.core.interface import Decision, DecisionKind, Interface, Task, TensorSpec
from fairlead.core.pass_use import parse_passes
from fairlead.core.requirement import parse_requirements
from fairlead.core.search import Objective
from fairlead.errors import DataError, SpecError, UnsupportedError

INTERFACE = Interface(
    (TensorSpec("x", DType.FP32, (None, 4)),),
    (TensorSpec("y", DType.FP32, (None, 3)),),
    Task.CLASSIFICATION,
    Decision(DecisionKind.ARGMAX, "y", scores="y"),
)


def dataset(count: int, *, seed: int = 0, classes: int = 3, **more) -> Dataset:
    source = np.random.default_rng(seed)
    target = source.integers(0, classes, count)
    return Dataset({"x": source.normal(size=(count, 4)).astype(np.float32)}, target, f"digest {seed}", **more)


def keys(rows: Dataset) -> set[bytes]:
    return {row.tobytes() for row in rows.inputs["x"]}


def test_many_rows_are_divided_into_those_that_choose_and_those_that_judge() -> None:
    rows = divide_rows(dataset(1000), None, INTERFACE, 0)

    assert not keys(rows.selection) & keys(rows.verdict)
    assert rows.selection.rows + rows.verdict.rows == 1000
    assert rows.calibration is not None
    assert keys(rows.calibration) <= keys(rows.selection)
    assert any("choose between the trials" in note for note in rows.notes)


def test_few_rows_do_both_and_it_is_said() -> None:
    rows = divide_rows(dataset(100), None, INTERFACE, 0)

    assert keys(rows.selection) == keys(rows.verdict)
    assert any("a little better on them than it is" in note for note in rows.notes)


def test_training_rows_calibrate_where_there_are_any() -> None:
    training = dataset(700, seed=1)

    rows = divide_rows(dataset(500), training, INTERFACE, 0)

    assert rows.calibration is not None
    assert keys(rows.calibration) <= keys(training)
    assert rows.training is training


def test_training_rows_that_are_prepared_otherwise_or_have_no_answers_are_said() -> None:
    training = dataset(700, seed=1)
    raw = replace(training, inputs={"x": training.inputs["x"] * 255}, target=None)

    notes = divide_rows(dataset(500), raw, INTERFACE, 0).notes

    assert any("are both prepared as the model was trained?" in note for note in notes)
    assert any("have no right answers" in note for note in notes)
    alike = divide_rows(dataset(500), training, INTERFACE, 0).notes
    assert not any("prepared" in note or "no right answers" in note for note in alike)


def test_drawn_rows_calibrate_nothing() -> None:
    rows = divide_rows(dataset(500, is_synthetic=True), None, INTERFACE, 0)

    assert rows.calibration is None
    assert any("not tried" in note for note in rows.notes)


@pytest.mark.parametrize(("given", "training"), [(dataset(500, classes=1), None), (dataset(500), dataset(500, seed=1, classes=1))])
def test_rows_of_one_class_are_refused(given: Dataset, training: Dataset | None) -> None:
    with pytest.raises(DataError, match="of one class, 0"):
        divide_rows(given, training, INTERFACE, 0)


def test_rows_to_train_on_must_not_be_those_to_prove_with() -> None:
    with pytest.raises(DataError, match="also among the training rows"):
        divide_rows(dataset(500), dataset(500), INTERFACE, 0)


@pytest.mark.parametrize(
    ("requirements", "objective"),
    [
        ([], Objective.LATENCY),
        (["accuracy_drop<=0.01"], Objective.LATENCY),
        (["accuracy_drop<=0.01", "size_mb<=1", "p99_ms<=5"], Objective.SIZE),
        (["throughput_rps@32>=5"], Objective.LATENCY),
        (["memory_mb<=50"], Objective.MEMORY),
    ],
)
def test_the_first_requirement_on_speed_size_or_memory_is_the_aim(requirements: list[str], objective: Objective) -> None:
    assert SearchOptions().aim(parse_requirements(requirements)) is objective
    assert SearchOptions(objective=Objective.SIZE).aim(parse_requirements(requirements)) is Objective.SIZE


def test_passes_are_checked_before_anything_is_done() -> None:
    check_passes(parse_passes("clean_graph,store_int4(block=16)"))
    with pytest.raises(UnsupportedError, match="no pass 'melt'"):
        check_passes(parse_passes("melt"))
    with pytest.raises(SpecError, match="no setting 'x'"):
        check_passes(parse_passes("store_int4(x=1)"))
