from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from fairlead.convert import stage
from fairlead.convert.canonical_check import check_canonical
from fairlead.core.artifact import Artifact, ArtifactForm, SourceFormat
from fairlead.core.conversion import Conversion
from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, TensorSpec
from fairlead.core.layer_graph import GRAPH_INPUT, Call, Layer, LayerGraph, ValueRef
from fairlead.core.lineage import Lineage, Step
from fairlead.core.manifest import FileEntry, Manifest
from fairlead.engines.layer_graph_file import write_layer_graph
from fairlead.errors import MissingExtraError, UnsupportedError

INTERFACE = Interface((TensorSpec("pixels", DType.FP32, (None, 3)),), (TensorSpec("score", DType.FP32, (None, 2)),))
STEP = Step("convert", "test", "", "")


class NoSandbox:
    """A sandbox that must not be needed."""

    def run(self, job):
        raise AssertionError("nothing foreign is opened here")

    def layers(self):
        return {}


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    dense = Layer("dense", "Dense", {"units": 2, "activation": "linear", "use_bias": True}, {"kernel": "k", "bias": "b"})
    outputs = (("score", ValueRef(0)),)
    graph = LayerGraph("m", {"dense": dense}, (Call("dense", (ValueRef(GRAPH_INPUT),)),), INTERFACE.inputs, outputs, "keras 3.15.1")
    weights = {"k": np.arange(6, dtype=np.float32).reshape(3, 2), "b": np.array([1, -1], dtype=np.float32)}
    write_layer_graph(tmp_path / "graph", graph, weights)
    source = Manifest((FileEntry("model.h5", 10, "0" * 64),))
    return Artifact(
        SourceFormat.KERAS_H5, ArtifactForm.LAYER_GRAPH, tmp_path / "graph", tmp_path / "model.h5", source, "keras 3.15.1", INTERFACE
    )


def test_a_layer_graph_becomes_one_file_with_the_names_of_its_interface(artifact, tmp_path):
    conversion = stage.convert(artifact, tmp_path / "out", sandbox=NoSandbox())
    session = onnxruntime.InferenceSession(conversion.path, providers=["CPUExecutionProvider"])
    x = np.ones((4, 3), dtype=np.float32)
    np.testing.assert_allclose(session.run(["score"], {"pixels": x})[0], [[7, 8]] * 4)


def test_the_lineage_leads_from_the_source_to_the_file(artifact, tmp_path):
    conversion = stage.convert(artifact, tmp_path / "out", sandbox=NoSandbox())
    assert Lineage(artifact.source.digest, "model.h5", conversion.steps).is_unbroken()
    assert conversion.steps[-1].versions["onnx"] == onnx.__version__


def test_the_same_artifact_gives_the_same_bytes(artifact, tmp_path):
    first, second = (stage.convert(artifact, tmp_path / name, sandbox=NoSandbox()) for name in ("a", "b"))
    assert first.steps[-1].output_digest == second.steps[-1].output_digest


class FakeConverters:
    """Converters by form; an exception stands for a converter that raises it."""

    def __init__(self, **by_form):
        self.by_form = by_form

    def load(self, form):
        found = self.by_form[form.replace("-", "_")]
        if isinstance(found, MissingExtraError):
            raise found

        def convert(artifact, workspace, *, sandbox):
            if isinstance(found, Exception):
                raise found
            return found(artifact, workspace)

        return convert


def _write(path: Path, *, batch="batch", output="score", dtype=TensorProto.FLOAT) -> Path:
    nodes = [helper.make_node("Gemm", ["pixels", "w"], ["raw"]), helper.make_node("Cast", ["raw"], [output], to=dtype)]
    inputs = [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [batch, 3])]
    outputs = [helper.make_tensor_value_info(output, dtype, [batch, 2])]
    weight = numpy_helper.from_array(np.ones((3, 2), dtype=np.float32), "w")
    onnx.save(
        helper.make_model(
            helper.make_graph(nodes, "g", inputs, outputs, [weight]), ir_version=10, opset_imports=[helper.make_opsetid("", 20)]
        ),
        path,
    )
    return path


def test_what_our_converter_refuses_goes_to_keras_and_the_lineage_says_so(artifact, tmp_path, monkeypatch):
    refusal = UnsupportedError("Layer 'a' (Odd) is odd.")
    seen = []

    def by_keras(given, workspace):
        seen.append((given.form, given.path))
        return Conversion(_write(workspace / "model.onnx"), given.interface, (STEP,))

    monkeypatch.setattr(stage, "CONVERTERS", FakeConverters(layer_graph=refusal, keras_file=by_keras))
    conversion = stage.convert(artifact, tmp_path / "out", sandbox=NoSandbox())
    assert seen == [(ArtifactForm.KERAS_FILE, artifact.snapshot)]
    assert any("Layer 'a' (Odd) is odd." in note for note in conversion.steps[0].notes)


def test_without_keras_the_refusal_names_the_layer_and_the_extra(artifact, tmp_path, monkeypatch):
    fakes = FakeConverters(layer_graph=UnsupportedError("Layer 'a' (Odd) is odd."), keras_file=MissingExtraError("keras", needed_for="it"))
    monkeypatch.setattr(stage, "CONVERTERS", fakes)
    with pytest.raises(UnsupportedError, match=r"Layer 'a' \(Odd\).*fairlead\[keras\]"):
        stage.convert(artifact, tmp_path / "out", sandbox=NoSandbox())


def test_a_sound_result_passes(tmp_path):
    check_canonical(Conversion(_write(tmp_path / "m.onnx"), INTERFACE, (STEP,)), tmp_path)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"batch": 1}, "fixed batch of 1"),
        ({"output": "other"}, "outputs are other"),
        ({"dtype": TensorProto.DOUBLE}, "DOUBLE instead of FP32"),
    ],
)
def test_a_result_that_does_not_fit_the_interface_is_refused(tmp_path, change, problem):
    with pytest.raises(UnsupportedError, match=problem):
        check_canonical(Conversion(_write(tmp_path / "m.onnx", **change), INTERFACE, (STEP,)), tmp_path)


def test_a_result_with_weights_in_another_file_is_refused(tmp_path):
    model = onnx.load(_write(tmp_path / "m.onnx"))
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, size_threshold=0, location="m.data")
    with pytest.raises(UnsupportedError, match="outside of the file"):
        check_canonical(Conversion(tmp_path / "m.onnx", INTERFACE, (STEP,)), tmp_path)


def test_a_result_that_is_no_model_is_refused(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"not a model at all")
    with pytest.raises(UnsupportedError, match="not an ONNX model"):
        check_canonical(Conversion(tmp_path / "m.onnx", INTERFACE, (STEP,)), tmp_path)


def test_a_result_outside_of_the_workspace_is_refused(tmp_path):
    path = _write(tmp_path / "m.onnx")
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "m.onnx").symlink_to(path)
    for place in (path, tmp_path / "inner" / "m.onnx"):
        with pytest.raises(UnsupportedError, match="workspace"):
            check_canonical(Conversion(place, INTERFACE, (STEP,)), tmp_path / "inner")


def test_a_step_is_part_of_every_result(tmp_path):
    with pytest.raises(UnsupportedError, match="did not say"):
        check_canonical(replace(Conversion(_write(tmp_path / "m.onnx"), INTERFACE, (STEP,)), steps=()), tmp_path)
