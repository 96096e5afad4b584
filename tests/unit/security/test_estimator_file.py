from __future__ import annotations

import gzip
import pickle
import signal
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from fairlead.core.ports import SandboxJob
from fairlead.errors import SandboxError, SourceError, UnsafeContentError, UnsupportedError
from fairlead.security.estimator_file import load_estimator
from fairlead.security.pickle_check import check_pickle
from fairlead.security.sandbox import OneShotSandbox
from fairlead.security.skops_check import check_skops

sklearn = pytest.importorskip("sklearn", reason="the extra 'sklearn' is not installed")
import joblib  # noqa: E402 - comes with scikit-learn
import skops.io  # noqa: E402
from sklearn.compose import ColumnTransformer  # noqa: E402
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier  # noqa: E402
from sklearn.ensemble import HistGradientBoostingClassifier as HistogramClassifier  # noqa: E402
from sklearn.ensemble import HistGradientBoostingRegressor as HistogramRegressor  # noqa: E402
from sklearn.feature_extraction.text import TfidfVectorizer  # noqa: E402
from sklearn.linear_model import LogisticRegression, SGDClassifier  # noqa: E402
from sklearn.neighbors import KNeighborsClassifier  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler  # noqa: E402
from sklearn.svm import SVC  # noqa: E402
from sklearn.tree import DecisionTreeClassifier  # noqa: E402

ROWS = np.abs(np.random.default_rng(0).normal(size=(60, 4)))
LABELS = np.array(["no", "yes"])[(ROWS[:, 0] > 0.6).astype(int)]
TEXTS = [f"word{number % 7} and word{number % 3}" for number in range(60)]
TABLE = np.array([[str(number % 3), number % 5] for number in range(60)], dtype=object)

MODELS = {
    "logistic": (make_pipeline(StandardScaler(), LogisticRegression()), ROWS),
    "forest": (RandomForestClassifier(5, random_state=0), ROWS),
    "boosting": (GradientBoostingClassifier(n_estimators=3), ROWS),
    "histogram": (HistogramRegressor(max_iter=3), ROWS),
    "histogram of several classes": (HistogramClassifier(max_iter=3), ROWS),
    "support-vectors": (SVC(), ROWS),
    "neighbours": (KNeighborsClassifier(algorithm="kd_tree"), ROWS),
    "sgd": (SGDClassifier(loss="log_loss", random_state=0), ROWS),
    "function": (make_pipeline(FunctionTransformer(np.log1p), LogisticRegression()), ROWS),
    "text": (make_pipeline(TfidfVectorizer(), LogisticRegression()), TEXTS),
    "columns": (make_pipeline(ColumnTransformer([("a", OneHotEncoder(), [0]), ("b", StandardScaler(), [1])]), LogisticRegression()), TABLE),
}
WRITERS = {
    "pickle2": ("sklearn-pickle", lambda model, path: path.write_bytes(pickle.dumps(model, protocol=2))),
    "pickle5": ("sklearn-pickle", lambda model, path: path.write_bytes(pickle.dumps(model, protocol=5))),
    "joblib": ("sklearn-joblib", joblib.dump),
    "joblib-zlib": ("sklearn-joblib", lambda model, path: joblib.dump(model, path, compress=3)),
    "joblib-xz": ("sklearn-joblib", lambda model, path: joblib.dump(model, path, compress=("xz", 1))),
    "skops": ("sklearn-skops", skops.io.dump),
}


@pytest.fixture(scope="module")
def fitted():
    targets = {"histogram": ROWS[:, 0], "histogram of several classes": np.array(["a", "b", "ç"] * 20)}
    return {name: (model.fit(rows, targets.get(name, LABELS)), rows) for name, (model, rows) in MODELS.items()}


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("name", MODELS)
def test_an_honest_estimator_is_restored_to_the_same_answers(name, writer, fitted, tmp_path):
    model, rows = fitted[name]
    file_format, write = WRITERS[writer]
    path = tmp_path / "model"
    write(model, path)
    restored = load_estimator(path, file_format)
    assert type(restored) is type(model)
    assert np.array_equal(restored.predict(rows), model.predict(rows))


def test_arrays_of_all_layouts_come_back_from_joblib(tmp_path):
    arrays = {
        "fortran": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        "big-endian": np.arange(5, dtype=">f8"),
        "text": np.array(["a", "bc"]),
        "objects": np.array(["x", None, 3], dtype=object),
        "empty": np.empty((0, 3)),
        "scalar": np.array(3.0),
        "flags": np.array([True, False]),
    }
    joblib.dump(arrays, tmp_path / "model")
    restored = load_estimator(tmp_path / "model", "sklearn-joblib")
    for name, array in arrays.items():
        assert np.array_equal(restored[name], array), name
        assert restored[name].dtype == array.dtype.newbyteorder("=")
        assert restored[name].flags.writeable


def test_an_estimator_class_of_the_user_is_refused_by_name(tmp_path):
    (tmp_path / "model").write_bytes(b"cmypackage.models\nOwnModel\n)\x81.")
    with pytest.raises(UnsafeContentError, match=r"mypackage\.models\.OwnModel is not on the allow-list.*skops"):
        load_estimator(tmp_path / "model", "sklearn-pickle")


@pytest.mark.parametrize("stop", [1, 10, 100, 0.5, -1])
def test_a_truncated_pickle_is_refused_as_damaged(stop, fitted, tmp_path):
    data = pickle.dumps(fitted["logistic"][0])
    (tmp_path / "model").write_bytes(data[: int(len(data) * stop) if isinstance(stop, float) else stop])
    with pytest.raises(SourceError, match="breaks off"):
        load_estimator(tmp_path / "model", "sklearn-pickle")


