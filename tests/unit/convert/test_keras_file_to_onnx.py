from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest

from fairlead.convert import keras_file_to_onnx as converter
from fairlead.core.artifact import Artifact, ArtifactForm, SourceFormat
from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, TensorSpec
from fairlead.core.manifest import Manifest
from fairlead.engines.onnxruntime_engine import OnnxRuntimeEngine
from fairlead.errors import CorruptError, MissingExtraError, UnsupportedError
from fairlead.security.sandbox import OneShotSandbox

INTERFACE = Interface((TensorSpec("x", DType.FP32, (None, 3)),), (TensorSpec("y", DType.FP32, (None, 3)),))


class FakeSandbox:
    def __init__(self, model=None):
        self.model, self.jobs = model, []

    def run(self, job):
        self.jobs.append(job)
        job.scratch.mkdir(parents=True)
        if self.model is not None:
            (job.scratch / converter.MODEL_FILE).write_bytes(self.model.SerializeToString())
        return {"versions": {"keras": "3.15.1"}}

    def layers(self):
        return {}


def graph(*names, batch="batch"):
    """input -> Relu -> middle -> Relu -> output, under the given names."""
    first, middle, last = names
    nodes = [onnx.helper.make_node("Relu", [first], [middle]), onnx.helper.make_node("Relu", [middle], [last])]
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [batch, 3]) for name in (first, last)]
    return onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", ends[:1], ends[1:]))


@pytest.fixture
def artifact(tmp_path):
    path = tmp_path / "m.keras"
    path.write_bytes(b"x")
    return Artifact(SourceFormat.KERAS_ZIP, ArtifactForm.KERAS_FILE, path, path, Manifest(()), "keras 3.15.1", INTERFACE)


@pytest.fixture
def installed(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())


def test_the_export_runs_in_the_sandbox_and_names_its_versions(artifact, tmp_path, installed):
    fake = FakeSandbox(graph("x", "m", "y"))
    conversion = converter.convert_keras_file(artifact, tmp_path / "work", sandbox=fake)
    assert conversion.path.is_relative_to(tmp_path / "work")
    assert conversion.steps[0].versions == {"keras": "3.15.1"}
    assert fake.jobs[0].arguments["inputs"] == ({"name": "x", "dtype": "FP32", "shape": (None, 3), "columns": (), "is_category": False},)
    with pytest.raises(CorruptError):
        converter.convert_keras_file(artifact, tmp_path / "empty", sandbox=FakeSandbox())


def test_without_the_extra_the_layer_and_the_cure_are_named(artifact, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError):
        converter.convert_keras_file(artifact, tmp_path, sandbox=FakeSandbox())
    left = replace(artifact, notes=("left to Keras: Layer 'r': Resizing",))
    with pytest.raises(UnsupportedError, match=r"Resizing.*fairlead\[keras\]"):
        converter.convert_keras_file(left, tmp_path, sandbox=FakeSandbox())


class FailingOnSandbox(FakeSandbox):
    """Fails on one backend, as its exporter would."""

    def __init__(self, backend, model):
        super().__init__(model)
        self.backend = backend

    def run(self, job):
        if job.arguments["backend"] == self.backend:
            raise UnsupportedError("an operator without a converter.")
        return super().run(job)


def test_where_one_route_fails_the_next_is_tried_and_the_lineage_says_why(artifact, tmp_path, installed):
    conversion = converter.convert_keras_file(artifact, tmp_path / "work", sandbox=FailingOnSandbox("jax", graph("x", "m", "y")))
    (step,) = conversion.steps
    assert step.parameters == {"backend": "torch"}
    assert step.notes == ("another route failed on jax: an operator without a converter.",)


def test_where_every_route_fails_each_reason_is_said(artifact, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torch" else object())
    with pytest.raises(UnsupportedError, match="on jax: an operator without a converter"):
        converter.convert_keras_file(artifact, tmp_path / "work", sandbox=FailingOnSandbox("jax", graph("x", "m", "y")))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")  # Keras's own code
@pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("keras", "jax", "jax2onnx")), reason="Keras on JAX with jax2onnx is not installed"
)
def test_a_masked_network_of_any_length_goes_through_keras_itself(tmp_path, monkeypatch):
    for name in {"tensorflow", "torch", "sklearn"} - set(sys.modules):
        monkeypatch.setitem(sys.modules, name, None)  # Keras imports every framework that is there, which takes seconds, and needs one
    keras = importlib.import_module("keras")
    ids = keras.Input((None,), dtype="int32", name="ids")
    steps = keras.layers.LSTM(4)(keras.layers.Embedding(20, 5, mask_zero=True)(ids))
    model = keras.Model(ids, keras.layers.Dense(2, name="score")(steps))
    path = tmp_path / "masked.keras"
    model.save(path)
    interface = Interface((TensorSpec("ids", DType.INT32, (None, None)),), (TensorSpec("score", DType.FP32, (None, 2)),))
    artifact = Artifact(SourceFormat.KERAS_ZIP, ArtifactForm.KERAS_FILE, path, path, Manifest(()), "keras 3.15.1", interface)
    conversion = converter.convert_keras_file(artifact, tmp_path / "work", sandbox=OneShotSandbox())
    assert conversion.steps[0].parameters == {"backend": "jax"}
    assert onnx.load(conversion.path).producer_name == "jax2onnx"  # Keras on another backend would have exported by that one's exporter
    engine = OnnxRuntimeEngine(conversion.path, interface)
    for length in (5, 11):
        rows = np.random.default_rng(length).integers(0, 20, (3, length)).astype(np.int32)
        rows[:, -2:] = 0  # masked
        assert np.allclose(engine.run({"ids": rows})["score"], np.asarray(model(rows)), atol=1e-5)
