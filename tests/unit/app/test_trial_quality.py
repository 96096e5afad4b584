"""What a trial's answers lost, as requirements name it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fairlead.app.search_measure import is_slower, shortfall
from fairlead.app.trial_quality import Judge
from fairlead.core.dataset import Dataset
from fairlead.core.dtype import DType
from fairlead.core.interface import Decision, DecisionKind, Interface, Task, TensorSpec
from fairlead.core.paired import Comparison, Outcome
from fairlead.core.requirement import parse_requirements
from fairlead.verify.keeping import chance_of_count, chance_of_loss

CLASSES = Interface(
    (TensorSpec("x", DType.FP32, (None, 1)),),
    (TensorSpec("y", DType.FP32, (None, 2)),),
    Task.CLASSIFICATION,
    Decision(DecisionKind.ARGMAX, "y", scores="y"),
)
NUMBER = Interface(
    (TensorSpec("x", DType.FP32, (None, 1)),),
    (TensorSpec("y", DType.FP32, (None, 1)),),
    Task.REGRESSION,
    Decision(DecisionKind.VALUE, "y"),
)


def scores(decisions: list[int]) -> dict[str, np.ndarray]:
    return {"y": np.eye(2, dtype=np.float32)[decisions]}


def judge(*requirements: str, target: list[int] | None = None, interface: Interface = CLASSES, original=None) -> Judge:
    rows = Dataset({"x": np.zeros((4, 1), np.float32)}, None if target is None else np.asarray(target))
    return Judge(interface, rows, original or scores([0, 1, 0, 1]), parse_requirements(requirements), {}, 0)


def test_a_drop_of_accuracy_is_measured_and_held_against_the_floor() -> None:
    asked = judge("accuracy_drop<=0.3", target=[0, 1, 0, 1])

    values = asked.values(scores([0, 1, 1, 0]))

    assert values["accuracy_drop"] == 0.5
    assert values["accuracy"] == 0.5
    assert values["decision_flips"] == 2
    broken = asked.broken(values)
    assert broken is not None
    assert broken.name == "accuracy_drop"
    assert asked.loss(values) == 0.5
    assert asked.broken(asked.values(scores([0, 1, 1, 1]))) is None


def test_a_gain_is_no_loss() -> None:
    asked = judge("accuracy_drop<=0.3", target=[0, 1, 0, 0])

    assert asked.loss(asked.values(scores([0, 1, 0, 0]))) == 0.0


def test_without_right_answers_flips_and_differences_count() -> None:
    asked = judge("decision_flips<=0")

    assert asked.broken(asked.values(scores([0, 1, 0, 1]))) is None
    assert asked.values(scores([0, 1, 0, 0])) == {"decision_flips": 1.0, "max_abs_diff": 1.0}
    assert asked.loss(asked.values(scores([0, 1, 0, 0]))) == 1.0


def test_a_rise_of_an_error_is_measured() -> None:
    original = {"y": np.zeros((4, 1), np.float32)}
    asked = judge("rmse_rise<=0.5", target=[0, 0, 0, 0], interface=NUMBER, original=original)

    values = asked.values({"y": np.full((4, 1), 2.0, np.float32)})

    assert values["rmse_rise"] == pytest.approx(2.0)
    assert asked.broken(values) is not None


def test_an_answer_that_is_no_number_keeps_no_floor() -> None:
    original = {"y": np.zeros((4, 1), np.float32)}
    asked = judge("rmse_rise<=0.5", target=[0, 0, 0, 0], interface=NUMBER, original=original)

    assert asked.broken(asked.values({"y": np.full((4, 1), np.nan, np.float32)})) is not None


@pytest.mark.parametrize(
    ("outcome", "ratio", "slower"),
    [
        (Outcome.SLOWER, 1.3, True),
        (Outcome.OPEN, 1.3, True),
        (Outcome.OPEN, 1.01, False),
        (Outcome.EQUAL, 1.01, False),
        (Outcome.FASTER, 0.5, False),
    ],
)
def test_what_may_be_slower_is_not_taken_for_as_fast(outcome: Outcome, ratio: float, slower: bool) -> None:
    assert is_slower(Comparison(ratio, 0.0, 9.0, outcome, 3)) is slower
    assert not is_slower(None)


def test_bounds_on_size_and_time_fall_short_by_how_often_they_are_exceeded() -> None:
    requirements = parse_requirements(["size_mb<=1", "throughput_rps>=100", "accuracy_drop<=0.01"])

    assert shortfall({"size_mb": 1.0, "throughput_rps": 100.0, "accuracy_drop": 0.5}, requirements) == 0.0
    assert shortfall({"size_mb": 2.0, "throughput_rps": 50.0}, requirements) == pytest.approx(2 * math.log(2))


def test_infinities_and_nan_that_both_have_are_no_difference() -> None:
    original = {"y": np.asarray([[np.nan], [np.inf], [1.0], [2.0]], np.float32)}
    asked = judge("max_abs_diff<=0.5", interface=NUMBER, original=original)

    assert asked.values({"y": original["y"].copy()})["max_abs_diff"] == 0.0
    assert asked.values({"y": original["y"] + 1})["max_abs_diff"] == 1.0


def test_how_likely_a_floor_holds_elsewhere_follows_from_lost_and_won_rows() -> None:
    asked = judge("accuracy_drop<=0.3", target=[0, 1, 0, 1])
    worse = scores([0, 1, 1, 1])
    values, moved = asked.values(worse), asked.moved(worse)
    assert moved == (1, 0)
    assert asked.chance(values, moved) == chance_of_loss(1, 0, 4, allowed=0.3, unseen=4)
    assert asked.chance(values, moved, lambda _: (8.0, 1.0)) == chance_of_loss(1, 0, 4, allowed=0.3, unseen=4, prior=(8.0, 1.0))


def test_rows_for_and_against_a_floor_are_counted_where_it_is_about_rows() -> None:
    asked = judge("accuracy_drop<=0.3", "accuracy>=0.5", "decision_flips<=1", "f1>=0.5", target=[0, 1, 0, 1])
    worse = scores([0, 1, 1, 1])
    values, moved = asked.values(worse), asked.moved(worse)
    assert [asked.counts(item, values, moved) for item in asked.requirements] == [(1, 0), (1, 3), (1, 3), None]
    assert asked.counts(asked.requirements[0], {}, moved) is None


def test_of_several_floors_the_least_sure_counts_and_those_that_need_answers_are_left_out_without_them() -> None:
    asked = judge("accuracy>=0.5", "decision_flips<=1", "f1_drop<=0.5", target=[0, 1, 0, 1])
    worse = scores([0, 1, 1, 1])
    values = asked.values(worse)
    counted = asked.chance(values, asked.moved(worse))
    assert counted == min(chance_of_count(1, 4, allowed=0.5, unseen=4), chance_of_count(1, 4, allowed=0.25, unseen=4))
    drawn = asked.chance(values, asked.moved(worse), outputs=worse)
    assert drawn is not None
    assert drawn <= counted


def test_without_right_answers_nothing_is_lost_or_won() -> None:
    asked = judge("max_abs_diff<=2")
    outputs = scores([0, 1, 1, 1])
    assert asked.moved(outputs) is None
    assert asked.chance(asked.values(outputs), None, outputs=outputs) is None
