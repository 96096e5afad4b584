"""Estimators through the whole deployment: rows with missing numbers, secrets of the training texts, labels that somebody swapped.

The estimator's jobs run in this process, for speed; the sandbox has tests of its own.
"""

from __future__ import annotations

import importlib
import pickle
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from fairlead.app.deploy import Deployed, DeployRequest, deploy
from fairlead.app.wiring import build_house
from fairlead.convert.stage import convert
from fairlead.core.dataset import Dataset
from fairlead.core.ports import SandboxJob
from fairlead.core.requirement import parse_requirement
from fairlead.engines.machine import describe_machine
from fairlead.engines.onnxruntime_engine import OnnxRuntimeEngine
from fairlead.engines.sklearn_engine import open_reference
from fairlead.engines.stopwatch import TimingLimits
from fairlead.errors import DataError
from fairlead.ingest.stage import ingest
from fairlead.verify.stage import VerifyJob, verify

PLANTED = "sk_live_TEST"


class HereSandbox:
    """Runs the jobs of this test's own files in this process."""

    def run(self, job: SandboxJob) -> dict[str, Any]:
        job.scratch.mkdir(parents=True, exist_ok=True)
        module, _, name = job.entry.partition(":")
        answer: dict[str, Any] = getattr(importlib.import_module(module), name)({**job.arguments, "scratch": str(job.scratch)})
        return answer

    def layers(self) -> Mapping[str, str]:
        return {}


class Silent:
    """Progress that nobody watches."""

    def step(self, text: str) -> None:
        return

    def tell(self, text: str) -> None:
        return

    def done(self, text: str) -> None:
        return


def saved(estimator: Any, path: Path) -> Path:
    path.write_bytes(pickle.dumps(estimator))
    return path


def deployed(model: Path, rows: np.ndarray, answers: np.ndarray, folder: Path) -> Deployed:
    """Deploy with a table whose columns are c0, c1, ... and a target."""
    lines = [",".join([*(f"c{number}" for number in range(rows.shape[1])), "answer"])]
    lines += [
        ",".join([*("" if np.isnan(value) else repr(float(value)) for value in row), str(answer)])
        for row, answer in zip(rows, answers, strict=True)
    ]
    (folder / "rows.csv").write_text("\n".join(lines))
    house = replace(build_house(), sandbox=HereSandbox())
    requirements = (parse_requirement("accuracy_drop<=0"),)
    return deploy(DeployRequest(model, "model", folder / "rows.csv", "answer", requirements), house, Silent())


def with_gaps() -> tuple[np.ndarray, np.ndarray]:
    rows, answers = load_breast_cancer(return_X_y=True)
    rows = rows[:, :8].copy()
    rows[np.random.default_rng(0).random(rows.shape) < 0.1] = np.nan
    return rows, answers


@pytest.mark.parametrize(
    "estimator",
    [HistGradientBoostingClassifier(max_iter=10), make_pipeline(SimpleImputer(), LogisticRegression(max_iter=5000))],
    ids=["histogram boosting", "imputer"],
)
def test_rows_with_missing_numbers_are_proven_where_the_estimator_takes_them(estimator: Any, tmp_path: Path) -> None:
    rows, answers = with_gaps()
    verdict = deployed(saved(estimator.fit(rows, answers), tmp_path / "model.pkl"), rows[:200], answers[:200], tmp_path).verdict
    assert np.isnan(rows[:200]).any()
    assert verdict.is_green
    assert verdict.parity.decision_flip_count == 0
    assert verdict.parity.row_count >= 200


def test_rows_with_missing_numbers_are_refused_by_column_where_the_estimator_does_not_take_them(tmp_path: Path) -> None:
    rows, answers = with_gaps()
    rows = np.nan_to_num(rows)
    model = saved(LogisticRegression(max_iter=5000).fit(rows, answers), tmp_path / "model.pkl")
    rows[7, 3] = np.nan
    with pytest.raises(DataError, match=r"'c3' holds a missing value"):
        deployed(model, rows[:50], answers[:50], tmp_path)


def test_a_secret_among_the_training_texts_does_not_reach_the_converted_model(tmp_path: Path) -> None:
    texts = ["good film", "bad film", "good story", "bad story"] * 5
    estimator = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, [1, 0, 1, 0] * 5)
    estimator[0].stop_words_ = {PLANTED}
    model = saved(estimator, tmp_path / "model.pkl")
    assert PLANTED.encode() in model.read_bytes()
    artifact = ingest(model, tmp_path / "ingest", sandbox=HereSandbox())
    conversion = convert(artifact, tmp_path / "convert", sandbox=HereSandbox())
    content = conversion.path.read_bytes()
    assert b"story" in content
    assert PLANTED.encode() not in content
    assert PLANTED not in repr((artifact.notes, artifact.facts, conversion.steps, dict(conversion.probes or {})))
    assert any("stop_words_" in note for note in artifact.notes)


@pytest.mark.parametrize("classes", [np.array([1, 2, 3]), np.array(["a", "b", "c"])], ids=["numbers", "texts"])
def test_a_candidate_whose_labels_were_swapped_is_red(classes: np.ndarray, tmp_path: Path) -> None:
    rows, answers = load_iris(return_X_y=True)
    estimator = LogisticRegression(max_iter=500).fit(rows, classes[answers])
    honest = ingest(saved(estimator, tmp_path / "honest.pkl"), tmp_path / "one", sandbox=HereSandbox())
    estimator.classes_ = estimator.classes_[[1, 0, 2]]
    swapped = ingest(saved(estimator, tmp_path / "swapped.pkl"), tmp_path / "two", sandbox=HereSandbox())
    limits = TimingLimits(call_count=2, time_s=0.1)
    verdicts = []
    for number, artifact in enumerate((honest, swapped)):
        conversion = convert(artifact, tmp_path / f"convert-{number}", sandbox=HereSandbox())
        candidate = OnnxRuntimeEngine(conversion.path, honest.interface)
        reference = open_reference(honest, tmp_path / f"reference-{number}", HereSandbox())
        job = VerifyJob(
            reference, candidate, "candidate", conversion.path, "0" * 64, 1, Dataset({"x": rows}), describe_machine(), limits=limits
        )
        verdicts.append(verify(job))
    one_of_the_two = int(np.isin(estimator.predict_proba(rows).argmax(axis=1), [0, 1]).sum())
    assert [verdict.parity.decision_flip_count for verdict in verdicts] == [0, one_of_the_two]
    assert [verdict.is_green for verdict in verdicts] == [True, False]
    assert "decisions" in [check.name for check in verdicts[1].failures]
