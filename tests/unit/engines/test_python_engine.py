"""The Python engine: it answers as scikit-learn does, whatever kind of file, and this process never loads what the file holds."""

from __future__ import annotations

import importlib
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.datasets import load_iris
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline

from fairlead.core.artifact import SourceFormat
from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, TensorSpec
from fairlead.engines import python_engine
from fairlead.engines.memory_probe import measure_memory
from fairlead.engines.opening import open_engine
from fairlead.errors import DataError, MissingExtraError, SourceError, UnavailableError, UnsafeContentError
from fairlead.security.sandbox import OneShotSandbox

ROWS, ANSWERS = load_iris(return_X_y=True)
NUMBERS = Interface(
    (TensorSpec("x", DType.FP64, (None, 4)),),
    (TensorSpec("label", DType.INT64, (None,)), TensorSpec("probabilities", DType.FP64, (None, 3))),
)
TEXTS = Interface((TensorSpec("text", DType.BYTES, (None, 1)),), (TensorSpec("label", DType.BYTES, (None,)),))


def neighbours() -> KNeighborsClassifier:
    return KNeighborsClassifier(metric="canberra", n_jobs=4).fit(ROWS, ANSWERS)


def save(estimator: Any, path: Path, kind: str) -> Path:
    if kind == "skops":
        pytest.importorskip("skops.io").dump(estimator, path)
    elif kind == "joblib":
        pytest.importorskip("joblib").dump(estimator, path, compress=3)
    else:
        path.write_bytes(pickle.dumps(estimator))
    return path


def here(path: Path, interface: Interface) -> Any:
    """What the process would call, in this process."""
    import msgspec

    arguments = {"path": str(path), "interface": msgspec.to_builtins(interface), "thread_count": 1}
    return python_engine.open_in_sandbox(arguments)


@pytest.mark.parametrize("kind", ["pickle", "joblib", "skops"])
def test_it_answers_as_scikit_learn_does_whatever_the_kind_of_file(kind: str, tmp_path: Path) -> None:
    estimator = neighbours()
    answers = here(save(estimator, tmp_path / "model.estimator", kind), NUMBERS)({"x": ROWS})
    assert np.array_equal(answers["label"], estimator.predict(ROWS))
    assert np.array_equal(answers["probabilities"], estimator.predict_proba(ROWS))


def test_the_kind_of_a_file_is_told_by_its_first_bytes(tmp_path: Path) -> None:
    kinds = [python_engine._format_of(save(neighbours(), tmp_path / kind, kind)) for kind in ("pickle", "joblib", "skops")]
    assert kinds == [SourceFormat.SKLEARN_JOBLIB, SourceFormat.SKLEARN_JOBLIB, SourceFormat.SKLEARN_SKOPS]


def test_texts_go_in_and_labels_that_are_texts_come_out(tmp_path: Path) -> None:
    texts = ["gut", "schlecht", "sehr gut", "sehr schlecht"] * 3
    estimator = make_pipeline(CountVectorizer(analyzer="char"), LogisticRegression()).fit(texts, ["ja", "nein"] * 6)
    answer = here(save(estimator, tmp_path / "m", "pickle"), TEXTS)
    assert answer({"text": np.array([["gut"], ["schlecht"]], dtype=object)})["label"].tolist() == ["ja", "nein"]


def test_rows_that_scikit_learn_refuses_are_an_error_of_the_data(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="NaN"):
        here(save(neighbours(), tmp_path / "m", "pickle"), NUMBERS)({"x": np.full((1, 4), np.nan)})


def test_the_catalog_names_the_extra_where_scikit_learn_is_absent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.delitem(sys.modules, "fairlead.engines.python_engine")
    with pytest.raises(MissingExtraError, match=r"fairlead\[sklearn\]"):
        open_engine("python", tmp_path / "m", NUMBERS, sandbox=OneShotSandbox())
    monkeypatch.undo()
    importlib.import_module("fairlead.engines.python_engine")


def test_loading_the_engine_loads_no_scikit_learn() -> None:
    code = "import sys, fairlead.engines.python_engine, fairlead.engines.memory_probe; print({n.partition('.')[0] for n in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "msgspec" in loaded
    assert "sklearn" not in loaded


@pytest.mark.slow
def test_in_the_real_sandbox_it_answers_refuses_and_is_measured(tmp_path: Path) -> None:
    sandbox = OneShotSandbox()
    path = save(neighbours(), tmp_path / "model.estimator", "joblib")
    engine = open_engine("python", path, NUMBERS, sandbox=sandbox)
    assert engine.description.startswith("scikit-learn ")
    assert np.array_equal(engine.run({"x": ROWS})["label"], neighbours().predict(ROWS))
    reading = measure_memory(path, NUMBERS, {"x": ROWS}, engine="python", running=engine)
    assert reading.peak_bytes > 50 * 2**20
    assert 0 <= reading.model_bytes < reading.bare_bytes
    engine.close()
    with pytest.raises(UnavailableError):
        engine.run({"x": ROWS})

    (tmp_path / "cut").write_bytes(path.read_bytes()[:50])
    with pytest.raises(SourceError):
        open_engine("python", tmp_path / "cut", NUMBERS, sandbox=sandbox)
    (tmp_path / "unsafe").write_bytes(pickle.dumps(subprocess.Popen))
    with pytest.raises(UnsafeContentError, match="not on the allow-list"):
        open_engine("python", tmp_path / "unsafe", NUMBERS, sandbox=sandbox)
