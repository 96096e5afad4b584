"""Rows explained: the method that fits, what it is that is explained, and refusals that say what to do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from explained_models import FunctionEngine, draw_rows, draw_trees, loan_engine, loan_rows, number_engine, regression, review_engine

from fairlead.core.dtype import DType
from fairlead.core.explanation import Method, Subject
from fairlead.core.interface import Array, Decision, DecisionKind, Interface, Task, Tensors, TensorSpec
from fairlead.core.tree_ensemble import Transform, TreeEnsemble
from fairlead.engines.tree_ensemble_engine import TreeEnsembleEngine, sums_of
from fairlead.errors import CorruptError, DeadlineError, RequestError, UnsupportedError
from fairlead.explain.explain_job import ExplainJob
from fairlead.explain.stage import explain


def forest(transform: Transform = Transform.SIGMOID, outputs: int = 1) -> tuple[TreeEnsemble, TreeEnsembleEngine]:
    trees = replace(draw_trees(np.random.default_rng(0), outputs=outputs), transform=transform)
    width = 2 if outputs == 1 else outputs
    interface = Interface(
        (TensorSpec("x", DType.FP32, (None, 4), ("a", "b", "c", "d")),),
        (TensorSpec("label", DType.INT64, (None,)), TensorSpec("probabilities", DType.FP32, (None, width))),
        Task.CLASSIFICATION,
        Decision(DecisionKind.LABEL, "label", "probabilities"),
        tuple(range(width)),
    )
    return trees, TreeEnsembleEngine(trees, interface)


def rows(count: int, seed: int) -> dict[str, Array]:
    return {"x": draw_rows(np.random.default_rng(seed), count, 4)}


def test_trees_are_explained_exactly_by_the_sum_that_speaks_for_the_second_class() -> None:
    trees, engine = forest()
    found = explain(ExplainJob(engine, rows(4, 1), rows(9, 2), trees=trees))
    assert [one.row for one in found] == [0, 1, 2, 3]
    for place, one in enumerate(found):
        assert one.method is Method.TREES
        assert one.subject.is_sum
        assert one.subject.says == "the sum before the sigmoid, for the score of class '1'"
        assert one.features == ("a", "b", "c", "d")
        assert one.output == pytest.approx(float(sums_of(trees, rows(4, 1)["x"])[place, 0]), abs=1e-5)
        assert abs(one.gap) < 1e-9
        assert one.bounds == (0.0,) * 4


def test_of_several_classes_the_decided_one_is_explained_unless_another_is_asked_about() -> None:
    trees, engine = forest(Transform.SOFTMAX, 3)
    decided = explain(ExplainJob(engine, rows(5, 1), rows(9, 2), trees=trees))
    assert [f"'{one.decision}'" in one.subject.says for one in decided] == [True] * 5
    asked = explain(ExplainJob(engine, rows(5, 1), rows(9, 2), trees=trees, of="2"))
    assert {one.subject.column for one in asked} == {2}
    with pytest.raises(RequestError, match="no score for 'blue'"):
        explain(ExplainJob(engine, rows(1, 1), rows(9, 2), trees=trees, of="blue"))


def test_trees_that_are_not_the_engines_are_refused() -> None:
    trees, engine = forest()
    other = replace(trees, base=trees.base + 1)
    with pytest.raises(CorruptError, match="do not give the answers"):
        explain(ExplainJob(engine, rows(2, 1), rows(9, 2), trees=other))


def test_few_features_are_tried_in_full_and_many_are_drawn() -> None:
    few = explain(ExplainJob(number_engine(4, lambda x: x.sum(axis=1)), clean(2, 1), clean(5, 3)))
    assert {one.method for one in few} == {Method.ENUMERATED}
    wide = {"x": np.random.default_rng(0).normal(size=(6, 30)).astype(np.float32)}
    one = {"x": wide["x"][:1]}
    many = explain(ExplainJob(number_engine(30, lambda x: x.sum(axis=1)), one, wide, pair_limit=16))
    assert {found.method for found in many} == {Method.SAMPLED}
    assert many[0].weights == pytest.approx(tuple((one["x"] - wide["x"].mean(axis=0))[0].tolist()), abs=0.5)
    assert all(bound > 0 for bound in many[0].bounds)


def test_a_method_can_be_asked_for() -> None:
    for method in (Method.ENUMERATED, Method.SAMPLED, Method.OCCLUSION):
        job = ExplainJob(number_engine(4, lambda x: x[:, 0] * x[:, 1]), clean(2, 1), clean(5, 3), method=method, pair_limit=32)
        assert {one.method for one in explain(job)} == {method}
    with pytest.raises(UnsupportedError, match="no tree ensemble"):
        explain(ExplainJob(number_engine(4, lambda x: x[:, 0]), clean(1, 1), clean(5, 3), method=Method.TREES))


def test_too_many_sets_to_try_them_all_are_refused() -> None:
    wide = {"x": np.zeros((3, 40), np.float32)}
    with pytest.raises(RequestError, match="too many sets of 40 features"):
        explain(ExplainJob(number_engine(40, lambda x: x[:, 0]), wide, wide, method=Method.ENUMERATED))


def test_occlusion_is_the_mean_loss_without_each_feature() -> None:
    job = ExplainJob(number_engine(4, lambda x: 2 * x[:, 0] + x[:, 1]), clean(1, 1), clean(5, 3), method=Method.OCCLUSION)
    (found,) = explain(job)
    moved = (clean(1, 1)["x"] - clean(5, 3)["x"].mean(axis=0))[0].astype(np.float64)
    assert found.weights == pytest.approx((2 * moved[0], moved[1], 0, 0), abs=1e-6)


def test_a_class_is_named_by_its_label_in_a_table_with_categories() -> None:
    (found,) = explain(ExplainJob(loan_engine(), one_loan(), loan_rows(20)))
    assert found.decision == "no"
    assert found.subject.says == "the score of class 'no'"
    assert found.features == ("age", "income", "shoe", "job")
    assert found.given == ("25", "40", "0", "cook")
    weights = dict(zip(found.features, found.weights, strict=True))
    assert weights["shoe"] == pytest.approx(0, abs=1e-9)
    assert weights["age"] > weights["income"] > 0


def test_a_model_without_numbers_cannot_be_explained() -> None:
    interface = replace(regression(4), decision=Decision(DecisionKind.LABEL, "y"), task=Task.CLASSIFICATION)
    engine = FunctionEngine(interface, lambda inputs: {"y": np.zeros((len(inputs["x"]), 1))})
    with pytest.raises(UnsupportedError, match="labels without scores"):
        explain(ExplainJob(engine, clean(1, 1), clean(5, 3)))


def test_of_several_numbers_one_has_to_be_named() -> None:
    interface = replace(regression(4), outputs=(TensorSpec("y", DType.FP64, (None, 2)),))
    engine = FunctionEngine(interface, lambda inputs: {"y": inputs["x"][:, :2].astype(np.float64)})
    with pytest.raises(UnsupportedError, match="gives 2 numbers"):
        explain(ExplainJob(engine, clean(1, 1), clean(5, 3)))
    (found,) = explain(ExplainJob(engine, clean(1, 1), clean(5, 3), of="1"))
    assert found.subject == Subject("y", 1, "number 1 of the answer", is_value=True)


def test_of_several_numbers_without_a_rule_none_is_taken_for_the_decision() -> None:
    interface = replace(regression(4), outputs=(TensorSpec("y", DType.FP64, (None, 2)),), decision=None, task=None)
    engine = FunctionEngine(interface, lambda inputs: {"y": inputs["x"][:, :2].astype(np.float64)})
    with pytest.raises(UnsupportedError, match="gives 2 numbers"):
        explain(ExplainJob(engine, clean(1, 1), clean(5, 3)))
    (found,) = explain(ExplainJob(engine, clean(1, 1), clean(5, 3), of="0"))
    assert not found.subject.is_value


def test_time_that_is_too_short_is_said() -> None:
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 0.3
        return now

    with pytest.raises(DeadlineError, match="too slow"):
        explain(ExplainJob(number_engine(4, lambda x: x[:, 0]), clean(1, 1), clean(5, 3), budget_s=1.0, clock=clock))


def curve(values: Tensors, subject: Subject) -> tuple[Array, dict[str, Array]]:
    x = values["x"].astype(np.float64)
    slopes = np.zeros_like(x)
    slopes[:, 0], slopes[:, 1], slopes[:, 2] = x[:, 1], x[:, 0], 3 * x[:, 2] ** 2
    return x[:, 0] * x[:, 1] + x[:, 2] ** 3, {"x": slopes.astype(np.float32)}


def test_gradients_are_integrated_until_they_add_up() -> None:
    engine = number_engine(4, lambda x: x[:, 0] * x[:, 1] + x[:, 2] ** 3)
    (found,) = explain(ExplainJob(engine, clean(1, 1), clean(5, 3), method=Method.GRADIENTS, gradient=curve))
    assert abs(found.gap) < 1e-3 * abs(found.output - found.base)
    assert found.weights[3] == 0
    start = clean(5, 3)["x"].mean(axis=0)
    assert found.weights[2] == pytest.approx(float(clean(1, 1)["x"][0, 2]) ** 3 - float(start[2]) ** 3, abs=1e-4)


def test_a_gradient_of_another_model_is_refused() -> None:
    job = ExplainJob(number_engine(4, lambda x: x[:, 0] + 9), clean(1, 1), clean(5, 3), method=Method.GRADIENTS, gradient=curve)
    with pytest.raises(CorruptError, match="does not answer as the engine does"):
        explain(job)
    with pytest.raises(UnsupportedError, match="no gradient of this model"):
        explain(replace(job, gradient=None))


def clean(count: int, seed: int) -> dict[str, Array]:
    return {"x": np.random.default_rng(seed).normal(size=(count, 4)).astype(np.float32)}


def one_loan() -> dict[str, Array]:
    return {"x": np.array([[25, 40, 0]], np.float32), "job": np.array([["cook"]], object)}


def test_words_of_a_text_are_weighed_against_the_text_without_them() -> None:
    text = {"t": np.array(["a fine but dull film"], object)}
    (found,) = explain(ExplainJob(review_engine(), text, text))
    assert found.decision == "good"
    assert dict(zip(found.given, found.weights, strict=True)) == pytest.approx({"a": 0, "fine": 0.15, "but": 0, "dull": -0.1, "film": 0})
    assert found.base == pytest.approx(0.5)
    assert found.background_count == 0
