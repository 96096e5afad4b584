"""Classical models: ai.onnx.ml operators, labels as text, dictionaries, missing values; and what is refused on purpose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from onnx_models.case import FLOAT, INT64, ML, TEXT, WORDS, Case, model, weight

node = helper.make_node
_LABELS = ["nein", "größer", "非常"]


def _tree(prefix: str, leaves: int, *, missing: int = 0) -> dict[str, Any]:
    """Two trees of one split each on features 0 and 1; `leaves` classes (or targets) share the leaves."""
    nodes = {
        "nodes_treeids": [0, 0, 0, 1, 1, 1],
        "nodes_nodeids": [0, 1, 2, 0, 1, 2],
        "nodes_featureids": [0, 0, 0, 1, 0, 0],
        "nodes_values": [0.25, 0.0, 0.0, -0.5, 0.0, 0.0],
        "nodes_hitrates": [1.0] * 6,
        "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF", "BRANCH_LT", "LEAF", "LEAF"],
        "nodes_truenodeids": [1, 0, 0, 1, 0, 0],
        "nodes_falsenodeids": [2, 0, 0, 2, 0, 0],
        "nodes_missing_value_tracks_true": [missing, 0, 0, missing, 0, 0],
    }
    ends = [(tree, leaf, kind) for tree in (0, 1) for leaf in (1, 2) for kind in range(leaves)]
    weights = np.random.default_rng(3).dirichlet(np.ones(leaves), 4).reshape(-1) / 2
    return nodes | {
        f"{prefix}_treeids": [tree for tree, _, _ in ends],
        f"{prefix}_nodeids": [leaf for _, leaf, _ in ends],
        f"{prefix}_ids": [kind for _, _, kind in ends],
        f"{prefix}_weights": weights.astype(np.float32).tolist(),
    }


def trees(*, labels: list[str] | None = None, has_dictionaries: bool = False) -> Any:
    named = {"classlabels_strings": labels} if labels else {"classlabels_int64s": [0, 1, 2]}
    nodes = [node("TreeEnsembleClassifier", ["x"], ["label", "scores"], domain=ML, **_tree("class", 3), **named)]
    kind = TEXT if labels else INT64
    outputs: list[Any] = [("label", kind, ["n"]), ("scores", FLOAT, ["n", 3])]
    made = model(nodes, [("x", FLOAT, ["n", 3])], outputs)
    if has_dictionaries:
        made.graph.node.append(node("ZipMap", ["scores"], ["dicts"], domain=ML, **named))
        made.graph.output.pop()
        entry = helper.make_map_type_proto(kind, helper.make_tensor_type_proto(FLOAT, []))
        made.graph.output.append(helper.make_value_info("dicts", helper.make_sequence_type_proto(entry)))
    return made


def tree_regressor() -> Any:
    nodes = [node("TreeEnsembleRegressor", ["x"], ["y"], domain=ML, n_targets=1, **_tree("target", 1, missing=1))]
    return model(nodes, [("x", FLOAT, ["n", 3])], [("y", FLOAT, ["n", 1])])


def linear() -> Any:
    nodes = [
        node("Scaler", ["x"], ["s"], domain=ML, offset=[0.1, 0.2, 0.3, 0.4], scale=[1.0, 2.0, 3.0, 4.0]),
        node(
            "LinearClassifier",
            ["s"],
            ["label", "raw"],
            domain=ML,
            coefficients=weight(12).tolist(),
            intercepts=[0.1, 0.0, -0.1],
            classlabels_strings=_LABELS,
            multi_class=0,
            post_transform="SOFTMAX",
        ),
        node("Normalizer", ["raw"], ["scores"], domain=ML, norm="L1"),
    ]
    return model(nodes, [("x", FLOAT, ["n", 4])], [("label", TEXT, ["n"]), ("scores", FLOAT, ["n", 3])])


def regressor() -> Any:
    nodes = [
        node("Imputer", ["x"], ["i"], domain=ML, imputed_value_floats=[0.5] * 4, replaced_value_float=float("nan")),
        node("LinearRegressor", ["i"], ["y"], domain=ML, coefficients=weight(4).tolist(), intercepts=[0.25], targets=1),
    ]
    return model(nodes, [("x", FLOAT, ["n", 4])], [("y", FLOAT, ["n", 1])])


def words() -> Any:
    """Text in, text out, over a table of words; one is unseen."""
    nodes = [
        node("LabelEncoder", ["city"], ["code"], domain=ML, keys_strings=WORDS[:4].tolist(), values_int64s=[0, 1, 2, 3], default_int64=4),
        node("Gather", ["table", "code"], ["e"]),
        node("Reshape", ["e", "flat"], ["f"]),
        node("Add", ["f", "age"], ["z"]),
        node("ArgMax", ["z"], ["best"], axis=1, keepdims=0),
        node("LabelEncoder", ["best"], ["label"], domain=ML, keys_int64s=[0, 1, 2], values_strings=_LABELS, default_string="?"),
    ]
    inputs = [("city", TEXT, ["n", 1]), ("age", FLOAT, ["n", 1])]
    return model(nodes, inputs, [("label", TEXT, ["n"])], {"table": weight(5, 3), "flat": np.array([-1, 3], dtype=np.int64)})


def custom_operator() -> Any:
    made = model([node("Magic", ["x"], ["y"], domain="my.company")], [("x", FLOAT, ["n", 4])], [("y", FLOAT, ["n", 4])])
    made.opset_import.append(helper.make_opsetid("my.company", 1))
    return made


def random_answers() -> Any:
    nodes = [node("RandomNormalLike", ["x"], ["noise"]), node("Add", ["x", "noise"], ["y"])]
    return model(nodes, [("x", FLOAT, ["n", 4])], [("y", FLOAT, ["n", 4])])


def one_answer_for_all() -> Any:
    nodes = [node("ReduceMean", ["x"], ["y"], keepdims=1)]
    return model(nodes, [("x", FLOAT, ["n", 4])], [("y", FLOAT, [1, 1])])


def sequence_output() -> Any:
    made = model([node("SplitToSequence", ["x"], ["y"], axis=1)], [("x", FLOAT, ["n", 4])], [])
    kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(FLOAT, None))
    made.graph.output.append(helper.make_value_info("y", kind))
    return made


def no_operator() -> Any:
    return model([node("NoSuchOperator", ["x"], ["y"])], [("x", FLOAT, ["n", 4])], [("y", FLOAT, ["n", 4])])


def complex_numbers() -> Any:
    return model([node("Identity", ["x"], ["y"])], [("x", TensorProto.COMPLEX64, ["n"])], [("y", TensorProto.COMPLEX64, ["n"])])


def save_outside(made: Any, path: Path) -> None:
    """Weights in a file that lies in another folder."""
    onnx.save(made, path, save_as_external_data=True, location="w.data", size_threshold=0)
    made = onnx.load(path, load_external_data=False)
    for tensor in made.graph.initializer:
        next(entry for entry in tensor.external_data if entry.key == "location").value = "../w.data"
    onnx.save(made, path)


def _weights() -> Any:
    return model([node("MatMul", ["x", "w"], ["y"])], [("x", FLOAT, ["n", 64])], [("y", FLOAT, ["n", 64])], {"w": weight(64, 64)})


FAMILIES = {
    "trees": (
        Case("classifier with numbers for labels", trees),
        Case("classifier with text labels", lambda: trees(labels=_LABELS)),
        Case("classifier with dictionaries", lambda: trees(labels=_LABELS, has_dictionaries=True)),
        Case("regressor with missing values", tree_regressor, missing=True),
    ),
    "tables": (
        Case("scaled linear classifier with text labels", linear),
        Case("imputed linear regressor", regressor, missing=True),
        Case("text in, text out, an unseen word", words),
    ),
    "refused on purpose": (
        Case("an operator of a company", custom_operator, is_refused=True),
        Case("an operator that there is not", no_operator, is_refused=True),
        Case("random answers", random_answers, is_refused=True),
        Case("one answer for all rows", one_answer_for_all, is_refused=True),
        Case("a list as an answer", sequence_output, is_refused=True),
        Case("complex numbers", complex_numbers, is_refused=True),
        Case("weights outside of its folder", _weights, is_refused=True, save=save_outside),
    ),
}
