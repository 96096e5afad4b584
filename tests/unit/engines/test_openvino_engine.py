"""OpenVINO: what it would silently compute otherwise is refused, and it reports to nobody. The exam of engines asks the rest."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from tiny_onnx import LINEAR, echo_model, linear_model, lookup_model, save

from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, TensorSpec
from fairlead.errors import RequestError, SourceError, TooLargeError

if importlib.util.find_spec("openvino") is None:  # never imported plainly: it would report that to its maker
    pytest.skip("openvino is not installed", allow_module_level=True)

from fairlead.engines.openvino_engine import INTEGER_LIMIT, OpenVinoEngine
from fairlead.engines.openvino_library import core, openvino

Written = Callable[[Path], Path]

FAKE_TELEMETRY = """
import os, pathlib
class Telemetry:
    def __init__(self, *arguments, **named): self._say("made")
    def send_event(self, *arguments, **named): self._say("send_event")
    def _say(self, what):
        with pathlib.Path(os.environ["REPORTS"]).open("a") as stream: stream.write(what + "\\n")
"""

SYNCHRONOUS = """
import sys, numpy
from fairlead.engines.openvino_library import core
settings = {"INFERENCE_NUM_THREADS": "1", "NUM_STREAMS": "1"}
request = core().compile_model(core().read_model(sys.argv[1]), "CPU", settings).create_infer_request()
request.infer({"x": numpy.ones((3, 4), "f")})
print(request.infer({"x": numpy.zeros((3, 5), "f")})[0].mean(), flush=True)
"""


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """Turn an ONNX file into IR without the builder's checks."""

    def write(path: Path) -> Path:
        openvino.save_model(core().read_model(path), tmp_path / "ir" / "model.xml", compress_to_fp16=False)
        return tmp_path / "ir" / "model.xml"

    (tmp_path / "ir").mkdir()
    return write


@pytest.fixture
def reports(tmp_path: Path) -> Callable[[str], str]:
    """Run code in a fresh home with a stand-in for the telemetry package; return what was reported."""
    package = tmp_path / "packages" / "openvino_telemetry" / "backend"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").write_text(FAKE_TELEMETRY)
    (package / "__init__.py").touch()
    (package / "backend_ga4.py").touch()
    (tmp_path / "home").mkdir()

    def run(code: str) -> str:
        named = {"HOME": str(tmp_path / "home"), "REPORTS": str(tmp_path / "reports"), "PYTHONPATH": str(package.parents[1])}
        subprocess.run([sys.executable, "-c", code], env={**os.environ, **named}, check=True, capture_output=True)
        assert list((tmp_path / "home").iterdir()) == []
        place = tmp_path / "reports"
        return place.read_text() if place.exists() else ""

    return run


def test_nothing_is_reported_and_nothing_is_left_in_the_home(reports: Callable[[str], str]) -> None:
    assert reports("from fairlead.engines.openvino_engine import OpenVinoEngine") == ""


def test_the_library_alone_does_report_its_import(reports: Callable[[str], str]) -> None:
    assert "send_event" in reports("import openvino")


def test_the_real_telemetry_package_is_never_loaded() -> None:
    assert sys.modules.get("openvino_telemetry") is None


def test_computing_is_in_single_precision_on_the_threads_that_were_asked_for(tmp_path: Path, written: Written) -> None:
    engine = OpenVinoEngine(written(linear_model(tmp_path / "m.onnx")), LINEAR, thread_count=2)
    compiled = engine._loaded.compiled
    assert compiled.get_property("INFERENCE_PRECISION_HINT") == openvino.Type.f32
    assert compiled.get_property("INFERENCE_NUM_THREADS") == 2
    assert compiled.get_property("NUM_STREAMS") == 1
    assert not compiled.get_property("ENABLE_CPU_PINNING")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none_are_refused_because_they_would_vanish(tmp_path: Path, written: Written, value: float) -> None:
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "relu",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 1])],
    )
    interface = Interface((TensorSpec("x", DType.FP32, (None, 1)),), (TensorSpec("y", DType.FP32, (None, 1)),))
    engine = OpenVinoEngine(written(save(tmp_path / "m.onnx", graph)), interface)
    rows = np.array([[1.0], [value]], dtype=np.float32)
    if np.isnan(value):
        bare = engine._loaded.compiled.create_infer_request().infer({"x": rows})
        assert float(bare[0][1, 0]) == 0.0, "OpenVINO carries NaN through: refuse it no longer"
    with pytest.raises(RequestError, match="NaN or infinity"):
        engine.run({"x": rows})


