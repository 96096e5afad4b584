from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from fairlead.core.artifact import ArtifactForm, SourceFormat
from fairlead.errors import CorruptError, MissingExtraError, SandboxError, SourceError, UnsupportedError
from fairlead.ingest.inspection import inspect_source
from fairlead.ingest.stage import ingest


@dataclass
class FakeSandbox:
    """Answers what the test says, by the last part of the entry; keeps the jobs. `files` are written into scratch."""

    answers: dict[str, Any]
    jobs: list[Any] = field(default_factory=list)

    def run(self, job):
        self.jobs.append(job)
        answer = self.answers[job.entry.rpartition(":")[2]]
        job.scratch.mkdir(parents=True, exist_ok=True)
        if isinstance(answer, Exception):
            raise answer
        return answer(job) if callable(answer) else answer

    def layers(self):
        return {}


INTERFACE = {
    "inputs": [{"name": "x", "dtype": "FP32", "shape": [None, 4]}],
    "outputs": [{"name": "y", "dtype": "FP32", "shape": [None, 2]}],
}
LEFT = {"framework": "keras 3.1.0", "interface": None, "form": "keras-file", "problem": "Layer 'r': Resizing", "activation": "softmax"}


@pytest.fixture
def model(keras, tmp_path):
    return keras.write_h5(tmp_path / "model.h5", keras.sequential(keras.dense()), keras.arrays())


def test_a_keras_file_becomes_a_layer_graph_in_the_workspace(model, tmp_path, sandbox):
    artifact = ingest(model, tmp_path / "work", sandbox=sandbox)
    data = model.read_bytes()
    assert artifact.format is SourceFormat.KERAS_H5
    assert artifact.form is ArtifactForm.LAYER_GRAPH
    assert artifact.path.is_relative_to(tmp_path / "work")
    assert artifact.snapshot.read_bytes() == data
    assert artifact.source.files[0].digest == hashlib.sha256(data).hexdigest()
    assert artifact.framework == "keras 3.15.1"


def test_the_reader_may_read_the_copy_and_nothing_of_the_user(model, tmp_path):
    fake = FakeSandbox({"read_in_sandbox": SandboxError("stop here")})
    with pytest.raises(SandboxError):
        ingest(model, tmp_path / "work", sandbox=fake)
    (job,) = fake.jobs
    assert job.readable == (tmp_path / "work" / "source",)
    assert job.arguments["path"] == str(tmp_path / "work" / "source" / "model.h5")
    assert job.scratch.is_relative_to(tmp_path / "work")


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"framework": 3},
        {"framework": "k", "interface": {"inputs": [], "outputs": []}},
        {"framework": "k", "interface": INTERFACE | {"inputs": INTERFACE["inputs"] * 2}},
        {"framework": "k", "interface": INTERFACE | {"outputs": [{"name": "y", "dtype": "FP32", "shape": [None, -2]}]}},
        {"framework": "k", "interface": INTERFACE | {"decision": {"kind": "argmax", "output": "z"}}},
        {"framework": "k", "interface": INTERFACE, "form": "layer-graph", "file": "../../source"},
        {"framework": "k", "interface": INTERFACE, "form": "layer-graph", "file": "nothing"},
        {"framework": "k", "interface": INTERFACE, "form": "layer-graph"},
        {"framework": "k", "interface": INTERFACE, "facts": {f"f{number}": 1 for number in range(100)}},
    ],
)
def test_an_answer_that_no_reader_would_give_is_not_believed(model, tmp_path, answer):
    with pytest.raises(CorruptError):
        ingest(model, tmp_path / "work", sandbox=FakeSandbox({"read_in_sandbox": answer}))


def test_a_link_left_in_scratch_is_not_followed(model, tmp_path):
    def leave_a_link(job):
        (job.scratch / "graph").symlink_to(tmp_path)
        return {"framework": "k", "interface": INTERFACE, "form": "layer-graph", "file": "graph"}

    with pytest.raises(CorruptError, match="link"):
        ingest(model, tmp_path / "work", sandbox=FakeSandbox({"read_in_sandbox": leave_a_link}))


def test_what_only_keras_knows_is_described_by_keras_after_the_gate(model, tmp_path):
    fake = FakeSandbox({"read_in_sandbox": LEFT, "describe_in_sandbox": {"framework": "keras", "interface": INTERFACE}})
    artifact = ingest(model, tmp_path / "work", sandbox=fake)
    assert artifact.form is ArtifactForm.KERAS_FILE
    assert artifact.path == artifact.snapshot
    assert artifact.interface.task == "classification"
    assert artifact.notes == ("left to Keras: Layer 'r': Resizing",)
    assert [job.entry.rpartition(":")[2] for job in fake.jobs] == ["read_in_sandbox", "describe_in_sandbox"]


def test_without_keras_the_error_names_the_layer_and_the_extra(model, tmp_path):
    missing = MissingExtraError("keras", needed_for="Running the model in Keras itself")
    with pytest.raises(UnsupportedError, match="Resizing") as caught:
        ingest(model, tmp_path / "work", sandbox=FakeSandbox({"read_in_sandbox": LEFT, "describe_in_sandbox": missing}))
    assert "pip install 'fairlead[keras]'" in caught.value.hint


@pytest.mark.parametrize("name", ["missing.h5", "empty.h5", "folder.h5", "text.h5"])
def test_what_is_no_model_file_has_one_clear_error(tmp_path, sandbox, name):
    (tmp_path / "empty.h5").touch()
    (tmp_path / "folder.h5").mkdir()
    (tmp_path / "text.h5").write_text("accuracy: 0.9")
    with pytest.raises(SourceError) as caught:
        ingest(tmp_path / name, tmp_path / "work", sandbox=sandbox)
    assert caught.value.hint


def test_an_estimator_is_inspected_without_being_opened(tmp_path, sandbox):
    path = tmp_path / "m.pkl"
    path.write_bytes(b"cposix\nsystem\n(S'touch /tmp/never'\ntR.")
    inspection = inspect_source(path, sandbox=sandbox)
    assert inspection.is_unsafe
    assert inspection.interface is None
    assert any("system" in finding.what for finding in inspection.findings)


def test_inspect_says_what_a_keras_model_takes_and_leaves_nothing_behind(model, tmp_path, sandbox):
    before = sorted(tmp_path.rglob("*"))
    inspection = inspect_source(model, sandbox=sandbox)
    assert inspection.interface.inputs[0].describe() == "x FP32 [batch, 4]"
    assert inspection.facts["layers"] == "Dense"
    assert not inspection.is_unsafe
    assert sorted(tmp_path.rglob("*")) == before


def test_a_file_name_that_is_no_identifier_stays_the_users_own(model, tmp_path, sandbox):
    odd = model.rename(tmp_path / "mein Modell – 2.h5")
    artifact = ingest(odd, tmp_path / "work", sandbox=sandbox)
    assert artifact.source.files[0].name == "mein Modell – 2.h5"
    assert np.isclose(artifact.facts["parameter_count"], 10)
