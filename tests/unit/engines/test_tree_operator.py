"""Trees read out of the operators of ai.onnx.ml and written back: not one bit of an answer changes, and what cannot be held is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from drawn_trees import Shape, classifier, draw_rows, draw_trees, regressor
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from fairlead.convert.trees.graph import build_model
from fairlead.core.dtype import DType
from fairlead.core.tree_ensemble import Missing, Split
from fairlead.engines.tree_ensemble_engine import sums_of
from fairlead.engines.tree_operator import is_tree_node, read_operator, write_operator
from fairlead.engines.tree_sites import find_sites, in_rounds, write_site
from fairlead.engines.tree_vectors import with_vector_leaves
from fairlead.errors import UnsupportedError

NAN_ONLY = (Missing.NAN,)


def ran(model: Any, rows: np.ndarray) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: rows})


def bits(answers: list[Any]) -> list[bytes]:
    return [np.asarray(answer).tobytes() for answer in answers]


@settings(deadline=None, max_examples=12)
@given(st.integers(0, 10**6), st.integers(1, 3), st.booleans(), st.sampled_from([DType.FP32, DType.FP64]))
def test_reading_and_writing_back_changes_no_bit(seed: int, outputs: int, is_vector: bool, dtype: DType) -> None:
    shape = Shape(trees=6, outputs=outputs, has_vector_leaves=is_vector and outputs > 1, compare=dtype, sums=dtype)
    trees = draw_trees(seed, shape)
    model = build_model(trees, regressor(trees))
    rows = draw_rows(seed + 1, trees, 40)
    before = bits(ran(model, rows))
    (site,) = find_sites(model)
    write_site(model, site, with_vector_leaves(site.trees))
    onnx.checker.check_model(model)
    assert bits(ran(model, rows)) == before


@settings(deadline=None, max_examples=12)
@given(st.integers(0, 10**6), st.sampled_from([DType.FP32, DType.FP64]))
def test_what_is_read_adds_up_as_onnx_runtime_does(seed: int, dtype: DType) -> None:
    splits = (Split.LESS, Split.LESS_OR_EQUAL, Split.GREATER, Split.EQUAL)
    trees = draw_trees(seed, Shape(trees=6, outputs=2, compare=dtype, sums=dtype, splits=splits, missing=NAN_ONLY))
    model = build_model(trees, regressor(trees))
    rows = draw_rows(seed + 1, trees, 40)
    (site,) = find_sites(model)
    assert sums_of(site.trees, rows).tobytes() == ran(model, rows)[0].tobytes()


def legacy_node(kind: str = "TreeEnsembleRegressor", **changes: Any) -> Any:
    """Two trees over two features; the second is a single leaf."""
    entries = "class" if kind == "TreeEnsembleClassifier" else "target"
    attributes = {
        "nodes_treeids": [0, 0, 0, 1],
        "nodes_nodeids": [0, 1, 2, 0],
        "nodes_featureids": [1, 0, 0, 0],
        "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF", "LEAF"],
        "nodes_values": [0.5, 0.0, 0.0, 0.0],
        "nodes_truenodeids": [1, 0, 0, 0],
        "nodes_falsenodeids": [2, 0, 0, 0],
        f"{entries}_treeids": [0, 0, 1],
        f"{entries}_nodeids": [1, 2, 0],
        f"{entries}_ids": [0, 0, 0],
        f"{entries}_weights": [1.0, 2.0, 0.25],
    }
    extra = {"n_targets": 1} if entries == "target" else {"classlabels_int64s": [0, 1], "post_transform": "LOGISTIC"}
    return helper.make_node(
        kind, ["x"], ["label", "y"] if entries == "class" else ["y"], domain="ai.onnx.ml", **(attributes | extra | changes)
    )


def legacy_model(node: Any) -> Any:
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    if len(node.output) > 1:
        outputs.insert(0, helper.make_tensor_value_info("label", TensorProto.INT64, None))
    graph = helper.make_graph([node], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])], outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)], ir_version=8)


ROWS = np.array([[0, 0.5], [0, 0.50000006], [0, np.nan], [0, np.inf], [0, -np.inf], [0, 0]], dtype=np.float32)
CHANGES = {
    "less": {"nodes_modes": ["BRANCH_LT", "LEAF", "LEAF", "LEAF"]},
    "greater or equal": {"nodes_modes": ["BRANCH_GTE", "LEAF", "LEAF", "LEAF"]},
    "greater": {"nodes_modes": ["BRANCH_GT", "LEAF", "LEAF", "LEAF"]},
    "equal": {"nodes_modes": ["BRANCH_EQ", "LEAF", "LEAF", "LEAF"]},
    "not equal": {"nodes_modes": ["BRANCH_NEQ", "LEAF", "LEAF", "LEAF"]},
    "a base": {"base_values": [0.5]},
    "a mean": {"aggregate_function": "AVERAGE"},
}
TRACKED = {name: change | {"nodes_missing_value_tracks_true": [1, 0, 0, 0]} for name, change in CHANGES.items()}


@pytest.mark.parametrize("changes", [*CHANGES.values(), *TRACKED.values()], ids=[*CHANGES, *(f"{name}, tracked" for name in TRACKED)])
def test_every_way_to_ask_is_read_as_onnx_runtime_takes_it(changes: dict[str, Any]) -> None:
    node = legacy_node(**changes)
    before = ran(legacy_model(node), ROWS)[0]
    trees = replace(read_operator(node), feature_count=2)
    assert np.array_equal(sums_of(trees, ROWS), before)
    assert np.array_equal(ran(legacy_model(write_operator(trees, node)), ROWS)[0], before)


def test_a_classifier_keeps_its_labels_and_transform() -> None:
    node = legacy_node("TreeEnsembleClassifier")
    before = bits(ran(legacy_model(node), ROWS))
    trees = read_operator(node)
    assert bits(ran(legacy_model(write_operator(trees, node)), ROWS)) == before


def test_a_classifier_whose_own_rule_would_change_is_refused() -> None:
    node = legacy_node("TreeEnsembleClassifier")
    trees = read_operator(node)
    with pytest.raises(UnsupportedError, match="rule for labels"):
        write_operator(replace(trees, leaf_values=-trees.leaf_values), node)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"aggregate_function": "MAX"}, "smallest or largest"),
        ({"nodes_nodeids": [0, 1, 1, 0]}, "one number"),
        ({"nodes_truenodeids": [7, 0, 0, 0]}, "does not exist"),
        ({"nodes_truenodeids": [2, 0, 0, 0]}, "share nodes"),
        ({"target_ids": [0, 3, 0]}, "output that does not exist"),
        ({"target_nodeids": [1, 1, 0]}, "adds twice"),
        ({"nodes_modes": ["BRANCH_MEMBER", "LEAF", "LEAF", "LEAF"]}, "of kind"),
        ({"base_values": [0.5, 0.5]}, "base values"),
    ],
)
def test_trees_that_the_value_cannot_hold_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UnsupportedError, match=words):
        read_operator(legacy_node(**changes))


def test_sets_that_hold_no_whole_numbers_are_refused() -> None:
    trees = draw_trees(3, Shape(trees=2, splits=(Split.CATEGORY,), missing=NAN_ONLY))
    model = build_model(trees, regressor(trees))
    node = next(node for node in model.graph.node if is_tree_node(node))
    members = next(item for item in node.attribute if item.name == "membership_values")
    values = numpy_helper.to_array(members.t).copy()
    values[np.flatnonzero(~np.isnan(values))[0]] = 0.5
    members.t.CopyFrom(numpy_helper.from_array(values))
    with pytest.raises(UnsupportedError, match="not whole"):
        read_operator(node)


def test_rounds_are_filled_with_trees_of_zero() -> None:
    trees = draw_trees(1, Shape(trees=5, outputs=2))
    trees = replace(trees, groups=np.array([0, 0, 0, 1, 0], dtype=np.int32))
    filled = in_rounds(trees)
    filled.check()
    assert filled.groups.tolist() == [0, 1] * 4
    rows = draw_rows(2, trees, 30)
    with np.errstate(all="ignore"):
        assert sums_of(filled, rows).tobytes() == sums_of(trees, rows).tobytes()


def test_trees_once_per_output_become_one_and_add_up_alike() -> None:
    trees = draw_trees(4, Shape(trees=5, outputs=3, has_vector_leaves=True, splits=(Split.LESS,), missing=NAN_ONLY))
    (site,) = find_sites(build_model(trees, classifier(trees)))
    joined = with_vector_leaves(site.trees)
    joined.check()
    assert joined.tree_count == trees.tree_count + 1  # and one for the base
    rows = draw_rows(5, trees, 40)
    assert sums_of(joined, rows).tobytes() == sums_of(site.trees, rows).tobytes()
