"""model.trees for the compiled kernel: proven bit for bit, or refused by name before anything is compiled or written."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fairlead.convert import tree_ensemble_to_kernel
from fairlead.convert.build import build
from fairlead.core.artifact import Artifact, ArtifactForm, SourceFormat
from fairlead.core.conversion import BuildJob, Conversion, RuntimeForm
from fairlead.core.manifest import FileEntry, Manifest
from fairlead.engines.opening import open_engine
from fairlead.engines.tree_ensemble_engine import TreeEnsembleEngine
from fairlead.engines.tree_ensemble_file import write_tree_ensemble
from fairlead.errors import CorruptError, EnvironmentalError, UnsupportedError
from fairlead.security.digests import digest_file
from fairlead.security.sandbox import OneShotSandbox

sys.path.append(str(Path(__file__).parents[1] / "engines"))
from drawn_trees import Shape, draw_rows, draw_trees, regressor

needs_cc = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
TREES = draw_trees(1, Shape(features=3))


@pytest.fixture
def job(tmp_path: Path) -> BuildJob:
    source, model = tmp_path / "source.trees", tmp_path / "model.onnx"
    write_tree_ensemble(source, TREES)
    model.write_bytes(b"stands for the ONNX form")
    interface = regressor(TREES)
    manifest = Manifest((FileEntry("m.ubj", 1, "0" * 64),))
    artifact = Artifact(SourceFormat.XGBOOST_UBJ, ArtifactForm.TREE_ENSEMBLE, source, source, manifest, "XGBoost", interface)
    conversion = Conversion(model, interface, (), probes={"x": draw_rows(2, TREES, 5000)})
    return BuildJob(artifact, conversion, model, tmp_path / "work", OneShotSandbox())


def _never() -> None:
    raise RuntimeError("compiled")


@needs_cc
@pytest.mark.parametrize("has_probes", [True, False])
def test_the_engine_answers_as_the_numpy_walk_does(job: BuildJob, has_probes: bool) -> None:
    job = job if has_probes else replace(job, conversion=replace(job.conversion, probes=None))
    built = build(RuntimeForm.TREES, job)
    assert list(built.files) == ["model.trees"]
    engine = open_engine("trees", built.path, job.conversion.interface)
    rows = {"x": draw_rows(3, TREES, 50)}
    with np.errstate(all="ignore"):
        wanted = TreeEnsembleEngine(TREES, job.conversion.interface).run(rows)
    assert engine.run(rows)["prediction"].tobytes() == wanted["prediction"].tobytes()
    (step,) = built.steps
    assert (step.input_digest, step.output_digest) == (digest_file(job.model), digest_file(built.path))
    assert "bit for bit" in step.notes[0]


@pytest.mark.parametrize("form", sorted(set(ArtifactForm) - {ArtifactForm.TREE_ENSEMBLE, ArtifactForm.ESTIMATOR_FILE}))
def test_what_is_no_tree_ensemble_is_refused_by_name_without_compiling(
    form: ArtifactForm, job: BuildJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree_ensemble_to_kernel, "kernel", _never)
    with pytest.raises(UnsupportedError, match=form.value):
        build(RuntimeForm.TREES, replace(job, artifact=replace(job.artifact, form=form)))


def test_without_a_compiler_nothing_is_written(job: BuildJob, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise EnvironmentalError("no cc")

    monkeypatch.setattr(tree_ensemble_to_kernel, "kernel", missing)
    with pytest.raises(EnvironmentalError):
        build(RuntimeForm.TREES, job)
    assert not list(job.workspace.iterdir())


@needs_cc
def test_a_kernel_that_adds_otherwise_is_not_used(job: BuildJob, monkeypatch: pytest.MonkeyPatch) -> None:
    true = tree_ensemble_to_kernel.sums_of
    monkeypatch.setattr(tree_ensemble_to_kernel, "sums_of", lambda *given: np.nextafter(true(*given), np.float32(9)))
    with pytest.raises(CorruptError, match="compiler"):
        build(RuntimeForm.TREES, job)
    assert not list(job.workspace.iterdir())
