"""What other runtimes run: OpenVINO IR and .ort, or a refusal by name."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fairlead.convert.build import build
from fairlead.convert.onnx_to_ort import build_ort
from fairlead.convert.openvino_file import check_files
from fairlead.core.artifact import Artifact, ArtifactForm, SourceFormat
from fairlead.core.conversion import BuildJob, Conversion, RuntimeForm
from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, TensorSpec
from fairlead.core.manifest import FileEntry, Manifest
from fairlead.engines.opening import open_engine
from fairlead.errors import CorruptError, UnsupportedError
from fairlead.optimize.job import PassJob
from fairlead.optimize.passes.quantize_static_int8 import quantize_static_int8
from fairlead.optimize.passes.store_fp16 import store_fp16
from fairlead.security.digests import digest_file
from fairlead.security.sandbox import OneShotSandbox

RNG = np.random.default_rng(5)
KERNEL = (RNG.normal(size=(128, 1, 3, 3)) / 3).astype(np.float32)
WEIGHTS = (RNG.normal(size=(128, 64)) / 11).astype(np.float32)
ROWS = RNG.normal(size=(40, 1, 12, 12)).astype(np.float32)
INTERFACE = Interface((TensorSpec("image", DType.FP32, (None, 1, 12, 12)),), (TensorSpec("scores", DType.FP32, (None, 64)),))
needs_openvino = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is not installed")


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """A small convolutional network."""
    nodes = [
        helper.make_node("Conv", ["image", "k"], ["c"]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "w"], ["m"]),
        helper.make_node("Softmax", ["m"], ["scores"]),
    ]
    inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 12, 12])]
    outputs = [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 64])]
    tensors = [numpy_helper.from_array(KERNEL, "k"), numpy_helper.from_array(WEIGHTS, "w")]
    path = tmp_path / "network.onnx"
    onnx.save(
        helper.make_model(
            helper.make_graph(nodes, "g", inputs, outputs, tensors), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
        ),
        path,
    )
    return path


def job(path: Path, workspace: Path, interface: Interface = INTERFACE) -> BuildJob:
    source = Manifest((FileEntry(path.name, path.stat().st_size, "0" * 64),))
    artifact = Artifact(SourceFormat.ONNX, ArtifactForm.ONNX_FILE, path, path, source, "onnx", interface)
    return BuildJob(artifact, Conversion(path, interface, ()), path, workspace, OneShotSandbox())


def answers(engine: str, path: Path) -> np.ndarray:
    opened = open_engine(engine, path, INTERFACE)
    try:
        return opened.run({"image": ROWS})["scores"]
    finally:
        opened.close()


@needs_openvino
def test_openvino_answers_as_the_model_and_is_written_alike_twice(network: Path, tmp_path: Path) -> None:
    first = build(RuntimeForm.OPENVINO, job(network, tmp_path / "a"))
    again = build(RuntimeForm.OPENVINO, job(network, tmp_path / "b"))
    assert sorted(first.files) == ["model.bin", "model.xml"]
    assert all(first.files[name].read_bytes() == again.files[name].read_bytes() for name in first.files)
    assert np.allclose(answers("openvino", first.path), answers("onnxruntime", network), atol=1e-6)
    (step,) = first.steps
    assert (step.input_digest, step.output_digest) == (digest_file(network), digest_file(first.path))
    assert "answers as the ONNX file" in step.notes[0]


@needs_openvino
def test_weights_of_half_precision_halve_openvinos_file(network: Path, tmp_path: Path) -> None:
    weights = (RNG.normal(size=(144, 512)) / 12).astype(np.float32)
    back = (RNG.normal(size=(512, 64)) / 22).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["image"], ["f"]), helper.make_node("MatMul", ["f", "w"], ["m"]),
            helper.make_node("Relu", ["m"], ["r"]), helper.make_node("MatMul", ["r", "b"], ["scores"]),
        ],
        "g", onnx.load(network).graph.input, onnx.load(network).graph.output,
        [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(back, "b")],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), network)
    store_fp16(PassJob(network, tmp_path / "half.onnx"))
    whole, half = (
        build(RuntimeForm.OPENVINO, job(network, tmp_path / "a")),
        build(RuntimeForm.OPENVINO, job(tmp_path / "half.onnx", tmp_path / "b")),
    )
    assert half.files["model.bin"].stat().st_size < 0.52 * whole.files["model.bin"].stat().st_size
    assert np.allclose(answers("openvino", half.path), answers("onnxruntime", tmp_path / "half.onnx"), atol=1e-5)


@needs_openvino
def test_openvino_runs_what_was_quantized_with_rows(network: Path, tmp_path: Path) -> None:
    quantize_static_int8(PassJob(network, tmp_path / "int8.onnx", rows={"image": ROWS}))
    built = build(RuntimeForm.OPENVINO, job(tmp_path / "int8.onnx", tmp_path / "a"))
    assert np.abs(answers("openvino", built.path) - answers("onnxruntime", network)).max() < 0.02


@needs_openvino
def test_a_graph_that_openvino_has_no_operator_for_is_refused_by_name(network: Path, tmp_path: Path) -> None:
    model = onnx.load(network)
    model.graph.node[-1].CopyFrom(helper.make_node("Det", ["square"], ["d"]))
    model.graph.node.insert(5, helper.make_node("Reshape", ["m", "shape"], ["square"]))
    model.graph.initializer.append(numpy_helper.from_array(np.array([0, 8, 8]), "shape"))
    model.graph.node.append(helper.make_node("Identity", ["d"], ["scores"]))
    onnx.save(model, network)
    with pytest.raises(UnsupportedError, match="Det"):
        build(RuntimeForm.OPENVINO, job(network, tmp_path / "a"))


@needs_openvino
def test_what_the_sandbox_leaves_is_checked_before_the_library_reads_it(network: Path, tmp_path: Path) -> None:
    built = build(RuntimeForm.OPENVINO, job(network, tmp_path / "a"))
    document, weights = built.files["model.xml"], built.files["model.bin"]
    text = document.read_text()
    for wrong, problem in (
        ('<!DOCTYPE a [<!ENTITY b "b">]>' + text.partition("?>")[2], "declares something"),
        (text.replace('version="opset8"', 'version="extension"'), "not a standard one"),
        (text.replace('offset="0"', 'offset="999999999"'), "outside of its weights"),
        (text.replace('offset="0"', 'offset="-1"'), "does not say where"),
        (text[:200], "no XML"),
    ):
        document.write_text(wrong)
        with pytest.raises(CorruptError, match=problem):
            check_files(document, weights)


def test_the_runtimes_own_format_answers_as_the_model(network: Path, tmp_path: Path) -> None:
    first = build_ort(job(network, tmp_path / "a"))
    assert first.path.name == "model.ort"
    assert first.path.read_bytes()[4:8] == b"ORTM"
    assert np.allclose(answers("onnxruntime", first.path), answers("onnxruntime", network), atol=1e-6)
    assert first.steps[0].parameters == {"level": "extended"}


def test_what_the_runtime_cannot_load_is_refused(network: Path, tmp_path: Path) -> None:
    model = onnx.load(network)
    model.graph.node[1].op_type = "Bogus"
    onnx.save(model, network)
    with pytest.raises(UnsupportedError, match="own format"):
        build_ort(job(network, tmp_path / "a"))
