"""The reference for estimators: scikit-learn's own answers, through files that hold data only."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from fairlead.core.artifact import Artifact, ArtifactForm, SourceFormat
from fairlead.core.manifest import Manifest
from fairlead.core.ports import SandboxJob
from fairlead.engines import sklearn_engine
from fairlead.engines.tensor_file import write_tensors
from fairlead.errors import CorruptError, DataError, RequestError, UnavailableError
from fairlead.ingest.sklearn_reader import describe


class HereSandbox:
    """Runs the job in this process; `answer` replaces what the child wrote."""

    def __init__(self, answer: Mapping[str, Any] | None = None) -> None:
        self.jobs: list[SandboxJob] = []
        self._answer = answer

    def run(self, job: SandboxJob) -> dict[str, Any]:
        self.jobs.append(job)
        job.scratch.mkdir(parents=True)
        sklearn_engine.run_once({**job.arguments, "scratch": str(job.scratch)})
        if self._answer is not None:
            write_tensors(job.scratch / "outputs.npz", self._answer)
        return {}

    def layers(self) -> Mapping[str, str]:
        return {}


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    table = np.empty((20, 2), dtype=object)
    table[:, 0], table[:, 1] = ["Köln", "東京"] * 10, np.linspace(-1, 1, 20).tolist()
    encode = ColumnTransformer([("text", OneHotEncoder(handle_unknown="ignore"), [0]), ("number", StandardScaler(), [1])])
    model = make_pipeline(encode, LogisticRegression()).fit(table, ["ja", "nein"] * 10)
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(model))
    form = ArtifactForm.ESTIMATOR_FILE
    return Artifact(SourceFormat.SKLEARN_PICKLE, form, path, path, Manifest(()), "scikit-learn 1", describe(model))


def rows() -> dict[str, Any]:
    return {"x0": np.array([["Köln"], ["東京"], ["neu"]], dtype=object), "x1": np.array([[0.0], [0.5], [9.0]])}


def test_it_answers_as_the_estimator_does_with_its_own_labels(artifact: Artifact, tmp_path: Path) -> None:
    sandbox = HereSandbox()
    engine = sklearn_engine.open_reference(artifact, tmp_path / "scratch", sandbox)
    answer = engine.run(rows())
    assert answer["label"].tolist()[:2] == ["ja", "nein"]
    assert answer["probabilities"].shape == (3, 2)
    assert list(engine.run(rows(), ["label"])) == ["label"]
    assert sandbox.jobs[0].readable[0] == artifact.snapshot
    assert sandbox.jobs[0].scratch != sandbox.jobs[1].scratch


def test_rows_that_do_not_fit_never_reach_the_sandbox(artifact: Artifact, tmp_path: Path) -> None:
    sandbox = HereSandbox()
    engine = sklearn_engine.open_reference(artifact, tmp_path / "scratch", sandbox)
    with pytest.raises(RequestError, match="'x1' is missing"):
        engine.run({"x0": rows()["x0"]})
    with pytest.raises(RequestError, match="no output 'scores'"):
        engine.run(rows(), ["scores"])
    assert sandbox.jobs == []


def test_rows_that_scikit_learn_refuses_are_bad_data_with_its_reason(artifact: Artifact, tmp_path: Path) -> None:
    engine = sklearn_engine.open_reference(artifact, tmp_path / "scratch", HereSandbox())
    with pytest.raises(DataError, match=r"refuses these rows: Input .*contains NaN"):
        engine.run({**rows(), "x1": np.array([[0.0], [np.nan], [9.0]])})


@pytest.mark.parametrize("answer", [{}, {"label": np.zeros(3)}, {"label": np.array([["ja"]], dtype=object)}])
def test_an_answer_of_another_kind_than_the_interface_says_is_not_believed(artifact: Artifact, tmp_path: Path, answer: Any) -> None:
    engine = sklearn_engine.open_reference(artifact, tmp_path / "scratch", HereSandbox(answer))
    with pytest.raises(CorruptError, match="no usable 'label'"):
        engine.run(rows(), ["label"])


def test_a_closed_engine_refuses(artifact: Artifact, tmp_path: Path) -> None:
    engine = sklearn_engine.open_reference(artifact, tmp_path / "scratch", HereSandbox())
    engine.close()
    with pytest.raises(UnavailableError):
        engine.run(rows())
