"""XGBoost's trees as an ensemble: the sums are XGBoost's own bit for bit, and what has no exact meaning is refused by name."""

from __future__ import annotations

import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parent))
from xgboost_files import JSON, UBJ, answers, document, forest, tree

from fairlead.core.dtype import DType
from fairlead.core.tree_ensemble import Split, Transform
from fairlead.engines.tree_ensemble_engine import sums_of
from fairlead.engines.tree_ensemble_outputs import transformed
from fairlead.errors import SourceError, UnsupportedError
from fairlead.security.xgboost_model import model_of, parse_xgboost
from fairlead.security.xgboost_trees import OBJECTIVES, ensemble_of

MODEL = parse_xgboost(JSON)


def test_both_forms_give_the_same_ensemble() -> None:
    one, other = ensemble_of(MODEL), ensemble_of(parse_xgboost(UBJ))
    for item in fields(one):
        np.testing.assert_array_equal(getattr(one, item.name), getattr(other, item.name), err_msg=item.name)


@pytest.mark.parametrize("data", [JSON, UBJ])
def test_the_sums_are_the_margins_of_xgboost_bit_for_bit(data: bytes) -> None:
    known, trees = answers(), ensemble_of(parse_xgboost(data))
    sums = sums_of(trees, known["x"])
    assert sums.dtype == known["margin"].dtype == np.float32
    np.testing.assert_array_equal(sums[:, 0], known["margin"])
    np.testing.assert_allclose(transformed(trees, sums)[:, 0], known["probability"], rtol=1e-6)


def test_the_sums_added_in_double_would_be_others() -> None:
    """The control: the stored margins do tell single from double precision."""
    known, trees = answers(), ensemble_of(MODEL)
    wide = sums_of(replace(trees, sum_dtype=DType.FP64), known["x"])[:, 0]
    assert (wide.astype(np.float32) != known["margin"]).any()


def test_a_file_with_the_base_score_as_plain_text_gives_the_same_sums() -> None:
    model = document()
    model["learner"]["learner_model_param"]["base_score"] = "4.25E-1"
    np.testing.assert_array_equal(sums_of(ensemble_of(model_of(model)), answers()["x"])[:, 0], answers()["margin"])


def test_the_first_rounds_alone_are_the_first_trees() -> None:
    short, whole = ensemble_of(MODEL, round_count=2), ensemble_of(MODEL)
    assert (short.tree_count, whole.tree_count, ensemble_of(MODEL, round_count=99).tree_count) == (2, 6, 6)
    np.testing.assert_array_equal(short.leaf_values, whole.leaf_values[: short.node_count])


def test_listed_categories_go_to_xgboosts_right_child_and_everything_else_to_its_left() -> None:
    trees = ensemble_of(MODEL)
    node = int(np.flatnonzero(trees.splits == Split.CATEGORY)[0])
    members = trees.category_values[trees.category_offsets[node] : trees.category_offsets[node + 1]]
    assert members.tolist() == [0, 1, 2, 4, 5, 7, 8]
    listed, others = tree(document())["split_conditions"][8], tree(document())["split_conditions"][7]
    assert trees.leaf_values[trees.left[node], 0] == np.float32(listed)
    assert trees.leaf_values[trees.right[node], 0] == np.float32(others)


def test_a_node_of_categories_without_a_set_sends_all_to_xgboosts_left() -> None:
    model = document()
    for name in ("categories", "categories_nodes", "categories_segments", "categories_sizes"):
        tree(model)[name] = []
    trees = ensemble_of(model_of(model))
    rows = np.asarray([[-2.0, 0.0, kind] for kind in range(9)], np.float32)
    assert len(np.unique(sums_of(replace(trees, **_only_first(trees)), rows))) == 1


def _only_first(trees: Any) -> dict[str, Any]:
    return {"roots": trees.roots[:1], "groups": trees.groups[:1]}


@pytest.mark.parametrize("name", ["survival:aftt", "custom", "", "multi:softprob2", "x" * 5000, "None"])
def test_an_objective_that_is_not_known_is_refused_by_name(name: str) -> None:
    with pytest.raises(UnsupportedError, match="objective") as caught:
        ensemble_of(replace(MODEL, objective=name))
    assert name[:20] in caught.value.message
    assert len(caught.value.message) < 400


@pytest.mark.parametrize(
    "name", [item for item in OBJECTIVES if item.startswith(("binary:", "rank:", "survival:")) and item != "binary:logistic"]
)
def test_several_labels_at_once_are_refused_and_not_taken_for_classes(name: str) -> None:
    with pytest.raises(UnsupportedError, match="with 3 outputs"):
        ensemble_of(replace(MODEL, objective=name, output_count=3, base_scores=(0.5,) * 3))


@pytest.mark.parametrize("name", ["multi:softprob", "multi:softmax"])
def test_classes_need_more_than_one_output(name: str) -> None:
    with pytest.raises(UnsupportedError, match="with 1 outputs"):
        ensemble_of(replace(MODEL, objective=name))


