"""The outer side of the conversion: it believes files and figures of the child only after a look."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fairlead.convert.sklearn_to_onnx import convert_estimator
from fairlead.core.artifact import Artifact, ArtifactForm, SourceFormat
from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, TensorSpec
from fairlead.core.manifest import Manifest
from fairlead.core.ports import SandboxJob
from fairlead.engines.tensor_file import write_tensors
from fairlead.errors import CorruptError

INTERFACE = Interface((TensorSpec("x", DType.FP64, (None, 2)),), (TensorSpec("prediction", DType.FP64, (None, 1)),))
ANSWER = {"route": "fairlead", "tolerance": 1e-8, "difference": 0.0, "probe_count": 3, "notes": ["a\nb"], "versions": {"numpy": "2"}}


class Child:
    """Leaves what a child would leave."""

    def __init__(self, probes: Mapping[str, Any], answer: Mapping[str, Any] = ANSWER) -> None:
        self._probes, self._answer = probes, answer

    def run(self, job: SandboxJob) -> dict[str, Any]:
        job.scratch.mkdir(parents=True)
        (job.scratch / "model.onnx").write_bytes(b"onnx")
        write_tensors(job.scratch / "probes.npz", self._probes)
        return dict(self._answer)

    def layers(self) -> Mapping[str, str]:
        return {}


def artifact(tmp_path: Path) -> Artifact:
    path = tmp_path / "model.pkl"
    return Artifact(SourceFormat.SKLEARN_PICKLE, ArtifactForm.ESTIMATOR_FILE, path, path, Manifest(()), "scikit-learn 1", INTERFACE)


def test_model_probes_tolerance_and_lineage_come_out(tmp_path: Path) -> None:
    conversion = convert_estimator(artifact(tmp_path), tmp_path, sandbox=Child({"x": np.zeros((3, 2))}))
    assert conversion.path == tmp_path / "model.onnx"
    assert conversion.path.read_bytes() == b"onnx"
    assert conversion.probes is not None
    assert conversion.probes["x"].shape == (3, 2)
    assert conversion.tolerance == 1e-8
    assert conversion.steps[0].tool == "sklearn_to_onnx (fairlead)"
    assert conversion.steps[0].notes == ("a\\nb",)


@pytest.mark.parametrize("probes", [{}, {"x": np.zeros((3, 3))}, {"x": np.zeros((0, 2))}, {"y": np.zeros((3, 2))}])
def test_probe_rows_that_do_not_fit_the_model_are_refused(tmp_path: Path, probes: Mapping[str, Any]) -> None:
    with pytest.raises(CorruptError, match="probe rows"):
        convert_estimator(artifact(tmp_path), tmp_path, sandbox=Child(probes))


@pytest.mark.parametrize("change", [{"route": 7}, {"tolerance": "much"}, {"notes": "none"}])
def test_an_answer_of_another_form_is_refused(tmp_path: Path, change: Mapping[str, Any]) -> None:
    with pytest.raises(CorruptError, match="answer is not sound"):
        convert_estimator(artifact(tmp_path), tmp_path, sandbox=Child({"x": np.zeros((3, 2))}, {**ANSWER, **change}))


def test_a_link_that_the_child_left_is_not_followed(tmp_path: Path) -> None:
    class Linking(Child):
        def run(self, job: SandboxJob) -> dict[str, Any]:
            answer = super().run(job)
            (job.scratch / "model.onnx").unlink()
            (job.scratch / "model.onnx").symlink_to(tmp_path / "secret")
            return answer

    (tmp_path / "secret").write_text("secret")
    with pytest.raises(CorruptError, match="link"):
        convert_estimator(artifact(tmp_path), tmp_path, sandbox=Linking({"x": np.zeros((3, 2))}))
