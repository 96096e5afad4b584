"""The reference for XGBoost files: XGBoost's own answers, as its scikit-learn classes give them, from a process of its own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "security"))
from xgboost_files import FOLDER, answers

from fairlead.core.artifact import Artifact, ArtifactForm, SourceFormat
from fairlead.core.manifest import Manifest
from fairlead.engines import xgboost_engine
from fairlead.engines.tensor_file import read_tensors, write_tensors
from fairlead.engines.tree_ensemble_engine import TreeEnsembleEngine
from fairlead.errors import DataError, SandboxError, SourceError
from fairlead.ingest.xgboost_reader import describe
from fairlead.security.sandbox import OneShotSandbox
from fairlead.security.xgboost_model import parse_xgboost
from fairlead.security.xgboost_trees import ensemble_of
from fairlead.stores.document import to_plain

xgboost = pytest.importorskip("xgboost", reason="the extra 'xgboost' is not installed")

RANDOM = np.random.default_rng(0)
ROWS = RANDOM.normal(size=(200, 4)).astype(np.float32)
ROWS[RANDOM.random(ROWS.shape) < 0.1] = np.nan
PLAIN = np.nan_to_num(ROWS)
SEVERAL = np.digitize(PLAIN[:, 1], [-0.5, 0.5])
BINARY = (PLAIN[:, 0] > 0.2).astype(int)


def trained(target: np.ndarray, rounds: int = 8, **parameters: Any) -> Any:
    return xgboost.train({"nthread": 1, "max_depth": 3, **parameters}, xgboost.DMatrix(ROWS, target), rounds)


def stopped() -> Any:
    evaluated = [(xgboost.DMatrix(ROWS + np.float32(0.5), BINARY), "other")]
    options = {"objective": "binary:logistic", "nthread": 1}
    return xgboost.train(options, xgboost.DMatrix(ROWS, BINARY), 100, evals=evaluated, early_stopping_rounds=2, verbose_eval=False)


MODELS: dict[str, Callable[[], Any]] = {
    "binary": lambda: trained(BINARY, objective="binary:logistic"),
    "hinge": lambda: trained(BINARY, objective="binary:hinge"),
    "margins": lambda: trained(BINARY, objective="binary:logitraw"),
    "classes": lambda: trained(SEVERAL, objective="multi:softprob", num_class=3),
    "labels": lambda: trained(SEVERAL, objective="multi:softmax", num_class=3),
    "numbers": lambda: trained(PLAIN[:, :2], objective="reg:squarederror"),
    "dart": lambda: trained(BINARY, objective="binary:logistic", booster="dart", rate_drop=0.5),
    "gamma": lambda: trained(np.abs(PLAIN[:, 0]) + 0.1, objective="reg:gamma"),
    "stopped early": stopped,
}


def asked_here(path: Path, rows: np.ndarray, scratch: Path) -> dict[str, np.ndarray]:
    """What the child of the sandbox does, in this process."""
    scratch.mkdir(exist_ok=True)
    write_tensors(scratch / "inputs.npz", {"x": rows})
    interface = to_plain(describe(parse_xgboost(path.read_bytes())))
    xgboost_engine.run_once({"path": str(path), "interface": interface, "inputs": str(scratch / "inputs.npz"), "scratch": str(scratch)})
    return read_tensors(scratch / "outputs.npz")


@pytest.mark.parametrize("name", MODELS)
def test_xgboost_and_our_own_walk_agree(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.ubj"
    MODELS[name]().save_model(path)
    model = parse_xgboost(path.read_bytes())
    walked = TreeEnsembleEngine(ensemble_of(model, round_count=model.best_round or None), describe(model)).run({"x": ROWS})
    answered = asked_here(path, ROWS, tmp_path / "scratch")
    assert answered.keys() == walked.keys()
    for output, values in walked.items():
        if output == "label":
            assert answered[output].tolist() == values.tolist()
        else:
            np.testing.assert_allclose(answered[output], values, rtol=1e-6, atol=1e-6)


def test_answers_are_those_of_the_scikit_learn_class(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    estimator = xgboost.XGBClassifier(n_estimators=40, n_jobs=1, early_stopping_rounds=2)
    estimator.fit(ROWS, SEVERAL, eval_set=[(ROWS + np.float32(0.5), SEVERAL)], verbose=False)
    estimator.save_model(tmp_path / "model.json")
    answered = asked_here(tmp_path / "model.json", ROWS, tmp_path / "scratch")
    assert estimator.best_iteration < 39, "training was not stopped early, so the test proves nothing"
    np.testing.assert_array_equal(answered["probabilities"], estimator.predict_proba(ROWS))
    assert answered["label"].tolist() == estimator.predict(ROWS).tolist()


def artifact(path: Path) -> Artifact:
    interface = describe(parse_xgboost((FOLDER / "xgboost.json").read_bytes()))
    return Artifact(SourceFormat.XGBOOST_JSON, ArtifactForm.TREE_ENSEMBLE, path, path, Manifest(()), "XGBoost", interface)


def test_in_the_sandbox_it_answers_what_it_answered_when_the_file_was_made(tmp_path: Path) -> None:
    engine = xgboost_engine.open_reference(artifact(FOLDER / "xgboost.ubj"), tmp_path / "scratch", OneShotSandbox())
    got = engine.run({"x": answers()["x"]})
    np.testing.assert_array_equal(got["probabilities"][:, 1], answers()["probability"])
    assert xgboost.__version__ in engine.description


def test_a_crash_of_xgboost_ends_its_own_process_and_nothing_else(tmp_path: Path) -> None:
    """A file that got past every check of ours would still meet the sandbox."""
    path = tmp_path / "model.json"
    path.write_bytes((FOLDER / "xgboost.json").read_bytes().replace(b'"left_children":[1,', b'"left_children":[99999999,'))
    engine = xgboost_engine.open_reference(artifact(path), tmp_path / "scratch", OneShotSandbox())
    with pytest.raises(SandboxError):
        engine.run({"x": answers()["x"]})


def test_rows_that_xgboost_refuses_are_bad_data_and_a_file_that_it_refuses_is_a_bad_source(tmp_path: Path) -> None:
    rows = answers()["x"].copy()
    rows[0, 0] = np.inf
    with pytest.raises(DataError, match=r"refuses these rows: .*inf"):
        asked_here(FOLDER / "xgboost.json", rows, tmp_path / "one")
    path = tmp_path / "model.json"
    path.write_bytes((FOLDER / "xgboost.json").read_bytes().replace(b"binary:logistic", b"binary:hinge", 1))
    (tmp_path / "broken.json").write_bytes(path.read_bytes()[:-40])
    arguments = {"interface": to_plain(artifact(path).interface), "inputs": str(tmp_path / "one" / "inputs.npz"), "scratch": str(tmp_path)}
    with pytest.raises(SourceError, match="does not open"):
        xgboost_engine.run_once({"path": str(tmp_path / "broken.json"), **arguments})