def test_truncated_compression_and_bytes_after_it_are_refused(fitted, tmp_path):
    data = gzip.compress(pickle.dumps(fitted["logistic"][0]))
    (tmp_path / "short").write_bytes(data[:-20])
    (tmp_path / "long").write_bytes(data + b"tail")
    with pytest.raises(SourceError, match="damaged"):
        load_estimator(tmp_path / "short", "sklearn-joblib")
    with pytest.raises(UnsafeContentError, match="follows"):
        load_estimator(tmp_path / "long", "sklearn-joblib")


def test_lz4_is_refused_by_name(tmp_path):
    (tmp_path / "model").write_bytes(b"\x04\x22\x4d\x18" + zlib.compress(b"x"))
    with pytest.raises(UnsupportedError, match="LZ4"):
        load_estimator(tmp_path / "model", "sklearn-joblib")


@pytest.mark.parametrize("file_format", ["sklearn-pickle", "sklearn-skops"])
def test_a_file_is_refused_before_scikit_learn_is_imported(file_format, tmp_path, fitted):
    honest = tmp_path / "honest"
    WRITERS["skops" if file_format == "sklearn-skops" else "pickle5"][1](fitted["logistic"][0], honest)
    foreign = tmp_path / "foreign"
    if file_format == "sklearn-pickle":
        foreign.write_bytes(b"cmypackage.models\nOwnModel\n)\x81.")
    else:
        with zipfile.ZipFile(honest) as source, zipfile.ZipFile(foreign, "w") as target:
            for name in source.namelist():
                target.writestr(name, source.read(name).replace(b"LogisticRegression", b"ForeignRegression"))
    program = (
        "import sys; from pathlib import Path; from fairlead.errors import UnsafeContentError\n"
        "from fairlead.ingest.sklearn_reader import open_estimator\n"
        "try:\n    open_estimator(Path(sys.argv[1]), sys.argv[2])\n    print('opened', end=' ')\n"
        "except UnsafeContentError:\n    print('refused', end=' ')\n"
        "print('sklearn' in sys.modules)"
    )

    def said(path):
        command = [sys.executable, "-c", program, str(path), file_format]
        return subprocess.run(command, capture_output=True, check=True, timeout=60, text=True).stdout.split()

    assert said(foreign) == ["refused", "False"]
    assert said(honest) == ["opened", "True"]


def test_an_unknown_format_is_never_guessed(fitted, tmp_path):
    (tmp_path / "model").write_bytes(pickle.dumps(fitted["logistic"][0]))
    with pytest.raises(UnsupportedError, match="not an estimator file format"):
        load_estimator(tmp_path / "model", "guess")
    with pytest.raises(SourceError):
        load_estimator(tmp_path / "model", "sklearn-skops")


def test_a_class_that_the_installed_release_lacks_is_said(tmp_path, monkeypatch):
    from fairlead.security import pickle_check

    monkeypatch.setattr(pickle_check, "allowed_globals", lambda: frozenset({"sklearn.base:GoneEstimator"}))
    (tmp_path / "model").write_bytes(b"csklearn.base\nGoneEstimator\n)\x81.")
    with pytest.raises(UnsupportedError, match=r"have no sklearn\.base\.GoneEstimator"):
        load_estimator(tmp_path / "model", "sklearn-pickle")


def test_words_of_the_training_texts_are_mentioned(tmp_path, fitted):
    vectorizer = TfidfVectorizer().fit(TEXTS)
    vectorizer.stop_words_ = {"sk_live_TEST"}
    (tmp_path / "model").write_bytes(pickle.dumps(vectorizer))
    findings = check_pickle(tmp_path / "model")
    assert [finding.is_unsafe for finding in findings] == [False]
    assert "training texts" in findings[0].what
    assert "sk_live_TEST" not in repr(findings)


def test_honest_files_have_no_findings(fitted, tmp_path):
    for number, (model, _) in enumerate(fitted.values()):
        skops.io.dump(model, tmp_path / f"{number}.skops")
        joblib.dump(model, tmp_path / f"{number}.joblib")
        assert check_skops(tmp_path / f"{number}.skops") == ()
        assert check_pickle(tmp_path / f"{number}.joblib") == ()


def crashing(kind):
    """An estimator whose state was changed so that its native code reads far outside of its arrays (F20)."""
    if kind == "tree":
        model = DecisionTreeClassifier().fit(ROWS, LABELS)
        state = model.tree_.__getstate__()
        state["nodes"]["left_child"][0] = state["nodes"]["right_child"][0] = 2**40
        model.tree_.__setstate__(state)
        return model
    model = SVC().fit(ROWS, LABELS)
    model._n_support = np.array([2**28, 2**28], dtype=np.int32)
    return model


@pytest.mark.parametrize("kind", ["tree", "support-vectors"])
def test_an_estimator_that_crashes_ends_its_worker_and_nothing_else(kind, tmp_path):
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(crashing(kind)))
    program = f"import pickle, numpy; pickle.load(open({str(path)!r}, 'rb')).predict(numpy.ones((3, 4)))"
    raw = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False, timeout=60).returncode
    if raw not in (-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS):
        pytest.skip(f"the installed scikit-learn catches it (exit code {raw})")
    (tmp_path / "predict_entry.py").write_text(
        "from pathlib import Path\nimport numpy\nfrom fairlead.security.estimator_file import load_estimator\n"
        "def predict(arguments):\n"
        "    load_estimator(Path(arguments['path']), 'sklearn-pickle').predict(numpy.ones((3, 4)))\n    return {}\n"
    )
    sandbox = OneShotSandbox(import_paths=(tmp_path,))
    with pytest.raises(SandboxError, match=r"crashed|out of memory"):
        sandbox.run(SandboxJob("predict_entry:predict", tmp_path / "scratch", {"path": str(path)}, (Path(path),)))
