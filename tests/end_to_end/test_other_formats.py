"""From scikit-learn and ONNX files to answers, through the front door."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

import fairlead
from fairlead.app.catalogue import show
from fairlead.app.wiring import build_house
from fairlead.cli.main import run

FEATURES = ["width", "height", "depth", "weight"]
LABELS = np.array(["klein", "groß", "mittel"])


def flowers() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_iris

    table, classes = load_iris(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(table))
    return table[order], LABELS[classes[order]]


def write_csv(path: Path, rows: np.ndarray, answers: np.ndarray) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*FEATURES, "size"])
        writer.writerows([*row, answer] for row, answer in zip(rows, answers, strict=True))


@pytest.fixture
def forest_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    joblib = pytest.importorskip("joblib")
    ensemble, pipeline = pytest.importorskip("sklearn.ensemble"), pytest.importorskip("sklearn.pipeline")
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    rows, answers = flowers()
    forest = pipeline.make_pipeline(preprocessing.StandardScaler(), ensemble.RandomForestClassifier(10, random_state=0))
    joblib.dump(forest.fit(rows[:100], answers[:100]), tmp_path / "forest.joblib")
    write_csv(tmp_path / "rows.csv", rows[100:], answers[100:])
    np.savez(tmp_path / "numbers.npz", x=rows[100:].astype(np.float32), y=np.searchsorted(np.sort(LABELS), answers[100:]))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_pipeline_keeps_its_text_labels_up_to_the_answer(forest_here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["deploy", "forest.joblib", "--data", "rows.csv", "--target", "size", "--require", "accuracy>=0.8", "--require", "f1>=0.8"]
    assert run(command) == 0, capsys.readouterr().err
    rows, answers = flowers()
    with fairlead.load("forest") as model:
        assert set(model.predict(rows[100:])) <= set(LABELS)
        assert np.mean(model.predict_labels(rows[100:]) == answers[100:]) >= 0.8
    view = show("forest", build_house())
    assert view.lineage.is_unbroken()
    assert view.verdict.parity.decision_flip_count == 0
    assert view.verdict.parity.probe_count > 0
    assert {check.name for check in view.verdict.checks} >= {"accuracy", "f1", "parity", "decisions"}


def test_an_onnx_file_goes_the_same_way(forest_here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    skl2onnx, linear = pytest.importorskip("skl2onnx"), pytest.importorskip("sklearn.linear_model")
    rows, answers = flowers()
    classes = np.searchsorted(np.sort(LABELS), answers)
    model = linear.LogisticRegression(max_iter=500).fit(rows[:100], classes[:100])
    (forest_here / "line.onnx").write_bytes(skl2onnx.to_onnx(model, rows[:1].astype(np.float32)).SerializeToString())
    capsys.readouterr()
    assert run(["deploy", "line.onnx", "--data", "numbers.npz", "--require", "accuracy>=0.8", "--json"]) == 0
    verdict = json.loads(capsys.readouterr().out)["verdict"]
    assert all(check["is_met"] for check in verdict["checks"])
    assert run(["inspect", "line.onnx", "--json"]) == 0
    inspection = json.loads(capsys.readouterr().out)
    assert [spec["name"] for spec in inspection["interface"]["inputs"]] == ["X"]
