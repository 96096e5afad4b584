"""TensorFlow Model Optimization as a pass: what it does to weights, that the structure stays, and what it refuses."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from fairlead.convert.layer_graph_to_onnx import convert_layer_graph
from fairlead.core.artifact import Artifact, ArtifactForm, SourceFormat
from fairlead.core.dataset import Dataset
from fairlead.core.dtype import DType
from fairlead.core.interface import Decision, DecisionKind, Interface, Task, TensorSpec
from fairlead.core.layer_graph import GRAPH_INPUT, Call, Layer, LayerGraph, ValueRef
from fairlead.core.manifest import FileEntry, Manifest
from fairlead.core.pass_use import PassUse
from fairlead.engines.layer_graph_file import write_layer_graph
from fairlead.engines.onnxruntime_engine import OnnxRuntimeEngine
from fairlead.errors import DataError, FairleadError, MissingExtraError, SpecError, UnsupportedError
from fairlead.optimize.catalog import complete_settings
from fairlead.optimize.job import PassJob
from fairlead.optimize.passes.train_tfmot import train_tfmot
from fairlead.security.sandbox import OneShotSandbox

HAS_TFMOT = all(importlib.util.find_spec(name) is not None for name in ("tensorflow_model_optimization", "tf_keras"))
needs_tfmot = pytest.mark.skipif(not HAS_TFMOT, reason="needs pip install 'fairlead[tfmot]'")
RNG = np.random.default_rng(5)
CENTRES = RNG.normal(size=(3, 6, 6, 1)).astype(np.float32) * 2
TARGET = np.arange(300) % 3
ROWS = (CENTRES[TARGET] + RNG.normal(size=(300, 6, 6, 1))).astype(np.float32)
INTERFACE = Interface(
    (TensorSpec("x", DType.FP32, (None, 6, 6, 1)),),
    (TensorSpec("y", DType.FP32, (None, 3)),),
    Task.CLASSIFICATION,
    Decision(DecisionKind.ARGMAX, "y", scores="y"),
)
CONVOLUTION = {
    "activation": "relu", "data_format": "channels_last", "dilation_rate": [1, 1], "filters": 8, "groups": 1, "kernel_size": [3, 3],
    "padding": "same", "strides": [1, 1], "use_bias": True,
}  # fmt: skip


def network(folder: Path, *, dense: dict | None = None) -> Artifact:
    """Convolution, flatten, two dense layers; weights as they are drawn."""
    shapes = {"c/kernel": (3, 3, 1, 8), "c/bias": (8,), "d/kernel": (288, 16), "d/bias": (16,), "e/kernel": (16, 3), "e/bias": (3,)}
    weights = {name: (RNG.normal(size=shape) * 0.2).astype(np.float32) for name, shape in shapes.items()}
    config = {"activation": "relu", "units": 16, "use_bias": True} | (dense or {})
    layers = {
        "c": Layer("c", "Conv2D", CONVOLUTION, {"kernel": "c/kernel", "bias": "c/bias"}),
        "f": Layer("f", "Flatten", {"data_format": "channels_last"}),
        "d": Layer("d", "Dense", config, {"kernel": "d/kernel", "bias": "d/bias"}),
        "drop": Layer("drop", "Dropout"),
        "e": Layer("e", "Dense", {"activation": "softmax", "units": 3, "use_bias": True}, {"kernel": "e/kernel", "bias": "e/bias"}),
    }
    refs = [ValueRef(GRAPH_INPUT), *(ValueRef(place) for place in range(4))]
    calls = tuple(Call(name, (ref,)) for name, ref in zip(layers, refs, strict=True))
    graph = LayerGraph("n", layers, calls, INTERFACE.inputs, (("y", ValueRef(4)),), "keras 3.15.1")
    write_layer_graph(folder, graph, weights)
    manifest = Manifest((FileEntry("model.h5", 1, "0" * 64),))
    return Artifact(SourceFormat.KERAS_H5, ArtifactForm.LAYER_GRAPH, folder, folder, manifest, "keras 3.15.1", INTERFACE)


def rebuild(artifact: Artifact, folder: Path) -> Path:
    return convert_layer_graph(artifact, folder, sandbox=OneShotSandbox()).path


@pytest.fixture
def make_job(tmp_path: Path) -> Callable[..., PassJob]:
    artifact = network(tmp_path / "graph")
    (tmp_path / "converted").mkdir()
    source = rebuild(artifact, tmp_path / "converted")

    def make(**settings: object) -> PassJob:
        return PassJob(
            source,
            tmp_path / "after.onnx",
            complete_settings(PassUse("train_tfmot", {"epochs": 2, **settings})),
            training=Dataset({"x": ROWS}, TARGET),
            interface=INTERFACE,
            artifact=artifact,
            rebuild=rebuild,
            sandbox=OneShotSandbox(),
        )

    return make


def kernels(path: Path) -> list[np.ndarray]:
    tensors = [numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer]
    return [tensor for tensor in tensors if tensor.dtype == np.float32 and tensor.ndim > 1]


def accuracy(path: Path) -> float:
    answers = OnnxRuntimeEngine(path, INTERFACE).run({"x": ROWS})["y"]
    return float((answers.argmax(axis=1) == TARGET).mean())


@needs_tfmot
@pytest.mark.slow
@pytest.mark.parametrize("method", ["prune", "quantize", "prune_cluster", "prune_cluster_quantize"])
def test_every_method_trains_and_leaves_its_mark_on_the_weights(method: str, make_job: Callable[..., PassJob]) -> None:
    job = make_job(method=method, cluster_count=4, epochs=12, learning_rate=0.01)
    result = train_tfmot(job)
    assert accuracy(job.destination) > max(accuracy(job.source), 0.9)
    before, after = kernels(job.source), kernels(job.destination)
    assert [one.shape for one in before] == [one.shape for one in after]
    zeros = sum(int((one == 0).sum()) for one in after) / sum(one.size for one in after)
    assert (zeros > 0.75) == method.startswith("prune"), zeros
    distinct = max(len(np.unique(one)) for one in after)
    assert (distinct <= 5) == ("cluster" in method), distinct
    assert set(result.versions) == {"tensorflow-model-optimization", "tensorflow"}
    assert result.parameters["steps"] == method.replace("_", ", ")


@needs_tfmot
@pytest.mark.slow
def test_the_same_seed_gives_the_same_file(make_job: Callable[..., PassJob], tmp_path: Path) -> None:
    job = make_job(method="prune")
    train_tfmot(job)
    again = replace(job, destination=tmp_path / "again.onnx")
    train_tfmot(again)
    assert job.destination.read_bytes() == again.destination.read_bytes()


@needs_tfmot
@pytest.mark.slow
def test_training_that_diverges_is_said(make_job: Callable[..., PassJob]) -> None:
    job = make_job(method="prune")
    job = replace(job, training=Dataset({"x": np.where(ROWS > 3, np.float32(np.nan), ROWS)}, TARGET))
    with pytest.raises(FairleadError, match=r"diverged|otherwise"):
        train_tfmot(job)


@needs_tfmot
def test_another_pass_before_it_is_refused(make_job: Callable[..., PassJob], tmp_path: Path) -> None:
    model = onnx.load(make_job().source)
    model.graph.initializer[0].raw_data = bytes(len(model.graph.initializer[0].raw_data))
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(UnsupportedError, match="starts from the Keras model"):
        train_tfmot(replace(make_job(), source=tmp_path / "other.onnx"))


@needs_tfmot
def test_rows_without_right_answers_are_refused(make_job: Callable[..., PassJob]) -> None:
    with pytest.raises(DataError, match="right answers"):
        train_tfmot(replace(make_job(), training=Dataset({"x": ROWS})))


@pytest.mark.parametrize("settings", [{"method": "magic"}, {"sparsity": 1.0}, {"cluster_count": 1}, {"epochs": 0}, {"learning_rate": 0.0}])
def test_settings_without_meaning_are_refused(settings: dict, make_job: Callable[..., PassJob]) -> None:
    with pytest.raises(SpecError):
        train_tfmot(make_job(**settings))


def test_what_is_no_keras_model_of_known_layers_is_refused(make_job: Callable[..., PassJob]) -> None:
    job = make_job()
    for artifact in (None, replace(job.artifact, form=ArtifactForm.ONNX_FILE)):
        with pytest.raises(UnsupportedError, match="takes Keras models"):
            train_tfmot(replace(job, artifact=artifact))
    with pytest.raises(UnsupportedError, match="what the model decides"):
        train_tfmot(replace(job, interface=replace(INTERFACE, decision=None)))


@pytest.mark.skipif(HAS_TFMOT, reason="the extra is installed")
def test_without_the_extra_it_says_what_to_install(make_job: Callable[..., PassJob]) -> None:
    with pytest.raises(MissingExtraError, match="tfmot"):
        train_tfmot(make_job())
