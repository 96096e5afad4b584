from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from fairlead.core.artifact import Artifact, ArtifactForm, SourceFormat
from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, TensorSpec
from fairlead.core.manifest import Manifest
from fairlead.engines import keras_engine, keras_worker
from fairlead.engines.keras_engine import open_reference
from fairlead.engines.tensor_file import read_tensors, write_tensors
from fairlead.errors import CorruptError, MissingExtraError, RequestError, UnavailableError, UnsupportedError
from fairlead.security.sandbox import OneShotSandbox

DATA = Path(__file__).parents[2] / "data" / "keras_reader"
INTERFACE = Interface(
    (TensorSpec("x", DType.FP32, (None, 3)),), (TensorSpec("y", DType.FP32, (None, 1)), TensorSpec("z", DType.FP32, (None,)))
)


class FakeSandbox:
    """Stands for Keras: `y` is the sum of the row and `z` its first number; `rows` are lost at the end."""

    def __init__(self, lost=0, outputs=2):
        self.lost, self.outputs, self.jobs = lost, outputs, []

    def run(self, job):
        self.jobs.append(job)
        (x,) = read_tensors(Path(job.arguments["inputs"])).values()
        job.scratch.mkdir(parents=True)
        x = x[: len(x) - self.lost]
        answers = {"y": x.sum(1, keepdims=True), "z": x[:, 0]}
        write_tensors(job.scratch / "outputs.npz", dict(list(answers.items())[: self.outputs]))
        return {}

    def layers(self):
        return {}


@pytest.fixture
def artifact(tmp_path, monkeypatch):
    monkeypatch.setattr(keras_engine, "describe_keras", lambda: "keras 9 (fake 1)")
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "m.keras"
    path.write_bytes(b"x")
    return Artifact(SourceFormat.KERAS_ZIP, ArtifactForm.KERAS_FILE, path, path, Manifest(()), "keras 3.15.1", INTERFACE)


def test_each_run_is_one_job_that_may_read_the_snapshot_and_the_inputs(artifact, tmp_path):
    fake = FakeSandbox()
    engine = open_reference(artifact, tmp_path / "scratch", fake)
    rows = np.arange(6, dtype="f4").reshape(2, 3)
    assert fake.jobs == []  # opening starts nothing
    outputs = engine.run({"x": rows})
    assert engine.description == "keras 9 (fake 1)"
    assert outputs["y"].dtype == np.float32
    assert outputs["y"].tolist() == [[3.0], [12.0]]
    assert outputs["z"].tolist() == [0.0, 3.0]
    assert len(fake.jobs) == 1
    assert fake.jobs[0].readable[0] == artifact.snapshot
    assert fake.jobs[0].arguments["outputs"] == [["y", "FP32"], ["z", "FP32"]]
    assert list(engine.run({"x": rows}, ["z"])) == ["z"]


def test_inputs_that_do_not_fit_and_calls_after_close_are_refused(artifact, tmp_path):
    engine = open_reference(artifact, tmp_path / "scratch", FakeSandbox())
    with pytest.raises(RequestError):
        engine.run({"x": np.zeros((2, 4), "f4")})
    with pytest.raises(RequestError):
        engine.run({"x": np.zeros((2, 3), "f4")}, ["w"])
    engine.close()
    engine.close()
    with pytest.raises(UnavailableError):
        engine.run({"x": np.zeros((2, 3), "f4")})


def test_an_answer_with_other_rows_is_not_believed(artifact, tmp_path):
    engine = open_reference(artifact, tmp_path / "scratch", FakeSandbox(lost=1))
    with pytest.raises(CorruptError):
        engine.run({"x": np.zeros((2, 3), "f4")})


def test_an_answer_without_an_output_is_not_believed(artifact, tmp_path):
    engine = open_reference(artifact, tmp_path / "scratch", FakeSandbox(outputs=1))
    with pytest.raises(CorruptError, match="no usable 'z'"):
        engine.run({"x": np.zeros((2, 3), "f4")})


def test_keras_archives_of_keras_2_are_known_not_to_open(artifact, tmp_path):
    old = Artifact(artifact.format, artifact.form, artifact.path, artifact.snapshot, artifact.source, "keras 2.21.0", INTERFACE)
    fake = FakeSandbox()
    with pytest.raises(UnsupportedError, match="Keras 2"):
        open_reference(old, tmp_path / "scratch", fake)
    assert fake.jobs == []


def test_without_keras_or_a_backend_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"fairlead\[keras\]"):
        keras_worker.find_backend()


def test_a_process_that_has_keras_on_another_backend_is_refused_and_left_as_it_is(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras", SimpleNamespace(backend=SimpleNamespace(backend=lambda: "torch")))
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    finders = list(sys.meta_path)
    with pytest.raises(UnsupportedError, match="Keras runs on torch in this process and cannot change to jax"):
        keras_worker.open_model(Path("never opened.keras"), "jax")
    assert os.environ["KERAS_BACKEND"] == "torch"
    assert sys.meta_path == finders
    assert keras_worker.start_keras("torch") is sys.modules["keras"]


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("keras") is None or not any(map(importlib.util.find_spec, keras_worker.BACKENDS)),
    reason="Keras with a backend is not installed",
)
def test_keras_itself_runs_a_file_in_the_sandbox(tmp_path):
    from fairlead.ingest.stage import ingest

    sandbox = OneShotSandbox()
    artifact = ingest(DATA / "func.keras", tmp_path / "in", sandbox=sandbox)
    engine = open_reference(artifact, tmp_path / "scratch", sandbox)
    rows = np.random.default_rng(0).normal(size=(3, 6, 4)).astype("f4")
    outputs = engine.run({"a": rows, "b": rows})
    assert engine.description.startswith("keras 3.")
    assert outputs["score"].shape == (3, 1)
    assert outputs["td"].shape == (3, 6, 2)
