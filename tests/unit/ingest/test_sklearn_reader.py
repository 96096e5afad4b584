"""What a fitted estimator is, takes and gives, and which are refused with the reason."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

import sklearn
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, IsolationForest, RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, PowerTransformer, StandardScaler

from fairlead.core.dtype import DType
from fairlead.core.interface import DecisionKind, Task
from fairlead.errors import SourceError, UnsupportedError
from fairlead.ingest.answers import parse_answer
from fairlead.ingest.sklearn_reader import describe, facts_of, read_in_sandbox
from fairlead.ingest.sklearn_trial import accepts_missing

X, Y = load_iris(return_X_y=True)
PLANTED = "sk_live_planted"


def mixed() -> tuple[Any, Any]:
    x = np.empty((40, 3), dtype=object)
    x[:, 0], x[:, 1] = ["Köln", "Rom"] * 20, np.linspace(0, 1, 40).tolist()
    x[:, 2] = ["a", "b", "c", "a"] * 10
    return x, np.arange(40) % 2


def described(interface: Any) -> list[str]:
    return [spec.describe() for spec in (*interface.inputs, *interface.outputs)]


def test_a_classifier_gives_its_own_labels_and_probabilities() -> None:
    interface = describe(LogisticRegression(max_iter=500).fit(X, np.array(["a", "é", "c"])[Y]))
    assert described(interface) == ["x FP64 [batch, 4]", "label BYTES [batch]", "probabilities FP64 [batch, 3]"]
    assert interface.labels == ("a", "c", "é")
    assert interface.task is Task.CLASSIFICATION
    assert interface.decision is not None
    assert (interface.decision.kind, interface.decision.scores) == (DecisionKind.LABEL, "probabilities")


def test_without_probabilities_there_are_scores_and_two_classes_have_one() -> None:
    interface = describe(RidgeClassifier().fit(X[:100], Y[:100]))
    assert described(interface)[1:] == ["label INT64 [batch]", "scores FP64 [batch, 1]"]
    assert interface.decision is not None
    assert interface.decision.scores == ""


def test_a_regressor_gives_a_prediction() -> None:
    interface = describe(LinearRegression().fit(*load_diabetes(return_X_y=True)))
    assert described(interface) == ["x FP64 [batch, 10]", "prediction FP64 [batch, 1]"]
    assert interface.task is Task.REGRESSION


def test_a_table_of_numbers_and_text_has_one_input_per_column() -> None:
    x, y = mixed()
    encode = ColumnTransformer(
        [("text", make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder()), [0, 2]), ("n", StandardScaler(), [1])]
    )
    interface = describe(make_pipeline(encode, LogisticRegression()).fit(x, y))
    assert described(interface)[:3] == ["x0 BYTES [batch, 1]", "x1 FP64 [batch, 1]", "x2 BYTES [batch, 1]"]


def test_columns_keep_the_names_that_they_were_trained_with() -> None:
    pa = pytest.importorskip("pyarrow")
    x, y = mixed()
    table = pa.table({name: x[:, position].tolist() for position, name in enumerate(("city", "size", "kind"))})
    encode = ColumnTransformer([("text", OneHotEncoder(), ["city"]), ("n", StandardScaler(), ["size"])])
    interface = describe(make_pipeline(encode, LogisticRegression()).fit(table, y))
    assert [(spec.name, spec.dtype) for spec in interface.inputs] == [("city", DType.BYTES), ("size", DType.FP64), ("kind", DType.FP64)]


def test_a_text_model_takes_one_text_per_row() -> None:
    model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(["good film", "bad film", "good"], [1, 0, 1])
    assert describe(model).inputs[0].describe() == "text BYTES [batch, 1]"


def test_an_outlier_detector_says_inlier_or_outlier() -> None:
    interface = describe(IsolationForest(n_estimators=3).fit(X))
    assert interface.labels == (-1, 1)


def test_a_search_is_described_by_its_best_estimator() -> None:
    model = GridSearchCV(make_pipeline(StandardScaler(), LogisticRegression()), {"logisticregression__C": [1.0, 2.0]}, cv=2).fit(X, Y)
    assert describe(model).inputs[0].describe() == "x FP64 [batch, 4]"


def test_a_model_that_refuses_zeros_is_described_all_the_same() -> None:
    model = make_pipeline(PowerTransformer("box-cox"), LogisticRegression()).fit(X, Y)
    with pytest.raises(ValueError, match="strictly positive"):
        model.predict(np.zeros((1, 4)))
    assert describe(model).outputs[1].shape == (None, 3)


def test_facts_count_trees_and_leaves() -> None:
    model = RandomForestClassifier(4, max_depth=1, random_state=0).fit(X, Y)
    facts = facts_of(model, describe(model))
    assert (facts["tree_count"], facts["leaf_count"], facts["class_count"], facts["feature_count"]) == (4, 8, 3, 4)
    assert facts["parameter_count"] == 4 * 3  # a split and two leaves each; labels are none


@pytest.mark.parametrize(
    ("estimator", "error", "words"),
    [
        (LogisticRegression(), SourceError, "LogisticRegression in the file is not fitted"),
        (make_pipeline(StandardScaler(), LogisticRegression()), SourceError, "not fitted"),
        (StandardScaler().fit(X), UnsupportedError, "StandardScaler does not predict"),
        (KMeans(2, n_init=1).fit(X), UnsupportedError, "KMeans is neither"),
        (LinearRegression().fit(X, np.column_stack([Y, Y])), UnsupportedError, "several outputs"),
        (RandomForestClassifier(2).fit(X, np.column_stack([Y, Y])), UnsupportedError, "several outputs"),
        ({"not": "an estimator"}, SourceError, "holds a dict"),
    ],
)
def test_what_cannot_be_deployed_is_refused_by_name(estimator: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        describe(estimator)


def test_the_answer_is_sound_and_warns_of_training_texts_in_the_file(tmp_path: Path) -> None:
    model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(["good film", "bad film", "good"], [1, 0, 1])
    model[0].stop_words_ = {PLANTED, "other"}
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(model))
    answer = parse_answer(read_in_sandbox({"path": str(path), "format": "sklearn-pickle", "scratch": str(tmp_path)}))
    assert answer.framework.startswith("scikit-learn ")
    assert answer.interface == describe(model)
    assert any("2 words of its training texts" in note for note in answer.notes)
    assert any("3 terms" in note for note in answer.notes)
    assert PLANTED not in str(answer)


def test_a_file_of_another_release_is_noted_with_both_versions(tmp_path: Path) -> None:
    current = sklearn.__version__
    saved = current[:-1] + ("0" if current[-1] != "0" else "1")
    data = pickle.dumps(LogisticRegression(max_iter=500).fit(X, Y))
    assert data.count(current.encode()) == 1
    notes = []
    for name, content in {"same": data, "other": data.replace(current.encode(), saved.encode())}.items():
        (tmp_path / name).write_bytes(content)
        answer = parse_answer(read_in_sandbox({"path": str(tmp_path / name), "format": "sklearn-pickle", "scratch": str(tmp_path)}))
        notes.append([note for note in answer.notes if "saved with" in note])
    assert notes[0] == []
    assert len(notes[1]) == 1
    assert f"saved with scikit-learn {saved}, opened with {current}" in notes[1][0]


def columns_filled_in_part() -> Any:
    return ColumnTransformer([("fill", SimpleImputer(), [1]), ("keep", "passthrough", [0, 2, 3])])


@pytest.mark.parametrize(
    ("estimator", "is_accepted"),
    [
        (HistGradientBoostingClassifier(max_iter=2), True),
        (RandomForestClassifier(2), True),
        (make_pipeline(SimpleImputer(), LogisticRegression(max_iter=500)), True),
        (make_pipeline(StandardScaler(), SimpleImputer(), LogisticRegression()), True),
        (make_pipeline(columns_filled_in_part(), LogisticRegression(max_iter=500)), True),
        (LogisticRegression(max_iter=500), False),
        (make_pipeline(StandardScaler(), LogisticRegression()), False),
        (GradientBoostingClassifier(n_estimators=2), False),
        (make_pipeline(SimpleImputer(missing_values=-1), LogisticRegression(max_iter=500)), False),
    ],
    ids=lambda value: "" if isinstance(value, bool) else "-".join(step[0] for step in getattr(value, "steps", [(type(value).__name__,)])),
)
def test_whether_missing_numbers_are_taken_is_what_the_estimator_does(estimator: Any, is_accepted: bool) -> None:
    estimator.fit(X, Y)
    assert accepts_missing(estimator, describe(estimator)) is is_accepted
    gapped = X[:2].copy()
    gapped[0, 1] = np.nan
    if is_accepted:
        assert len(estimator.predict(gapped)) == 2
    else:
        with pytest.raises(ValueError, match="NaN"):
            estimator.predict(gapped)


def test_a_model_of_texts_takes_no_missing_numbers() -> None:
    model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(["good film", "bad film", "good"], [1, 0, 1])
    assert accepts_missing(model, describe(model)) is False
