"""Trains a Keras model with TensorFlow Model Optimization: pruning schedules, clustering, quantization-aware training, combined. Lossy.

Starts from the Keras model as Fairlead's own reader has it (Keras 2 and 3 files alike), not from the ONNX graph, so it has to be the first
pass; the trained weights are converted again. The structure stays: pruned and clustered weights pay in compressed size, weights trained for
8 bits in what `quantize_static_int8` after it loses. TensorFlow runs in the sandbox and never sees the user's file.
"""

from __future__ import annotations

import importlib.util
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from fairlead.core.artifact import Artifact, ArtifactForm
from fairlead.core.interface import Array, DecisionKind
from fairlead.core.ports import Sandbox, SandboxJob, SandboxLimits
from fairlead.engines.layer_graph_file import read_layer_graph, write_layer_graph
from fairlead.engines.onnxruntime_engine import OnnxRuntimeEngine
from fairlead.engines.tensor_file import read_tensors, write_tensors
from fairlead.errors import CorruptError, DataError, MissingExtraError, SpecError, UnsupportedError
from fairlead.optimize.job import PassJob, PassResult
from fairlead.optimize.tfmot.child import TARGET, WEIGHTS, Training
from fairlead.security.digests import digest_file

_ENTRY = "fairlead.optimize.tfmot.child:train"
_METHODS = {
    "prune": ("prune",),
    "cluster": ("cluster",),
    "quantize": ("quantize",),
    "prune_cluster": ("prune", "cluster"),
    "prune_quantize": ("prune", "quantize"),
    "cluster_quantize": ("cluster", "quantize"),
    "prune_cluster_quantize": ("prune", "cluster", "quantize"),
}
_TASKS = {DecisionKind.ARGMAX: "classes", DecisionKind.THRESHOLD: "binary", DecisionKind.VALUE: "number"}
_COMPARED_ROWS = 16
# Address space, not memory: TensorFlow reserves far more than it uses.
_MEMORY_BYTES = 32 * 2**30
_LONGEST_S = 24 * 3600.0
_START_S = 60.0  # for TensorFlow to start, beside the time for training


def train_tfmot(job: PassJob) -> PassResult:
    """Write the model of `job.artifact`, trained further on `job.training`, to `job.destination`."""
    steps, asked = _asked(job)
    artifact, sandbox = _keras(job)
    graph, weights = read_layer_graph(artifact.path)
    with tempfile.TemporaryDirectory(prefix="fairlead-tfmot-") as folder:
        scratch = Path(folder) / "scratch"
        scratch.mkdir()
        rows = Path(folder) / "rows.npz"
        write_tensors(rows, _rows(job))
        arguments = {"graph": str(artifact.path), "rows": str(rows), "job": {**asdict(asked), "steps": list(steps)}}
        wall_s = job.time_s + _START_S * len(steps) if job.time_s else _LONGEST_S
        limits = SandboxLimits(memory_bytes=_MEMORY_BYTES, cpu_s=int(wall_s * 8), wall_s=wall_s)
        answer = sandbox.run(SandboxJob(_ENTRY, scratch, arguments, (artifact.path, rows), limits))
        trained = _checked(read_tensors(scratch / WEIGHTS), weights)
        changed = Path(folder) / "graph"
        write_layer_graph(changed, graph, {**weights, **trained})
        _convert(job, replace(artifact, path=changed), Path(folder) / "converted", job.destination)
    return _result(answer, steps)


def _asked(job: PassJob) -> tuple[tuple[str, ...], Training]:
    method = str(job.settings["method"])
    if method not in _METHODS:
        raise SpecError(f"'{method}' is no method of train_tfmot.", hint=f"Known: {', '.join(_METHODS)}.")
    sparsity, count, epochs = float(job.settings["sparsity"]), int(job.settings["cluster_count"]), int(job.settings["epochs"])
    rate = float(job.settings["learning_rate"])
    if not 0 < sparsity < 1 or not 2 <= count <= 256 or not 1 <= epochs <= 10_000 or not 0 < rate < 1:
        raise SpecError("A setting of train_tfmot makes no sense.", hint="0 < sparsity < 1, 2 to 256 clusters, 1 or more epochs.")
    interface = job.interface
    rule = interface.decision if interface is not None else None
    if interface is None or rule is None or rule.kind not in _TASKS:
        raise UnsupportedError("It is not known what the model decides, so it cannot be trained.", hint="Say it: --task classification.")
    place = [spec.name for spec in interface.outputs].index(rule.output)
    steps = _METHODS[method]
    return steps, Training(steps, place, _TASKS[rule.kind], sparsity, count, epochs, rate, job.seed, job.thread_count, job.time_s)


def _keras(job: PassJob) -> tuple[Artifact, Sandbox]:
    artifact = job.artifact
    if artifact is None or artifact.form is not ArtifactForm.LAYER_GRAPH:
        raise UnsupportedError(
            "TensorFlow Model Optimization takes Keras models of layers that Fairlead reads.", hint="Leave the pass out."
        )
    if job.sandbox is None or job.rebuild is None:
        raise UnsupportedError("train_tfmot works within `fairlead deploy` and `fairlead optimize` only.", hint="Use one of them.")
    if importlib.util.find_spec("tensorflow_model_optimization") is None or importlib.util.find_spec("tf_keras") is None:
        raise MissingExtraError("tfmot", needed_for="The pass 'train_tfmot'")
    with tempfile.TemporaryDirectory(prefix="fairlead-tfmot-") as folder:
        if digest_file(job.rebuild(artifact, Path(folder))) != digest_file(job.source):
            raise UnsupportedError("train_tfmot starts from the Keras model itself.", hint="Put it before every other pass.")
    return artifact, job.sandbox


def _rows(job: PassJob) -> dict[str, Array]:
    """Return the inputs in the model's order, the right answers, and what the converted model answers to the first rows."""
    training, interface = job.training, job.interface
    if training is None or training.target is None or interface is None or interface.decision is None:
        raise DataError("Training needs rows with right answers.", hint="Give them: --train train.npz (x and y).")
    engine = OnnxRuntimeEngine(job.source, interface)
    try:
        inputs = {spec.name: np.asarray(training.inputs[spec.name]) for spec in interface.inputs}
        expected = engine.run({name: tensor[:_COMPARED_ROWS] for name, tensor in inputs.items()})[interface.decision.output]
    finally:
        engine.close()
    target = training.target if training.target.dtype.kind != "f" else training.target.astype(np.float32)
    return {**inputs, TARGET: target, "expected": expected}


def _checked(trained: dict[str, Array], weights: dict[str, Array]) -> dict[str, Array]:
    for key, tensor in trained.items():
        if key not in weights or tensor.shape != weights[key].shape or tensor.dtype != weights[key].dtype:
            raise CorruptError("Training changed the network's structure.", hint="Please report this model.")
    return trained


def _convert(job: PassJob, artifact: Artifact, folder: Path, destination: Path) -> None:
    if job.rebuild is not None:
        folder.mkdir()
        destination.write_bytes(job.rebuild(artifact, folder).read_bytes())


def _result(answer: dict[str, Any], steps: tuple[str, ...]) -> PassResult:
    said = [f"{float(answer['sparsity']):.1%} of the kernels' weights are zero, at most {int(answer['distinct'])} values in one of them"]
    if "stopped" in answer:
        said.append(str(answer["stopped"]))
    versions = {str(name): str(version) for name, version in answer["versions"].items()}
    return PassResult(versions, {"steps": ", ".join(steps)}, tuple(said))
