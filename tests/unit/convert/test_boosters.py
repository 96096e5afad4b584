"""Boosters that are no plain trees: XGBoost's linear booster becomes ONNX that adds as XGBoost does; others are kept."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fairlead.convert.build import build
from fairlead.convert.stage import convert
from fairlead.core.artifact import Artifact, ArtifactForm
from fairlead.core.conversion import BuildJob, RuntimeForm
from fairlead.core.lineage import Lineage
from fairlead.core.ports import SandboxJob
from fairlead.engines.onnxruntime_engine import OnnxRuntimeEngine
from fairlead.errors import UnsupportedError
from fairlead.ingest.stage import ingest

DATA = Path(__file__).parents[2] / "data" / "trees"
DRAW = np.random.default_rng(0)
ROWS = (DRAW.normal(size=(300, 5)) * 7).astype(np.float32)
ROWS[::7, 1] = np.nan


class HereSandbox:
    """Runs the jobs of our own parsers in this process."""

    def run(self, job: SandboxJob) -> dict[str, Any]:
        job.scratch.mkdir(parents=True, exist_ok=True)
        module, _, name = job.entry.partition(":")
        answer: dict[str, Any] = getattr(importlib.import_module(module), name)({**job.arguments, "scratch": str(job.scratch)})
        return answer


def taken(path: Path, folder: Path) -> Artifact:
    artifact = ingest(path, folder / "ingest", sandbox=HereSandbox())
    assert artifact.form is ArtifactForm.BOOSTER_FILE
    return artifact


@pytest.mark.parametrize(("file", "library"), [("categories.cbm", "CatBoost"), ("linear.txt", "LightGBM")])
def test_it_is_kept_byte_for_byte_and_the_lineage_says_why(file: str, library: str, tmp_path: Path) -> None:
    artifact = taken(DATA / file, tmp_path)
    kept = convert(artifact, tmp_path / "convert", sandbox=HereSandbox())
    assert (kept.form, kept.path.name, kept.interface) == (RuntimeForm.BOOSTER, "model.booster", artifact.interface)
    assert kept.path.read_bytes() == (DATA / file).read_bytes()
    (step,) = kept.steps
    assert any(note.startswith("No ONNX form: ") for note in step.notes)
    assert any(f"runs in {library}, in a sandboxed process of its own" in note for note in step.notes)
    assert Lineage(artifact.source.digest, file, kept.steps).is_unbroken()
    job = BuildJob(artifact, kept, kept.path, tmp_path / "build", HereSandbox())
    assert build(RuntimeForm.BOOSTER, job).files == {"model.booster": kept.path}
    with pytest.raises(UnsupportedError, match="without an ONNX form"):
        build(RuntimeForm.OPENVINO, job)


LINEAR = {
    "numbers": ({"objective": "reg:squarederror"}, ROWS[:, 0] * 2 + 1),
    "a base score of its own": ({"objective": "reg:squarederror", "base_score": 3.25}, ROWS[:, 0]),
    "two classes": ({"objective": "binary:logistic"}, (ROWS[:, 0] > 0).astype(int)),
    "margins": ({"objective": "binary:logitraw"}, (ROWS[:, 0] > 0).astype(int)),
    "three classes": ({"objective": "multi:softprob", "num_class": 3}, np.digitize(ROWS[:, 0], [-2, 2])),
    "labels of three classes": ({"objective": "multi:softmax", "num_class": 3}, np.digitize(ROWS[:, 0], [-2, 2])),
    "counts": ({"objective": "count:poisson"}, np.abs(np.round(ROWS[:, 0]))),
    "several numbers": ({"objective": "reg:squarederror"}, ROWS[:, [0, 2]]),
}


@pytest.mark.parametrize("name", LINEAR)
def test_a_linear_booster_adds_as_xgboost_does_to_the_bit(name: str, tmp_path: Path) -> None:
    xgboost = pytest.importorskip("xgboost", reason="the extra 'xgboost' is not installed")
    parameters, target = LINEAR[name]
    names = ["a", "b", "c", "d", "e"]
    table = xgboost.DMatrix(ROWS, target, feature_names=names)
    booster = xgboost.train({"booster": "gblinear", "nthread": 1, "verbosity": 0, **parameters}, table, 8)
    booster.save_model(tmp_path / "model.json")
    artifact = taken(tmp_path / "model.json", tmp_path)
    converted = convert(artifact, tmp_path / "convert", sandbox=HereSandbox())
    assert converted.form is RuntimeForm.ONNX
    assert artifact.interface.inputs[0].columns == tuple(names)
    engine = OnnxRuntimeEngine(converted.path, artifact.interface)
    answer = engine.run({"x": ROWS})
    engine.close()
    expected = booster.predict(xgboost.DMatrix(ROWS, feature_names=names)).astype(np.float32)
    if name == "two classes":
        assert np.array_equal(answer["label"], expected > 0.5)
        expected = np.stack([1 - expected, expected], axis=1)
    if name == "three classes":
        assert np.array_equal(answer["label"], expected.argmax(axis=1))
    given = next(array for key, array in answer.items() if key != "label" or len(answer) == 1)
    exact = name not in ("two classes", "three classes", "counts")
    np.testing.assert_allclose(given.reshape(expected.shape), expected, rtol=0 if exact else 3e-7, atol=0)


def test_survival_times_are_the_exponential_of_the_sum(tmp_path: Path) -> None:
    xgboost = pytest.importorskip("xgboost", reason="the extra 'xgboost' is not installed")
    times = np.exp(ROWS[:, 0] / 7)
    table = xgboost.DMatrix(ROWS)
    table.set_float_info("label_lower_bound", times)
    table.set_float_info("label_upper_bound", np.where(DRAW.random(len(ROWS)) < 0.3, np.inf, times))
    booster = xgboost.train({"objective": "survival:aft", "nthread": 1, "max_depth": 3}, table, 6)
    booster.save_model(tmp_path / "model.json")
    artifact = ingest(tmp_path / "model.json", tmp_path / "ingest", sandbox=HereSandbox())
    engine = OnnxRuntimeEngine(convert(artifact, tmp_path / "convert", sandbox=HereSandbox()).path, artifact.interface)
    answer = engine.run({"x": ROWS})["prediction"]
    engine.close()
    np.testing.assert_allclose(answer[:, 0], booster.predict(xgboost.DMatrix(ROWS)), rtol=3e-7)