@pytest.mark.parametrize(
    ("objective", "score", "margin"),
    [
        ("binary:logistic", 0.5, 0.0),
        ("reg:logistic", 0.2, -np.log(np.float32(1) / np.float32(0.2) - np.float32(1), dtype=np.float32)),
        ("count:poisson", 1.0, 0.0),
        ("binary:logitraw", 0.25, 0.25),
        ("reg:squarederror", -3.0, -3.0),
    ],
)
def test_the_base_score_becomes_a_margin_as_in_xgboost(objective: str, score: float, margin: float) -> None:
    base = ensemble_of(replace(MODEL, objective=objective, base_scores=(score,))).base
    np.testing.assert_allclose(base, [margin], rtol=2e-7)


@pytest.mark.parametrize(
    ("objective", "score"),
    [("binary:logistic", 0.0), ("binary:logistic", 1.0), ("binary:logistic", 2.0), ("reg:gamma", 0.0), ("count:poisson", -1.0)],
)
def test_a_base_score_that_has_no_margin_is_refused(objective: str, score: float) -> None:
    with pytest.raises(SourceError, match="base score"):
        ensemble_of(replace(MODEL, objective=objective, base_scores=(score,)))


def test_weights_of_dart_are_multiplied_in_single_precision() -> None:
    weights = np.asarray([0.1, 1 / 3, 1, 1, 1, 1], np.float32)
    trees, plain = ensemble_of(replace(MODEL, weights=weights)), ensemble_of(MODEL)
    first = slice(0, int(plain.roots[1]))
    expected = (plain.leaf_values[first].astype(np.float32) * weights[0]).astype(np.float64)
    np.testing.assert_array_equal(trees.leaf_values[first], expected)


def test_vector_leaves_are_taken_by_their_numbers() -> None:
    model = document()
    model["learner"]["learner_model_param"].update(num_target="2", num_class="0")
    model["learner"]["objective"]["name"] = "reg:squarederror"
    forest(model).update(trees=[vector_tree()], tree_info=[0], iteration_indptr=[0, 1])
    trees = ensemble_of(model_of(model))
    sums = sums_of(trees, np.asarray([[0.0, 0, 0], [2.0, 0, 0]], np.float32))
    np.testing.assert_array_equal(sums, np.float32(0.425) + np.asarray([[3, 4], [1, 2]], np.float32))
    forest(model)["trees"][0]["right_children"][1] = 2
    with pytest.raises(SourceError, match="leaf without values"):
        ensemble_of(model_of(model))


def vector_tree() -> dict[str, Any]:
    parameters = {"num_nodes": "3", "size_leaf_vector": "2"}
    return {
        "tree_param": parameters,
        "left_children": [1, -1, -1],
        "right_children": [2, 1, 0],
        "split_indices": [0, 0, 0],
        "split_conditions": [1.0, 0.0, 0.0],
        "default_left": [0, 0, 0],
        "leaf_weights": [1.0, 2.0, 3.0, 4.0],
    }


def test_trees_of_which_only_some_have_vector_leaves_are_refused() -> None:
    model = document()
    model["learner"]["learner_model_param"].update(num_target="2")
    model["learner"]["objective"]["name"] = "reg:squarederror"
    forest(model)["trees"][0] = vector_tree()
    with pytest.raises(SourceError, match="some do not"):
        ensemble_of(model_of(model))


@pytest.mark.parametrize(("place", "value"), [(1, 0), (1, 1), (3, 1), (2, 1)])
def test_cycles_and_shared_children_are_refused(place: int, value: int) -> None:
    model = document()
    tree(model)["left_children"][place] = value
    with pytest.raises(SourceError, match="twice"):
        ensemble_of(model_of(model))


@pytest.mark.parametrize(
    ("node", "value", "reason"),
    [(0, float("nan"), "threshold"), (4, float("nan"), "finite"), (4, float("inf"), "finite"), (4, 1e39, "finite")],
)
def test_thresholds_that_are_no_numbers_and_leaves_that_are_not_finite_are_refused(node: int, value: float, reason: str) -> None:
    model = document()
    tree(model)["split_conditions"][node] = value
    with pytest.raises(SourceError, match=reason):
        ensemble_of(model_of(model))


def test_weights_that_leave_the_range_of_single_precision_are_refused() -> None:
    model = document()
    tree(model)["split_conditions"][4] = 2.0
    with pytest.raises(SourceError, match="finite"):
        ensemble_of(replace(model_of(model), weights=np.full(6, 3e38, np.float32)))


def test_a_model_without_trees_answers_its_base() -> None:
    model = document()
    forest(model).update(trees=[], tree_info=[], iteration_indptr=[0])
    trees = ensemble_of(model_of(model))
    assert trees.transform is Transform.SIGMOID
    assert (sums_of(trees, np.zeros((2, 3), np.float32)) == np.float32(trees.base[0])).all()


def test_nodes_that_nothing_leads_to_stay_out() -> None:
    """XGBoost leaves pruned nodes where they were."""
    model = document()
    left, right = tree(model)["left_children"], tree(model)["right_children"]
    pruned = (left[1], right[1])
    left[1], right[1] = -1, -1
    trees = ensemble_of(model_of(model))
    assert trees.node_count < sum(len(item.left) for item in MODEL.trees)
    assert pruned == (3, 4)