@pytest.mark.parametrize("dtype", [DType.INT32, DType.INT64])
def test_whole_numbers_that_it_does_not_compute_exactly_are_refused(tmp_path: Path, written: Written, dtype: DType) -> None:
    path, interface = echo_model(tmp_path / "m.onnx", dtype)
    engine = OpenVinoEngine(written(path), interface)
    exact = np.array([[INTEGER_LIMIT, -INTEGER_LIMIT]], dtype=dtype.numpy)
    assert engine.run({"x": exact})["y"].tolist() == exact.tolist()
    for beyond in (exact + np.array([1, 0], dtype=dtype.numpy), exact - np.array([0, 1], dtype=dtype.numpy)):
        with pytest.raises(RequestError, match="does not compute exactly"):
            engine.run({"x": beyond})


def test_the_library_alone_cuts_whole_numbers_of_64_bits(tmp_path: Path, written: Written) -> None:
    path, interface = echo_model(tmp_path / "m.onnx", DType.INT64)
    bare = OpenVinoEngine(written(path), interface)._loaded.compiled.create_infer_request().infer({"x": np.array([[2**40 + 1]])})
    assert bare[0].tolist() == [[1]], "OpenVINO keeps 64 bits: refuse them no longer"


def test_an_answer_larger_than_memory_is_too_large(tmp_path: Path, written: Written) -> None:
    graph = helper.make_graph(
        [helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0]), helper.make_node("MatMul", ["x", "t"], ["y"])],
        "square",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", "square"])],
    )
    interface = Interface((TensorSpec("x", DType.FP32, (None, 1)),), (TensorSpec("y", DType.FP32, (None, None)),))
    engine = OpenVinoEngine(written(save(tmp_path / "m.onnx", graph)), interface)
    assert engine.run({"x": np.ones((3, 1), np.float32)})["y"].shape == (3, 3)
    for _ in range(2):
        with pytest.raises(TooLargeError):
            engine.run({"x": np.ones((4_000_000, 1), np.float32)})  # 64 TB
        assert engine.run({"x": np.ones((2, 1), np.float32)})["y"].tolist() == [[1, 1], [1, 1]]


def test_what_the_model_cannot_compute_is_an_error_and_never_the_answer_before(tmp_path: Path, written: Written) -> None:
    """On one thread the library's own synchronous call swallows the failure: the answer of the request before stays in its place."""
    graph = helper.make_graph(
        [helper.make_node("Reshape", ["x", "shape"], ["y"])],
        "reshape",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "n"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2, "half"])],
        [numpy_helper.from_array(np.array([0, 2, -1]), "shape")],
    )
    interface = Interface((TensorSpec("x", DType.FP32, (None, None)),), (TensorSpec("y", DType.FP32, (None, 2, None)),))
    engine = OpenVinoEngine(written(save(tmp_path / "m.onnx", graph)), interface)
    for _ in range(2):
        assert engine.run({"x": np.ones((3, 4), np.float32)})["y"].shape == (3, 2, 2)
        with pytest.raises(RequestError, match="cannot compute an answer"):
            engine.run({"x": np.zeros((3, 5), np.float32)})
    # In a process of its own, since the library may crash after it:
    asked = subprocess.run([sys.executable, "-c", SYNCHRONOUS, str(tmp_path / "m.onnx")], capture_output=True, text=True, check=False)
    assert asked.stdout.strip() == "1.0", "the library raises now: call it synchronously"


@pytest.mark.parametrize("damage", ["no description", "no weights", "cut weights", "empty description", "cut description", "text"])
def test_files_that_are_no_model_are_a_source_error_without_a_path(tmp_path: Path, written: Written, damage: str) -> None:
    path, _ = lookup_model(tmp_path / "m.onnx")
    document = written(path)
    weights = document.with_suffix(".bin")
    match damage.split():
        case ["no", "description"]:
            document.unlink()
        case ["no", "weights"]:
            weights.unlink()
        case ["cut", "weights"]:
            weights.write_bytes(weights.read_bytes()[:7])
        case ["empty", _]:
            document.write_bytes(b"")
        case ["cut", _]:
            document.write_bytes(document.read_bytes()[:300])
        case _:
            document.write_text("not a model")
    with pytest.raises(SourceError, match=r"OpenVINO 20\d\d\.\d+\.\d+ cannot load the model") as caught:
        OpenVinoEngine(document, lookup_model(tmp_path / "m.onnx")[1])
    assert str(tmp_path) not in str(caught.value)
    assert "src/" not in str(caught.value)


def test_an_interface_of_another_model_is_refused(tmp_path: Path, written: Written) -> None:
    other = Interface((TensorSpec("x", DType.FP16, (None, 4)),), LINEAR.outputs)
    with pytest.raises(SourceError, match="x FP32; its interface says x FP16"):
        OpenVinoEngine(written(linear_model(tmp_path / "m.onnx")), other)
