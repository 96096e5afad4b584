"""Facts of models against figures computed by hand, and totals that are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fairlead.core.dtype import DType
from fairlead.core.facts import ModelFacts
from fairlead.core.interface import Interface, TensorSpec
from fairlead.errors import SourceError
from fairlead.plan.facts import model_facts

FP = TensorProto.FLOAT


def weight(name: str, *shape: int) -> onnx.TensorProto:
    return numpy_helper.from_array(np.zeros(shape, np.float32), name)


def facts_of(tmp_path: Path, nodes, weights, shape, *, outputs=("y",), opset: int = 17, ml: int = 0, **options) -> ModelFacts:
    takes = [helper.make_tensor_value_info("x", FP, ["n", *shape])]
    gives = [helper.make_tensor_value_info(name, FP, None) for name in outputs]
    graph = helper.make_graph(nodes, "g", takes, gives, weights)
    opsets = [helper.make_opsetid("", opset), *([helper.make_opsetid("ai.onnx.ml", ml)] if ml else [])]
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    spec = TensorSpec("x", DType.FP32, (None, *(size if isinstance(size, int) else None for size in shape)))
    return model_facts(path, Interface((spec,), (TensorSpec("y", DType.FP32, (None,)),)), **options)


def test_a_small_cnn_costs_what_paper_and_pencil_say(tmp_path):
    nodes = [
        helper.make_node("Conv", ["x", "k", "b"], ["c"]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "w", "wb"], ["y"]),
    ]
    facts = facts_of(
        tmp_path, nodes, [weight("k", 8, 1, 3, 3), weight("b", 8), weight("w", 8 * 13 * 13, 10), weight("wb", 10)], (1, 28, 28)
    )
    conv = 26 * 26 * 8
    assert facts.flops_by_kind == {
        "convolution": conv * 9 * 2 + conv,
        "elementwise": conv,
        "pooling": 13 * 13 * 8 * 4,
        "matrix": 1352 * 10 * 2 + 10,
    }
    assert facts.parameter_count == 72 + 8 + 13520 + 10
    assert facts.parameter_bytes == facts.weight_bytes == 4 * facts.parameter_count
    assert facts.activation_bytes == 4 * ((784 + conv) + 2 * conv + (conv + 1352) + (1352 + 10))
    assert facts.activation_peak_bytes == 4 * 2 * conv, "while Relu runs, its input and its output are alive"
    assert facts.bytes_moved(3) == facts.weight_bytes + 3 * facts.activation_bytes
    assert facts.notes == ()


def test_grouped_and_transposed_convolutions_count_their_own_channels_only(tmp_path):
    nodes = [
        helper.make_node("Conv", ["x", "d"], ["a"], group=16, pads=[1, 1, 1, 1]),
        helper.make_node("ConvTranspose", ["a", "t", "tb"], ["y"], strides=[2, 2]),
    ]
    facts = facts_of(tmp_path, nodes, [weight("d", 16, 1, 3, 3), weight("t", 16, 4, 2, 2), weight("tb", 4)], (16, 8, 8))
    assert facts.flops_by_kind == {"convolution": 2 * 16 * 64 * 9 + 2 * 16 * 64 * 4 * 4 + 4 * 16 * 16}


def inverted_residual(nodes, weights, name, source, size, width, out, stride):
    """Expand, depthwise, project, as in MobileNetV2, with batch normalization folded in."""
    made = [
        (f"{name}e", (width, size, 1, 1), {}),
        (f"{name}d", (width, 1, 3, 3), {"group": width, "pads": [1] * 4, "strides": [stride] * 2}),
    ]
    for key, shape, attributes in [*made, (f"{name}p", (out, width, 1, 1), {})]:
        if key.endswith("e") and width == size:
            continue
        weights += [weight(f"{key}w", *shape), weight(f"{key}b", shape[0])]
        nodes.append(helper.make_node("Conv", [source, f"{key}w", f"{key}b"], [key], **attributes))
        source = key
        if not key.endswith("p"):
            nodes.append(helper.make_node("Clip", [key, "zero", "six"], [f"{key}c"]))
            source = f"{key}c"
    return source


def test_mobilenet_v2_has_its_published_parameters_and_multiply_adds(tmp_path):
    """3.4 million parameters and 300 million multiply-adds (M. Sandler et al., MobileNetV2, CVPR 2018, table 4)."""
    nodes = [
        helper.make_node("Conv", ["x", "w0", "b0"], ["c0"], pads=[1] * 4, strides=[2, 2]),
        helper.make_node("Clip", ["c0", "zero", "six"], ["s"]),
    ]
    weights = [
        weight("w0", 32, 3, 3, 3),
        weight("b0", 32),
        numpy_helper.from_array(np.float32(0), "zero"),
        numpy_helper.from_array(np.float32(6), "six"),
    ]
    source, size, number = "s", 32, 0
    for expand, out, repeat, stride in (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ):
        for turn in range(repeat):
            given = inverted_residual(nodes, weights, f"k{number}", source, size, size * expand, out, stride if turn == 0 else 1)
            if turn:
                nodes.append(helper.make_node("Add", [source, given], [f"a{number}"]))
            source, size, number = f"a{number}" if turn else given, out, number + 1
    weights += [weight("wl", 1280, 320, 1, 1), weight("bl", 1280), weight("wc", 1280, 1000), weight("bc", 1000)]
    nodes += [
        helper.make_node("Conv", [source, "wl", "bl"], ["l"]),
        helper.make_node("Clip", ["l", "zero", "six"], ["lc"]),
        helper.make_node("GlobalAveragePool", ["lc"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("Gemm", ["f", "wc", "bc"], ["y"]),
    ]
    facts = facts_of(tmp_path, nodes, weights, (3, 224, 224))
    assert facts.parameter_count / 1e6 == pytest.approx(3.5, abs=0.05)
    assert (facts.flops_by_kind["convolution"] + facts.flops_by_kind["matrix"]) / 2e6 == pytest.approx(300, rel=0.02)
    assert facts.operation_count["Conv"] == 52
    assert facts.notes == ()


def test_an_lstm_costs_its_gates_at_each_step(tmp_path):
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        helper.make_node("LSTM", ["t", "w", "r", "b"], ["y", "", ""], hidden_size=32),
    ]
    facts = facts_of(tmp_path, nodes, [weight("w", 1, 128, 16), weight("r", 1, 128, 32), weight("b", 1, 256)], (20, 16))
    assert facts.flops_by_kind == {"recurrent": 20 * (2 * 4 * 32 * (16 + 32) + 13 * 32)}
    assert facts.parameter_count == 128 * 16 + 128 * 32 + 256


def test_both_directions_of_a_gru_count(tmp_path):
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        helper.make_node("GRU", ["t", "w", "r"], ["y", ""], hidden_size=8, direction="bidirectional"),
    ]
    facts = facts_of(tmp_path, nodes, [weight("w", 2, 24, 5), weight("r", 2, 24, 8)], (7, 5))
    assert facts.flops_by_kind == {"recurrent": 2 * 7 * (2 * 3 * 8 * (5 + 8) + 11 * 8)}


def attention_block(width: int, heads: int):
    shape = numpy_helper.from_array(np.array([0, 0, heads, width // heads], np.int64), "heads")
    back = numpy_helper.from_array(np.array([0, 0, width], np.int64), "back")
    nodes = [helper.make_node("LayerNormalization", ["x", "g"], ["n"])]
    for name in "qkv":
        nodes += [
            helper.make_node("MatMul", ["n", f"w{name}"], [f"p{name}"]),
            helper.make_node("Reshape", [f"p{name}", "heads"], [f"h{name}"]),
            helper.make_node("Transpose", [f"h{name}"], [name], perm=[0, 2, 3, 1] if name == "k" else [0, 2, 1, 3]),
        ]
    nodes += [
        helper.make_node("MatMul", ["q", "k"], ["s"]),
        helper.make_node("Softmax", ["s"], ["a"]),
        helper.make_node("MatMul", ["a", "v"], ["o"]),
        helper.make_node("Transpose", ["o"], ["ot"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["ot", "back"], ["or"]),
        helper.make_node("MatMul", ["or", "wo"], ["z"]),
        helper.make_node("Add", ["z", "x"], ["y"]),
    ]
    return nodes, [shape, back, weight("g", width), *(weight(f"w{name}", width, width) for name in "qkvo")]


def test_a_transformer_block_is_quadratic_in_the_length_that_is_assumed_and_said(tmp_path):
    nodes, weights = attention_block(64, 4)
    facts = facts_of(tmp_path, nodes, weights, ("length", 64), free_size=10)
    assert facts.flops_by_kind["matrix"] == 4 * 2 * 10 * 64 * 64 + 2 * (2 * 10 * 10 * 64)
    assert facts.flops_by_kind["normalization"] == 7 * 10 * 64
    assert facts.flops_by_kind["elementwise"] == 5 * 4 * 10 * 10 + 10 * 64
    assert facts.notes == ("the free size 1 of 'x' is taken to be 10",)


def test_an_attention_operator_costs_what_its_parts_cost(tmp_path):
    nodes = [helper.make_node("Attention", ["x", "k", "v"], ["y"], q_num_heads=4, kv_num_heads=4)]
    facts = facts_of(tmp_path, nodes, [weight("k", 1, 12, 32), weight("v", 1, 12, 32)], (12, 32), opset=23)
    assert facts.flops_by_kind == {"matrix": 2 * (2 * 12 * 12 * 32) + 5 * 4 * 12 * 12}


def test_an_einsum_multiplies_all_its_index_sizes(tmp_path):
    nodes = [helper.make_node("Einsum", ["x", "w"], ["y"], equation="nij, jk -> nik")]
    assert facts_of(tmp_path, nodes, [weight("w", 5, 7)], (3, 5)).flops_by_kind == {"matrix": 2 * 3 * 5 * 7}


def test_quantized_products_and_their_whole_number_weights_count(tmp_path):
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        helper.make_node("MatMulInteger", ["q", "w", "z"], ["i"]),
        helper.make_node("Cast", ["i"], ["y"], to=FP),
    ]
    facts = facts_of(tmp_path, nodes, [numpy_helper.from_array(np.zeros((6, 4), np.int8), "w")], (6,))
    assert facts.flops_by_kind == {"elementwise": 24, "matrix": 48}
    assert (facts.parameter_count, facts.parameter_bytes) == (24, 24)


def test_an_embedding_reads_the_rows_that_it_gives_and_not_its_table(tmp_path):
    nodes = [helper.make_node("Cast", ["x"], ["i"], to=TensorProto.INT64), helper.make_node("Gather", ["table", "i"], ["y"])]
    facts = facts_of(tmp_path, nodes, [weight("table", 50_000, 16)], (3,))
    assert facts.weight_bytes == 0
    assert facts.parameter_bytes == 4 * 800_000
    assert facts.activation_bytes == (12 + 24) + 24 + 2 * 3 * 16 * 4


def test_what_cannot_be_counted_is_named_and_not_guessed(tmp_path):
    nodes = [
        helper.make_node("NonZero", ["x"], ["z"]),
        helper.make_node("Cast", ["z"], ["f"], to=FP),
        helper.make_node("Relu", ["f"], ["y"]),
    ]
    facts = facts_of(tmp_path, nodes, [], (4,))
    assert facts.flops_by_kind == {}
    assert any(note.startswith("1 x NonZero is not counted") for note in facts.notes)
    assert any(note.startswith("1 x Relu is not counted: a shape is not known") for note in facts.notes)


def test_the_operators_of_a_loop_count_once_and_the_notes_say_so(tmp_path):
    body = helper.make_graph(
        [helper.make_node("Relu", ["state"], ["next"]), helper.make_node("Identity", ["go"], ["still"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", FP, [1, 4]),
        ],
        [helper.make_tensor_value_info("still", TensorProto.BOOL, []), helper.make_tensor_value_info("next", FP, [1, 4])],
    )
    times = numpy_helper.from_array(np.array(5, np.int64), "times")
    facts = facts_of(tmp_path, [helper.make_node("Loop", ["times", "", "x"], ["y"], body=body)], [times], (4,))
    assert facts.operation_count == {"Identity": 1, "Loop": 1, "Relu": 1}
    assert facts.flops_by_kind == {"elementwise": 4}
    assert "what a Loop repeats is counted once" in facts.notes


def forest(trees: int):
    """Each tree: a root, a leaf on its left, a split with two leaves on its right."""
    count = trees * 5
    return helper.make_node(
        "TreeEnsembleRegressor",
        ["x"],
        ["y"],
        domain="ai.onnx.ml",
        n_targets=1,
        nodes_treeids=[tree for tree in range(trees) for _ in range(5)],
        nodes_nodeids=list(range(5)) * trees,
        nodes_featureids=[0, 0, 1, 0, 0] * trees,
        nodes_modes=["BRANCH_LEQ", "LEAF", "BRANCH_LEQ", "LEAF", "LEAF"] * trees,
        nodes_values=[0.5] * count,
        nodes_truenodeids=[1, 0, 3, 0, 0] * trees,
        nodes_falsenodeids=[2, 0, 4, 0, 0] * trees,
        target_treeids=[tree for tree in range(trees) for _ in range(3)],
        target_nodeids=[1, 3, 4] * trees,
        target_ids=[0] * 3 * trees,
        target_weights=[1.0] * 3 * trees,
    )


def test_a_forest_costs_the_mean_depth_of_each_tree(tmp_path):
    facts = facts_of(tmp_path, [forest(6)], [], (2,), ml=3)
    assert (facts.tree_count, facts.node_count, facts.max_depth) == (6, 30, 2)
    assert facts.mean_depth == pytest.approx((1 + 2 + 2) / 3)
    assert facts.flops_by_kind == {"trees": pytest.approx(6 * 5 / 3)}


def test_trees_whose_children_go_in_circles_are_not_counted(tmp_path):
    node = forest(1)
    for item in node.attribute:
        if item.name == "nodes_falsenodeids":
            item.ints[2] = 0
    facts = facts_of(tmp_path, [node], [], (2,), ml=3)
    assert facts.tree_count == 0
    assert "1 x TreeEnsembleRegressor is not counted: its trees go in circles" in facts.notes


def test_the_newer_tree_operator_gives_the_same_facts(tmp_path):
    node = helper.make_node(
        "TreeEnsemble",
        ["x"],
        ["y"],
        domain="ai.onnx.ml",
        n_targets=1,
        tree_roots=[0],
        nodes_featureids=[0, 1],
        nodes_modes=numpy_helper.from_array(np.zeros(2, np.uint8)),
        nodes_splits=numpy_helper.from_array(np.array([0.5, 0.5], np.float32)),
        nodes_truenodeids=[0, 1],
        nodes_trueleafs=[1, 1],
        nodes_falsenodeids=[1, 2],
        nodes_falseleafs=[0, 1],
        leaf_targetids=[0, 0, 0],
        leaf_weights=numpy_helper.from_array(np.ones(3, np.float32)),
    )
    facts = facts_of(tmp_path, [node], [], (2,), ml=5, opset=21)
    assert (facts.tree_count, facts.node_count, facts.max_depth, facts.mean_depth) == (1, 5, 2, pytest.approx(5 / 3))


def test_a_file_that_is_no_model_is_refused(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\xff\xfe not a model")
    with pytest.raises(SourceError, match=r"model\.onnx"):
        model_facts(path, Interface((), ()))
