"""Passes that change how answers are computed: what they do to the file and to answers, and which models they refuse."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, TensorSpec
from fairlead.core.pass_use import PassUse
from fairlead.core.plan import Candidate
from fairlead.engines.onnxruntime_engine import OnnxRuntimeEngine
from fairlead.errors import SpecError, UnsupportedError
from fairlead.optimize import catalog
from fairlead.optimize.catalog import PASSES, PRESETS, PassKind, PassTraits, complete_settings, traits_of
from fairlead.optimize.job import PassJob, Supplies
from fairlead.optimize.passes.optimize_graph import optimize_graph
from fairlead.optimize.passes.quantize_dynamic_int8 import quantize_dynamic_int8
from fairlead.optimize.passes.quantize_static_int8 import quantize_static_int8
from fairlead.optimize.passes.store_fp16 import store_fp16
from fairlead.optimize.stage import optimize

RNG = np.random.default_rng(7)
ROWS = RNG.normal(size=(64, 3, 8, 8)).astype(np.float32)
NAMES = ("store_fp16", "optimize_graph", "quantize_dynamic_int8", "quantize_static_int8")


def run_pass(name: str, source: Path, destination: Path) -> Any:
    return PASSES.load(name)(job(name, source, destination))


def job(name: str, source: Path, destination: Path, rows: Any = ROWS) -> PassJob:
    return PassJob(source, destination, complete_settings(PassUse(name)), rows={"x": rows})


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """Convolution, normalization, two dense layers."""

    def weight(name: str, *shape: int) -> Any:
        return numpy_helper.from_array((RNG.normal(size=shape) / np.sqrt(shape[0])).astype(np.float32), name)

    nodes = [
        helper.make_node("Conv", ["x", "k"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c", "g", "b", "m", "v"], ["n"]),
        helper.make_node("Relu", ["n"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "w1"], ["h"]),
        helper.make_node("Relu", ["h"], ["a"]),
        helper.make_node("Gemm", ["a", "w2", "b2"], ["z"]),
        helper.make_node("Softmax", ["z"], ["y"]),
    ]
    tensors = [weight("k", 64, 3, 3, 3), weight("w1", 64, 128), weight("w2", 128, 10), weight("b2", 10)]
    tensors += [numpy_helper.from_array(np.full(64, value, np.float32), name) for name, value in zip("gbmv", (1, 0, 0, 1), strict=True)]
    return save(tmp_path / "network.onnx", nodes, tensors, [None, 3, 8, 8])


def save(path: Path, nodes: list[Any], tensors: list[Any], shape: list[int | None]) -> Path:
    sizes = ["batch" if size is None else size for size in shape]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, sizes)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", "classes"])],
        tensors,
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """One tree: no weights, no products."""
    leaf = {"target_treeids": [0, 0], "target_nodeids": [1, 2], "target_ids": [0, 0], "target_weights": [1.0, 2.0]}
    nodes = {
        "nodes_treeids": [0, 0, 0], "nodes_nodeids": [0, 1, 2], "nodes_featureids": [0, 0, 0], "nodes_values": [0.5, 0.0, 0.0],
        "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF"], "nodes_truenodeids": [1, 0, 0], "nodes_falsenodeids": [2, 0, 0],
    }  # fmt: skip
    node = helper.make_node("TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", n_targets=1, **leaf, **nodes)
    return save(tmp_path / "tree.onnx", [node], [], [None, 3])


def answers(path: Path) -> np.ndarray:
    interface = Interface((TensorSpec("x", DType.FP32, (None, 3, 8, 8)),), (TensorSpec("y", DType.FP32, (None, None)),))
    return OnnxRuntimeEngine(path, interface).run({"x": ROWS})["y"]


def operators(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


@pytest.mark.parametrize("name", NAMES)
def test_answers_stay_within_what_the_pass_says_of_itself(name: str, network: Path, tmp_path: Path) -> None:
    run_pass(name, network, tmp_path / "after.onnx")
    difference = np.abs(answers(tmp_path / "after.onnx") - answers(network)).max()
    assert difference <= traits_of(name).tolerance
    assert difference > 0 or traits_of(name).kind is not PassKind.LOSSY


@pytest.mark.parametrize("name", NAMES)
def test_the_same_model_becomes_the_same_bytes(name: str, network: Path, tmp_path: Path) -> None:
    run_pass(name, network, tmp_path / "a.onnx")
    run_pass(name, network, tmp_path / "b.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_inputs_and_outputs_stay_and_nothing_is_noted_about_the_tools(name: str, network: Path, tmp_path: Path) -> None:
    candidate = Candidate(name, (name,), "onnxruntime", 1, "")
    path, steps = optimize(candidate, network, tmp_path / "work", Supplies(rows={"x": ROWS}))
    assert onnx.load(path).metadata_props == []
    assert steps[0].notes


@pytest.mark.parametrize("name", NAMES)
def test_a_model_for_which_it_would_do_nothing_is_refused_by_name(name: str, tree: Path, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError) as caught:
        run_pass(name, tree, tmp_path / "after.onnx")
    assert caught.value.hint


def test_large_weights_are_stored_as_half_and_computed_as_single_precision(network: Path, tmp_path: Path) -> None:
    result = store_fp16(PassJob(network, tmp_path / "half.onnx"))
    types = {tensor.name: tensor.data_type for tensor in onnx.load(tmp_path / "half.onnx").graph.initializer}
    assert {name for name, kind in types.items() if kind == TensorProto.FLOAT16} == {"k_fp16", "w1_fp16", "w2_fp16"}
    assert operators(tmp_path / "half.onnx").count("Cast") == 3
    assert (tmp_path / "half.onnx").stat().st_size < 0.6 * network.stat().st_size
    assert "3 weights" in result.notes[0]


@pytest.mark.parametrize("value", [1e5, -7e4, 1e-9], ids=["above the range", "below the range", "tiny"])
def test_a_weight_that_half_precision_cannot_hold_stays_as_it_is(value: float, tmp_path: Path) -> None:
    tensors = [numpy_helper.from_array(RNG.normal(size=(64, 64)).astype(np.float32), "plain")]
    tensors.append(numpy_helper.from_array(np.full((64, 64), value, np.float32), "wide"))
    nodes = [helper.make_node("MatMul", ["x", "plain"], ["h"]), helper.make_node("MatMul", ["h", "wide"], ["y"])]
    source = save(tmp_path / "wide.onnx", nodes, tensors, [None, 64])
    result = store_fp16(PassJob(source, tmp_path / "half.onnx"))
    assert [tensor.name for tensor in onnx.load(tmp_path / "half.onnx").graph.initializer] == ["wide", "plain_fp16"]
    assert "1 weights stay float32" in result.notes[1]


def test_names_that_are_taken_are_not_taken_again(tmp_path: Path) -> None:
    tensors = [numpy_helper.from_array(RNG.normal(size=(32, 32)).astype(np.float32), name) for name in ("w", "w_fp16")]
    nodes = [helper.make_node("MatMul", ["x", "w"], ["w_fp16_2"]), helper.make_node("MatMul", ["w_fp16_2", "w_fp16"], ["y"])]
    store_fp16(PassJob(save(tmp_path / "a.onnx", nodes, tensors, [None, 32]), tmp_path / "half.onnx"))
    onnx.checker.check_model(onnx.load(tmp_path / "half.onnx"))


def test_the_runtimes_fusions_are_written_down(network: Path, tmp_path: Path) -> None:
    result = optimize_graph(PassJob(network, tmp_path / "fused.onnx"))
    assert "BatchNormalization" not in operators(tmp_path / "fused.onnx")
    assert len(operators(tmp_path / "fused.onnx")) < len(operators(network))
    assert result.parameters == {"level": "extended"}


def test_matrix_products_alone_are_quantized_without_rows(network: Path, tmp_path: Path) -> None:
    quantize_dynamic_int8(PassJob(network, tmp_path / "int8.onnx"))
    assert operators(tmp_path / "int8.onnx").count("MatMulInteger") == 2
    assert "Conv" in operators(tmp_path / "int8.onnx")
    assert (tmp_path / "int8.onnx").stat().st_size < 0.5 * network.stat().st_size


@pytest.mark.parametrize("quantize", [quantize_dynamic_int8, quantize_static_int8])
def test_weights_take_7_bits_so_that_no_processor_saturates(quantize: Callable[..., Any], network: Path, tmp_path: Path) -> None:
    quantize(PassJob(network, tmp_path / "int8.onnx", rows={"x": ROWS}))
    stored = [
        numpy_helper.to_array(one) for one in onnx.load(tmp_path / "int8.onnx").graph.initializer if one.data_type == TensorProto.INT8
    ]
    weights = [tensor for tensor in stored if tensor.ndim >= 2]
    assert weights
    assert all(np.abs(tensor.astype(int)).max() <= 64 for tensor in weights)
    assert any(np.abs(tensor.astype(int)).max() > 32 for tensor in weights)


def test_convolutions_are_quantized_with_rows_and_what_decides_is_not(network: Path, tmp_path: Path) -> None:
    result = quantize_static_int8(PassJob(network, tmp_path / "int8.onnx", rows={"x": ROWS}))
    nodes = {output: node for node in onnx.load(tmp_path / "int8.onnx").graph.node for output in node.output}
    convolution = next(node for node in nodes.values() if node.op_type == "Conv")
    assert [nodes[name].op_type for name in convolution.input[:2]] == ["DequantizeLinear", "DequantizeLinear"]
    assert nodes["y"].op_type == "Softmax"
    assert result.parameters["row_count"] == 64
    assert (tmp_path / "int8.onnx").stat().st_size < 0.5 * network.stat().st_size


def test_a_pass_that_needs_rows_says_so_where_there_are_none(network: Path, tmp_path: Path) -> None:
    candidate = Candidate("int8", ("quantize_static_int8",), "onnxruntime", 1, "")
    for rows in (None, {}):
        with pytest.raises(UnsupportedError, match="there are none"):
            optimize(candidate, network, tmp_path / "work", Supplies(rows=rows))
    with pytest.raises(UnsupportedError, match="needs rows"):
        quantize_static_int8(PassJob(network, tmp_path / "int8.onnx", rows={"x": ROWS[:0]}))


def test_a_model_that_would_grow_is_refused(tmp_path: Path) -> None:
    weights = [numpy_helper.from_array(np.ones((3, 2), np.float32), "w")]
    source = save(tmp_path / "small.onnx", [helper.make_node("MatMul", ["x", "w"], ["y"])], weights, [None, 3])
    with pytest.raises(UnsupportedError, match="does not get smaller"):
        quantize_dynamic_int8(PassJob(source, tmp_path / "int8.onnx"))


def test_quantizing_prints_nothing_and_leaves_logging_alone(network: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = list(logging.getLogger().handlers)
    quantize_dynamic_int8(PassJob(network, tmp_path / "a.onnx"))
    quantize_static_int8(PassJob(network, tmp_path / "b.onnx", rows={"x": ROWS}))
    assert logging.getLogger().handlers == before
    assert capfd.readouterr() == ("", "")


def test_every_pass_of_a_preset_exists_and_an_unknown_one_is_taken_for_the_worst() -> None:
    assert {name for preset in PRESETS.values() for name in preset.passes} <= set(PASSES.variants)
    assert traits_of("of another package").kind is PassKind.LOSSY


def test_settings_are_the_users_or_the_default_in_the_default_s_type(monkeypatch: pytest.MonkeyPatch) -> None:
    table = {"prune": PassTraits(PassKind.LOSSY, 0.1, settings={"ratio": (0.5, 0.25), "is_global": (True, False), "by": ("norm",)})}
    monkeypatch.setattr(catalog, "_TRAITS", table)
    assert complete_settings(PassUse("prune", {"ratio": 1})) == {"ratio": 1.0, "is_global": True, "by": "norm"}
    assert complete_settings(PassUse("added-by-an-entry-point", {"x": 1})) == {"x": 1}
    for name, value, said in (
        ("rate", 0.5, "no setting 'rate'"),
        ("ratio", "half", "float"),
        ("is_global", 1, "bool"),
        ("ratio", True, "float"),
    ):
        with pytest.raises(SpecError, match=said):
            complete_settings(PassUse("prune", {name: value}))


def test_a_pass_that_trains_asks_for_rows_to_train_on(network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "_TRAITS", {"store_fp16": PassTraits(PassKind.LOSSY, 0.1, needs_training=True)})
    with pytest.raises(UnsupportedError, match="rows to train on"):
        optimize(Candidate("c", ("store_fp16",), "onnxruntime", 1, ""), network, tmp_path / "work", Supplies())
