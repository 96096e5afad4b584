"""The serving engine: right answers for every type, and errors that say what was wrong without showing the inside."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from tiny_onnx import LINEAR, WEIGHTS, echo_model, linear_model, lookup_model, save

from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, TensorSpec
from fairlead.engines.onnxruntime_engine import OnnxRuntimeEngine
from fairlead.errors import RequestError, SourceError, SpecError, TooLargeError, UnavailableError

ROWS = np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)


def test_it_computes_what_the_model_says(tmp_path: Path) -> None:
    engine = OnnxRuntimeEngine(linear_model(tmp_path / "m.onnx"), LINEAR)
    assert np.allclose(engine.run({"x": ROWS})["y"], ROWS @ WEIGHTS, atol=1e-6)


@pytest.mark.parametrize("dtype", list(DType))
def test_every_element_type_goes_in_and_comes_out(tmp_path: Path, dtype: DType) -> None:
    path, interface = echo_model(tmp_path / "m.onnx", dtype)
    values = [["a", "é\0b"], ["", "日本"]] if dtype is DType.BYTES else [[0, 1], [1, 0]]
    tensor = np.array(values, dtype=dtype.numpy)
    answer = OnnxRuntimeEngine(path, interface).run({"x": tensor})["y"]
    assert answer.dtype == tensor.dtype
    assert answer.tolist() == tensor.tolist()


def test_only_the_outputs_that_are_asked_for_come_back(tmp_path: Path) -> None:
    engine = OnnxRuntimeEngine(linear_model(tmp_path / "m.onnx"), LINEAR)
    assert list(engine.run({"x": ROWS}, ["y"])) == ["y"]
    with pytest.raises(RequestError, match="no output 'z'"):
        engine.run({"x": ROWS}, ["z"])


@pytest.mark.parametrize(
    "tensors",
    [{}, {"x": ROWS[:, :3]}, {"x": ROWS.astype(np.float64)}, {"x": ROWS[:0]}, {"x": ROWS, "z": ROWS}, {"x": ROWS[0]}],
    ids=["missing", "shape", "type", "empty", "unknown", "rank"],
)
def test_inputs_that_do_not_fit_are_refused(tmp_path: Path, tensors: dict[str, np.ndarray]) -> None:
    with pytest.raises(RequestError):
        OnnxRuntimeEngine(linear_model(tmp_path / "m.onnx"), LINEAR).run(tensors)


@pytest.mark.parametrize("element", [None, 3, b"a", "\ud800"], ids=["none", "number", "bytes", "surrogate"])
def test_what_is_not_text_never_becomes_text(tmp_path: Path, element: object) -> None:
    path, interface = echo_model(tmp_path / "m.onnx", DType.BYTES)
    tensor = np.empty((1, 2), dtype=object)
    tensor[0] = ["fine", element]
    with pytest.raises(RequestError, match="Input 'x' holds"):
        OnnxRuntimeEngine(path, interface).run({"x": tensor})


def test_an_index_outside_of_the_table_is_named_with_its_range(tmp_path: Path) -> None:
    path, interface = lookup_model(tmp_path / "m.onnx")
    with pytest.raises(RequestError, match="index 9; the model's table has 5 entries") as caught:
        OnnxRuntimeEngine(path, interface).run({"i": np.array([0, 9])})
    assert "Gather" not in str(caught.value)


def test_an_answer_larger_than_memory_is_too_large(tmp_path: Path) -> None:
    shape = numpy_helper.from_array(np.array([10**7, 10**7, 1], dtype=np.int64), "shape")
    graph = helper.make_graph(
        [helper.make_node("Expand", ["x", "shape"], ["y"])],
        "bomb",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [shape],
    )
    interface = Interface((TensorSpec("x", DType.FP32, (None,)),), (TensorSpec("y", DType.FP32, (None, None, None)),))
    engine = OnnxRuntimeEngine(save(tmp_path / "m.onnx", graph), interface)
    with pytest.raises(TooLargeError) as caught:
        engine.run({"x": np.zeros(1, np.float32)})
    assert "onnxruntime_src" not in str(caught.value)


@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "text", "opset"])
def test_a_file_that_is_no_model_is_a_source_error_without_its_path(tmp_path: Path, damage: str) -> None:
    path = linear_model(tmp_path / "secret-folder.onnx")
    if damage == "missing":
        path.unlink()
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:-40])
    elif damage == "text":
        path.write_text("not a model")
    else:
        graph = helper.make_graph([helper.make_node("Bogus", ["x"], ["y"])], "g", [], [])
        save(path, graph, opset=99)
    with pytest.raises(SourceError) as caught:
        OnnxRuntimeEngine(path, LINEAR)
    assert "secret-folder" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)
    assert "onnxruntime_src" not in str(caught.value)


def test_an_interface_of_another_model_is_refused(tmp_path: Path) -> None:
    other = Interface((TensorSpec("x", DType.FP64, (None, 4)),), LINEAR.outputs)
    with pytest.raises(SourceError, match="x FP32; its interface says x FP64"):
        OnnxRuntimeEngine(linear_model(tmp_path / "m.onnx"), other)


def test_an_unknown_optimization_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="'most'"):
        OnnxRuntimeEngine(linear_model(tmp_path / "m.onnx"), LINEAR, optimization="most")


def test_a_closed_engine_says_so_and_closes_again_without_an_error(tmp_path: Path) -> None:
    engine = OnnxRuntimeEngine(linear_model(tmp_path / "m.onnx"), LINEAR)
    engine.close()
    engine.close()
    with pytest.raises(UnavailableError):
        engine.run({"x": ROWS})


def test_many_threads_get_their_own_answers(tmp_path: Path) -> None:
    engine = OnnxRuntimeEngine(linear_model(tmp_path / "m.onnx"), LINEAR)
    batches = [np.full((1, 4), number, np.float32) for number in range(200)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda rows: engine.run({"x": rows})["y"], batches))
    assert all(np.allclose(answer, rows @ WEIGHTS, rtol=1e-5) for answer, rows in zip(answers, batches, strict=True))
