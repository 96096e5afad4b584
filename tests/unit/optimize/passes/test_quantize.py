"""Networks in 8 bits, whole or in part: what it does to files and answers over the models that passes meet, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from graph_examples import MODELS, answers, difference, of_kind, operators, random, rows_for, run, save, tree, value, weight
from onnx import TensorProto, helper, numpy_helper

from fairlead.core.dataset import Dataset
from fairlead.core.dtype import DType
from fairlead.core.interface import Decision, DecisionKind, Interface, TensorSpec
from fairlead.core.pass_use import PassUse
from fairlead.errors import DataError, SpecError, UnsupportedError
from fairlead.optimize.catalog import PASSES, complete_settings
from fairlead.optimize.job import PassJob

STATIC = ("quantize_static_int8", "quantize_mixed_int8")
NAMES = ("quantize_dynamic_int8", *STATIC)


@pytest.mark.parametrize("opset", [13, 18, 21])
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", NAMES)
def test_answers_stay_near_whatever_the_model_and_the_batch(name: str, model: str, opset: int, tmp_path: Path) -> None:
    source = MODELS[model](tmp_path / "a.onnx", opset)
    run(name, source, tmp_path / "b.onnx", **({"max_error": 0.2} if name == "quantize_mixed_int8" else {}))
    before, after = (onnx.load(path).graph for path in (source, tmp_path / "b.onnx"))
    assert (list(before.input), list(before.output)) == (list(after.input), list(after.output))
    assert (tmp_path / "b.onnx").stat().st_size < source.stat().st_size
    for count in (1, 16):
        assert 0 < difference(source, tmp_path / "b.onnx", rows_for(source, count, 9)) < 0.12


@pytest.mark.parametrize("name", NAMES)
def test_the_same_model_becomes_the_same_bytes(name: str, tmp_path: Path) -> None:
    source = MODELS["convolutional"](tmp_path / "a.onnx")
    for file in ("b.onnx", "c.onnx"):
        run(name, source, tmp_path / file)
    assert (tmp_path / "b.onnx").read_bytes() == (tmp_path / "c.onnx").read_bytes()


@pytest.mark.parametrize("name", STATIC)
def test_rows_are_needed_and_one_is_enough(name: str, tmp_path: Path) -> None:
    source = MODELS["dense"](tmp_path / "a.onnx")
    with pytest.raises(UnsupportedError, match="needs rows"):
        run(name, source, tmp_path / "b.onnx", rows={})
    one = rows_for(source, 1)
    run(name, source, tmp_path / "b.onnx", rows=one, **({"max_error": 0.2} if name == "quantize_mixed_int8" else {}))
    assert difference(source, tmp_path / "b.onnx", one) < 0.1


@pytest.mark.parametrize("method", ["percentile", "mse", "entropy"])
@pytest.mark.parametrize("count", [1, 45, 100])
def test_any_number_of_rows_serves_every_method(method: str, count: int, tmp_path: Path) -> None:
    source = MODELS["convolutional"](tmp_path / "a.onnx")
    run("quantize_static_int8", source, tmp_path / "b.onnx", rows=rows_for(source, count), method=method)
    assert difference(source, tmp_path / "b.onnx", rows_for(source)) < 0.3


def test_an_outlier_does_not_widen_the_range_by_percentile(tmp_path: Path) -> None:
    source = MODELS["dense"](tmp_path / "a.onnx")
    rows = rows_for(source, 400)
    rows["x"][7, 3] = 300.0
    usual = rows_for(source, 64, 3)
    found = {}
    for method in ("minmax", "percentile", "mse", "entropy"):
        run("quantize_static_int8", source, tmp_path / "b.onnx", rows=rows, method=method)
        found[method] = difference(source, tmp_path / "b.onnx", usual)
    assert found["percentile"] < 0.5 * found["minmax"]
    assert max(found["mse"], found["entropy"]) < found["minmax"]


@pytest.mark.parametrize("name", STATIC)
def test_rows_without_a_number_are_refused(name: str, tmp_path: Path) -> None:
    source = MODELS["dense"](tmp_path / "a.onnx")
    rows = rows_for(source, 8)
    rows["x"][2, 5] = np.nan
    with pytest.raises(DataError, match="not finite") as caught:
        run(name, source, tmp_path / "b.onnx", rows=rows)
    assert "missing" in caught.value.hint


@pytest.mark.parametrize("kind", [np.float16, np.float64])
@pytest.mark.parametrize("name", NAMES)
def test_models_of_another_precision_and_without_products_are_refused_by_name(name: str, kind: type, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=f"'{name}' takes models of single precision"):
        run(name, of_kind(tmp_path / "a.onnx", kind), tmp_path / "b.onnx")
    with pytest.raises(UnsupportedError, match="no convolutions or matrix products"):
        run(name, tree(tmp_path / "t.onnx"), tmp_path / "b.onnx")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("setting", [{"weight_bits": 6}, {"operators": "some"}, {"method": "guess"}])
def test_a_setting_that_makes_no_sense_is_refused(name: str, setting: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        run(name, MODELS["dense"](tmp_path / "a.onnx"), tmp_path / "b.onnx", **setting)
    assert caught.value.hint


def test_8_bits_are_unsigned_so_that_no_processor_saturates(tmp_path: Path) -> None:
    source = MODELS["convolutional"](tmp_path / "a.onnx")
    kinds = {}
    for bits in (7, 8):
        run("quantize_static_int8", source, tmp_path / f"{bits}.onnx", weight_bits=bits)
        stored = onnx.load(tmp_path / f"{bits}.onnx").graph.initializer
        kinds[bits] = {tensor.data_type for tensor in stored if len(tensor.dims) == 4}
    assert kinds == {7: {TensorProto.INT8}, 8: {TensorProto.UINT8}}
    rows = rows_for(source)
    assert difference(source, tmp_path / "8.onnx", rows) < 0.05


def test_operators_say_what_is_quantized(tmp_path: Path) -> None:
    source = MODELS["convolutional"](tmp_path / "a.onnx")
    run("quantize_static_int8", source, tmp_path / "b.onnx", operators="conv")
    nodes = {output: node for node in onnx.load(tmp_path / "b.onnx").graph.node for output in node.output}
    weights = {node.op_type: nodes.get(node.input[1]) for node in nodes.values() if node.op_type in ("Conv", "Gemm")}
    assert weights["Conv"] is not None
    assert weights["Gemm"] is None
    with pytest.raises(UnsupportedError, match="no convolutions"):
        run("quantize_static_int8", MODELS["dense"](tmp_path / "d.onnx"), tmp_path / "c.onnx", operators="conv")


def test_tables_and_recurrent_layers_are_quantized_where_asked(tmp_path: Path) -> None:
    source = MODELS["several"](tmp_path / "a.onnx")
    sizes = {}
    for operators_asked in ("matmul", "embedding"):
        run("quantize_dynamic_int8", source, tmp_path / "b.onnx", operators=operators_asked)
        sizes[operators_asked] = (tmp_path / "b.onnx").stat().st_size
        assert difference(source, tmp_path / "b.onnx", rows_for(source)) < 0.1
    assert sizes["embedding"] < 0.6 * sizes["matmul"]


def test_shapes_of_weights_that_an_exporter_wrote_down_do_not_matter(tmp_path: Path) -> None:
    source = MODELS["dense"](tmp_path / "a.onnx")
    model = onnx.load(source)
    model.graph.value_info.extend(helper.make_tensor_value_info(tensor.name, 1, tensor.dims) for tensor in model.graph.initializer)
    onnx.save(model, source)
    for name in NAMES:
        run(name, source, tmp_path / "b.onnx")
        assert difference(source, tmp_path / "b.onnx", rows_for(source)) < 0.1


@pytest.mark.parametrize("name", NAMES)
def test_a_bias_with_an_axis_too_many_is_quantized_too(name: str, tmp_path: Path) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Add", ["m", "b"], ["y"])]
    source = save(
        tmp_path / "a.onnx", nodes, [value("x", "batch", 48)], [value("y", "batch", 64)], [weight("w", 48, 64), weight("b", 1, 64)]
    )
    run(name, source, tmp_path / "b.onnx")
    assert difference(source, tmp_path / "b.onnx", rows_for(source)) < 0.1


def fragile(path: Path) -> Path:
    """Two layers that 8 bits do not hurt, and one that they ruin: a few large weights decide its scale."""
    wild = random(4).normal(size=(64, 64)).astype(np.float32) * 0.02
    wild[0, :] = 40.0
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["a"]),
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("MatMul", ["r", "w2"], ["b"]),
        helper.make_node("Sub", ["b", "offset"], ["c"]),
        helper.make_node("MatMul", ["c", "w3"], ["y"]),
    ]
    large = numpy_helper.from_array(wild, "w2")
    first = weight("w1", 64, 64)
    columns = numpy_helper.to_array(first).copy()
    columns[:, 0] = 0  # what the large weights are multiplied with
    tensors = [
        numpy_helper.from_array(columns, "w1"),
        large,
        weight("w3", 64, 64, seed=2),
        numpy_helper.from_array(np.float32(0), "offset"),
    ]
    return save(path, nodes, [value("x", "batch", 64)], [value("y", "batch", 64)], tensors)


def mixed(source: Path, destination: Path, **settings: Any) -> Any:
    interface = Interface(
        (TensorSpec("x", DType.FP32, (None, 64)),), (TensorSpec("y", DType.FP32, (None, 64)),), decision=Decision(DecisionKind.ARGMAX, "y")
    )
    rows = rows_for(source, 64)
    target = answers(source, rows)[0].argmax(axis=1)
    use = PassUse("quantize_mixed_int8", settings)
    job = PassJob(source, destination, complete_settings(use), rows=rows, training=Dataset(rows, target), interface=interface)
    return PASSES.load(use.name)(job)


def test_the_layer_that_costs_accuracy_stays_float_and_is_named(tmp_path: Path) -> None:
    source = fragile(tmp_path / "a.onnx")
    run("quantize_static_int8", source, tmp_path / "static.onnx", per_channel=False)
    result = mixed(source, tmp_path / "b.onnx", per_channel=False, max_error=0.05)
    assert result.parameters["float_layer_count"] == 1
    assert result.parameters["error"] <= 0.05
    assert "2 of 3 layers in 8 bits" in result.notes[0]
    assert "decisions flip" in result.notes[0]
    assert "stays float32" in result.notes[1]
    rows = rows_for(source, 64, 21)
    assert difference(source, tmp_path / "b.onnx", rows) < 0.2 * difference(source, tmp_path / "static.onnx", rows)
    kept = {tensor.name for tensor in onnx.load(tmp_path / "b.onnx").graph.initializer if tensor.data_type == 1 and len(tensor.dims) == 2}
    assert kept == {"w2"}


def test_where_nothing_has_to_stay_the_result_is_the_whole_quantization(tmp_path: Path) -> None:
    source = MODELS["convolutional"](tmp_path / "a.onnx")
    run("quantize_static_int8", source, tmp_path / "b.onnx")
    run("quantize_mixed_int8", source, tmp_path / "c.onnx", max_error=0.5)
    assert (tmp_path / "b.onnx").read_bytes() == (tmp_path / "c.onnx").read_bytes()


def test_layers_can_be_counted_out(tmp_path: Path) -> None:
    source = fragile(tmp_path / "a.onnx")
    result = mixed(source, tmp_path / "b.onnx", float_layers=2)
    assert result.parameters["float_layer_count"] == 2
    with pytest.raises(UnsupportedError, match="3 layers are to stay float, and the model has 3"):
        mixed(source, tmp_path / "b.onnx", float_layers=3)


def test_a_budget_that_no_layer_keeps_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="Whichever layer") as caught:
        mixed(fragile(tmp_path / "a.onnx"), tmp_path / "b.onnx", max_error=1e-7)
    assert "max_error" in caught.value.hint
    with pytest.raises(SpecError, match="error of 0"):
        mixed(tmp_path / "a.onnx", tmp_path / "b.onnx", max_error=0.0)


def test_progress_is_told_layer_by_layer(tmp_path: Path) -> None:
    said: list[str] = []
    source = fragile(tmp_path / "a.onnx")
    settings = complete_settings(PassUse("quantize_mixed_int8", {"float_layers": 1}))
    PASSES.load("quantize_mixed_int8")(PassJob(source, tmp_path / "b.onnx", settings, rows=rows_for(source), report=said.append))
    assert len(said) == 3
    assert said[0].startswith("sensitivity of layer 1 of 3")


@pytest.mark.parametrize("opset", [13, 21])
@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("model", MODELS)
def test_large_products_keep_their_weights_in_few_bits(model: str, bits: int, opset: int, tmp_path: Path) -> None:
    source = MODELS[model](tmp_path / "a.onnx", opset)
    run("quantize_weights_nbits", source, tmp_path / "b.onnx", rows={}, bits=bits, block=16, least_elements=300)
    assert "MatMulNBits" in operators(tmp_path / "b.onnx")
    for count in (1, 16):
        assert 0 < difference(source, tmp_path / "b.onnx", rows_for(source, count)) < {8: 0.03, 4: 0.35}[bits]


def test_small_products_and_other_precisions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="262144 elements"):
        run("quantize_weights_nbits", MODELS["dense"](tmp_path / "a.onnx"), tmp_path / "b.onnx")
    with pytest.raises(UnsupportedError, match="single precision"):
        run("quantize_weights_nbits", of_kind(tmp_path / "h.onnx", np.float16), tmp_path / "b.onnx", rows={})
    for setting in ({"bits": 3}, {"block": 5}, {"least_elements": 1}):
        with pytest.raises(SpecError):
            run("quantize_weights_nbits", tmp_path / "a.onnx", tmp_path / "b.onnx", **setting)


@pytest.mark.parametrize("attributes", [{"alpha": 0.5}, {"beta": 2.0}, {"transA": 1}, {}])
def test_a_gemm_that_scales_or_turns_its_input_stays(attributes: dict[str, Any], tmp_path: Path) -> None:
    node = helper.make_node("Gemm", ["x", "w", "b"], ["y"], **attributes)
    tensors = [weight("w", 32, 32), weight("b", 32)]
    source = save(tmp_path / "a.onnx", [node], [value("x", 32, 32)], [value("y", 32, 32)], tensors)
    if attributes:
        with pytest.raises(UnsupportedError, match="no products"):
            run("quantize_weights_nbits", source, tmp_path / "b.onnx", block=32, least_elements=64)
    else:
        run("quantize_weights_nbits", source, tmp_path / "b.onnx", block=32, least_elements=64)
        assert operators(tmp_path / "b.onnx") == ["MatMulNBits", "Add"]
