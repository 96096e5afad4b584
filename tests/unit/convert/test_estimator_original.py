"""An estimator without an exact ONNX form is kept, byte for byte, and the lineage says why; an unsafe one is never kept."""

from __future__ import annotations

import importlib
import os
import pickle
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sklearn")

from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from fairlead.convert.build import build
from fairlead.convert.stage import convert
from fairlead.core.conversion import BuildJob, RuntimeForm
from fairlead.core.lineage import Lineage
from fairlead.core.ports import SandboxJob
from fairlead.errors import UnsafeContentError, UnsupportedError
from fairlead.ingest.stage import ingest

ROWS, ANSWERS = load_iris(return_X_y=True)


class HereSandbox:
    """Runs the jobs of this test's own files in this process."""

    def run(self, job: SandboxJob) -> dict[str, Any]:
        job.scratch.mkdir(parents=True, exist_ok=True)
        module, _, name = job.entry.partition(":")
        answer: dict[str, Any] = getattr(importlib.import_module(module), name)({**job.arguments, "scratch": str(job.scratch)})
        return answer


def taken(estimator: Any, folder: Path) -> Any:
    path = folder / "model.pkl"
    path.write_bytes(pickle.dumps(estimator))
    return ingest(path, folder / "ingest", sandbox=HereSandbox())


def test_it_is_kept_byte_for_byte_and_the_lineage_says_why(tmp_path: Path) -> None:
    artifact = taken(KNeighborsClassifier(metric="canberra").fit(ROWS, ANSWERS), tmp_path)
    kept = convert(artifact, tmp_path / "convert", sandbox=HereSandbox())
    assert (kept.form, kept.path.name, kept.interface) == (RuntimeForm.PYTHON, "model.estimator", artifact.interface)
    assert kept.path.read_bytes() == (tmp_path / "model.pkl").read_bytes()
    (step,) = kept.steps
    assert any(note.startswith("No ONNX form: ") and "metric='canberra'" in note for note in step.notes)
    assert any("in a sandboxed process of its own" in note for note in step.notes)
    assert step.versions["scikit-learn"]
    assert Lineage(artifact.source.digest, "model.pkl", kept.steps).is_unbroken()


def test_it_becomes_its_own_form_and_no_other(tmp_path: Path) -> None:
    artifact = taken(KNeighborsClassifier(metric="canberra").fit(ROWS, ANSWERS), tmp_path)
    kept = convert(artifact, tmp_path / "convert", sandbox=HereSandbox())
    job = BuildJob(artifact, kept, kept.path, tmp_path / "build", HereSandbox())
    assert build(RuntimeForm.PYTHON, job).files == {"model.estimator": kept.path}
    with pytest.raises(UnsupportedError, match="without an ONNX form"):
        build(RuntimeForm.OPENVINO, job)


def test_what_has_an_exact_form_is_not_kept(tmp_path: Path) -> None:
    artifact = taken(LogisticRegression(max_iter=500).fit(ROWS, ANSWERS), tmp_path)
    assert convert(artifact, tmp_path / "convert", sandbox=HereSandbox()).form is RuntimeForm.ONNX


class Unsafe:
    """What the allow-list does not know."""

    def __reduce__(self) -> Any:
        return os.getpid, ()


def test_an_unsafe_pickle_is_refused_when_it_is_read_and_never_kept(tmp_path: Path) -> None:
    estimator = KNeighborsClassifier(metric="canberra").fit(ROWS, ANSWERS)
    estimator.more_ = Unsafe()
    with pytest.raises(UnsafeContentError, match="not on the allow-list"):
        taken(estimator, tmp_path)
