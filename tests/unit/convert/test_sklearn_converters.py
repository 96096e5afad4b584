"""Each family of converters against scikit-learn itself: the same label on every row, the same bits in front of a threshold."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

import onnxruntime
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_iris, load_wine
from sklearn.ensemble import HistGradientBoostingClassifier, IsolationForest, RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from fairlead.convert.sklearn.assembly import assemble
from fairlead.convert.sklearn.catalog import PREDICTORS, TRANSFORMERS
from fairlead.convert.sklearn.graph import Block, Builder
from fairlead.convert.sklearn.trees import round_down
from fairlead.core.interface import Array
from fairlead.engines.estimator_rows import answers_of, rows_of
from fairlead.errors import UnsupportedError
from fairlead.ingest.sklearn_reader import describe

FAST = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
FINITE = st.floats(allow_nan=False, allow_infinity=False, width=64, min_value=-1e30, max_value=1e30)


def both(estimator: Any, rows: Array) -> tuple[dict[str, Array], dict[str, Array]]:
    """What scikit-learn and the converted model answer."""
    interface = describe(estimator)
    model, _ = assemble(estimator, interface)
    feeds = {interface.inputs[0].name: rows}
    if len(interface.inputs) > 1:
        feeds = {spec.name: rows[:, [position]].astype(spec.dtype.numpy) for position, spec in enumerate(interface.inputs)}
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [spec.name for spec in interface.outputs]
    return answers_of(estimator, interface, rows_of(interface, feeds)), dict(zip(names, session.run(names, feeds), strict=True))


def same(estimator: Any, rows: Array, tolerance: float = 0.0) -> None:
    """Raise unless labels are equal and numbers within `tolerance`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted, got = both(estimator, rows)
    for name, want in wanted.items():
        if name == "label":
            assert (got[name] == want).all()
        else:
            np.testing.assert_allclose(got[name], want, rtol=tolerance, atol=tolerance)


def transformed(transformer: Any, rows: Array) -> Array:
    """What the converted transformer makes of numbers."""
    from onnx import TensorProto, helper

    builder = Builder(TRANSFORMERS, PREDICTORS)
    result = builder.joined(builder.transform(transformer, (Block("x", rows.shape[1]),)))
    info = [
        helper.make_tensor_value_info(name, TensorProto.DOUBLE, [None, width])
        for name, width in (("x", rows.shape[1]), ("y", result.width))
    ]
    model = builder.model(info[:1], [(result.name, info[1])])
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(["y"], {"x": rows})[0]


def neighbourhood(thresholds: Array) -> Array:
    """Each threshold with the doubles and singles beside it."""
    singles = thresholds.astype(np.float32)
    beside = [np.nextafter(singles, np.float32(direction)) for direction in (-np.inf, np.inf)]
    doubles = [np.nextafter(thresholds, direction) for direction in (-np.inf, np.inf)]
    return np.unique(np.concatenate([thresholds, singles, *beside, *doubles]).astype(np.float64))


@given(st.lists(FINITE, min_size=1, max_size=20))
@FAST
def test_a_single_is_at_most_a_threshold_exactly_if_it_is_at_most_the_threshold_rounded_down(numbers: list[float]) -> None:
    thresholds = np.array(numbers)
    rounded = round_down(thresholds)
    assert (rounded.astype(np.float64) <= thresholds).all()
    for single in (rounded, np.nextafter(rounded, np.float32(np.inf)), thresholds.astype(np.float32)):
        assert ((single.astype(np.float64) <= thresholds) == (single <= rounded)).all()


def test_a_tree_decides_alike_on_its_thresholds_and_beside_them_and_nearest_rounding_would_not() -> None:
    generator = np.random.default_rng(1)
    x = generator.normal(size=(400, 1)).astype(np.float32)
    tree = DecisionTreeClassifier(random_state=0).fit(x, generator.integers(0, 2, 400))
    thresholds = tree.tree_.threshold[tree.tree_.children_left >= 0]
    rows = neighbourhood(thresholds)[:, np.newaxis]
    same(tree, rows)
    singles = rows[:, 0].astype(np.float32)
    nearest = thresholds.astype(np.float32)
    flips = (singles[:, np.newaxis] <= nearest) != (singles[:, np.newaxis] <= thresholds)
    assert flips.any()  # the control: the usual conversion is wrong on these rows


@pytest.mark.parametrize("scaler", [StandardScaler(), MinMaxScaler(), RobustScaler()])
def test_scalers_in_front_of_trees_have_the_same_bits_and_nothing_flips(scaler: Any) -> None:
    x, y = load_breast_cancer(return_X_y=True)
    pipeline = make_pipeline(scaler, RandomForestClassifier(8, random_state=0)).fit(x, y)
    np.testing.assert_array_equal(transformed(scaler, x), scaler.transform(x))
    same(pipeline, x)


@pytest.mark.parametrize(
    "transformer",
    [
        PolynomialFeatures(3),
        PolynomialFeatures((2, 3), interaction_only=True),
        QuantileTransformer(n_quantiles=30),
        SimpleImputer(add_indicator=True),
    ],
)
def test_transformers_without_logarithms_have_the_same_bits(transformer: Any) -> None:
    x = load_iris(return_X_y=True)[0].copy()
    if isinstance(transformer, SimpleImputer):
        x[::3, 1] = np.nan
    np.testing.assert_array_equal(transformed(transformer.fit(x), x), transformer.transform(x))


@pytest.mark.parametrize("function", [np.log1p, np.expm1, np.sqrt, np.abs, np.square, None])
def test_known_functions_keep_their_accuracy_near_zero(function: Any) -> None:
    x = np.array([[0.0], [1e-300], [1e-17], [1e-9], [0.4], [0.7], [3.0], [40.0]])
    np.testing.assert_allclose(transformed(FunctionTransformer(function), x), FunctionTransformer(function).transform(x), rtol=1e-14)


def test_a_scale_beside_a_product_is_not_rounded_to_single_precision() -> None:
    x, y = load_breast_cancer(return_X_y=True)
    same(make_pipeline(StandardScaler(), LogisticRegression()).fit(x[:, :1], y), x[:, :1].copy(), 1e-14)
    same(make_pipeline(StandardScaler(), SVC(kernel="poly")).fit(x, y), x, 1e-11)


@pytest.mark.parametrize("label", [None, 0, 1])
def test_a_chosen_threshold_decides_also_where_a_score_lies_on_it(label: int | None) -> None:
    x, y = load_breast_cancer(return_X_y=True)
    forest = RandomForestClassifier(10, random_state=0).fit(x, y)
    model = FixedThresholdClassifier(FrozenEstimator(forest), threshold=0.7, pos_label=label, response_method="predict_proba").fit(x, y)
    assert (forest.predict_proba(x)[:, 1 if label is None else label] == 0.7).any()
    same(model, x)
    same(TunedThresholdClassifierCV(forest, cv=2, random_state=0).fit(x, y), x)


def test_parallel_members_and_data_frame_outputs_need_neither_processes_nor_pandas() -> None:
    x, y = load_iris(return_X_y=True)
    model = make_pipeline(StandardScaler(), RandomForestClassifier(5, n_jobs=4, random_state=0)).fit(x, y)
    model[0].set_output(transform="pandas")
    same(model, x)


def test_a_tree_that_is_one_leaf_answers() -> None:
    x, y = load_iris(return_X_y=True)
    same(RandomForestClassifier(3, min_impurity_decrease=9.0, random_state=0).fit(x, y), x)


def test_equal_votes_go_to_the_same_class() -> None:
    x = np.array([[0.0], [1.0]] * 8)
    forest = RandomForestClassifier(2, bootstrap=True, random_state=3, max_features=1).fit(x, np.tile([0, 1], 8))
    left, right = DecisionTreeClassifier().fit([[0.0]], [0]), DecisionTreeClassifier().fit([[0.0], [1.0]], [0, 1])
    forest.estimators_ = [right, DecisionTreeClassifier().fit([[0.0], [1.0]], [1, 0])]
    assert (forest.predict_proba(x) == 0.5).all()
    same(forest, x)
    del left


def test_missing_values_go_where_the_trees_send_them() -> None:
    x, y = load_wine(return_X_y=True)
    x = x.copy()
    x[np.random.default_rng(0).random(x.shape) < 0.2] = np.nan
    same(RandomForestClassifier(10, random_state=0).fit(x, y), x)
    same(HistGradientBoostingClassifier(max_iter=5).fit(x, y), x, 1e-15)


def test_categories_of_histogram_boosting_known_unknown_negative_and_missing() -> None:
    generator = np.random.default_rng(0)
    x = np.column_stack([generator.integers(0, 9, 300), generator.normal(size=300)]).astype(float)
    y = (x[:, 0] % 3 == 1) ^ (x[:, 1] > 0)
    model = HistGradientBoostingClassifier(max_iter=10, categorical_features=[0]).fit(x, y)
    rows = np.column_stack([np.tile([*range(9), 77.0, -3.0, np.nan], 20), generator.normal(size=240)])
    same(model, rows, 1e-15)


def test_an_isolation_forest_calls_the_same_rows_outliers_also_at_the_offset() -> None:
    x, _ = load_breast_cancer(return_X_y=True)
    forest = IsolationForest(n_estimators=10, random_state=0, contamination=0.1).fit(x)
    forest.offset_ = float(np.sort(forest.score_samples(x))[40])  # a score that rows really have
    assert (forest.decision_function(x) == 0).any()
    same(forest, x, 1e-15)


@pytest.mark.parametrize(
    "encoder",
    [
        OneHotEncoder(handle_unknown="ignore"),
        OneHotEncoder(handle_unknown="ignore", drop="if_binary"),
        OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=30),
        OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
        OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan, encoded_missing_value=-2),
    ],
)
def test_tables_with_text_decide_alike_on_known_and_unseen_categories(encoder: Any) -> None:
    generator = np.random.default_rng(0)
    x = np.empty((200, 3), dtype=object)
    x[:, 0] = generator.choice(["Köln", "東京", "", "a b"], 200)
    x[:, 1] = generator.choice(["x", "y"], 200)
    x[:, 2] = generator.normal(size=200).tolist()
    y = np.where((x[:, 0] == "東京") ^ (x[:, 2].astype(float) > 0), "ja", "nein")
    model = make_pipeline(
        ColumnTransformer([("text", encoder, [0, 1])], remainder=StandardScaler()), HistGradientBoostingClassifier(max_iter=5)
    ).fit(x, y)
    rows = x.copy()
    rows[::3, 0] = "Zürich"
    same(model, rows, 1e-15)


WORDS = ["größe", "straße", "istanbul", "cafe", "café", "naïve", "日本語", "x_y", "00", "don", "ab", "привет", "x²"]
ALPHABET = st.sampled_from(list("abz ÄÖß İıIǅﬀẞéÀ日本語пР²①٣_-'!.\t\n\u00a0\u2003\u0301😀0")) | st.characters(
    codec="utf-8", exclude_characters="\0\1σςΣ"
)


@pytest.mark.parametrize(
    "vectorizer",
    [
        CountVectorizer(),
        CountVectorizer(strip_accents="unicode", ngram_range=(1, 2)),
        CountVectorizer(strip_accents="ascii", token_pattern=r"(?u)\b\w+\b"),
        CountVectorizer(lowercase=False, stop_words=["ab", "00"], ngram_range=(1, 3)),
        TfidfVectorizer(sublinear_tf=True),
    ],
    ids=["plain", "marks", "ascii", "stop", "tfidf"],
)
def test_words_are_counted_as_scikit_learn_counts_them(vectorizer: Any) -> None:
    texts = [" ".join(WORDS), "ab Cafe\u0301 ab", "STRASSE don't 00 x_y", "größe ab cd 日本語 00 don"]
    model = make_pipeline(vectorizer, LogisticRegression()).fit(texts, [0, 1, 0, 1])
    interface = describe(model)
    onnx_model, _ = assemble(model, interface)
    session = onnxruntime.InferenceSession(onnx_model.SerializeToString(), providers=["CPUExecutionProvider"])

    @given(
        st.lists(
            st.one_of(st.text(ALPHABET, max_size=40), st.lists(st.sampled_from(WORDS)).map(" ".join).map(str.upper)), min_size=1, max_size=5
        )
    )
    @settings(max_examples=80, deadline=None)
    def check(drawn: list[str]) -> None:
        rows = np.array(drawn, dtype=object)[:, np.newaxis]
        label, probabilities = session.run(["label", "probabilities"], {"text": rows})
        wanted = answers_of(model, interface, rows_of(interface, {"text": rows}))
        # Two orders of adding up 20 words differ by about 1e-13 of a small probability; a word too many by far more.
        np.testing.assert_allclose(probabilities, wanted["probabilities"], rtol=1e-12)
        assert (label == wanted["label"]).all()

    check()


@pytest.mark.parametrize(
    ("estimator", "named"),
    [
        (make_pipeline(CountVectorizer(analyzer="char"), LogisticRegression()), "analyzer='char'"),
        (make_pipeline(CountVectorizer(token_pattern=r"\S+"), LogisticRegression()), "token_pattern"),
        (make_pipeline(CountVectorizer(tokenizer=str.split, token_pattern=None), LogisticRegression()), "tokenizer"),
        (make_pipeline(HashingVectorizer(), LogisticRegression()), "HashingVectorizer"),
        (make_pipeline(TfidfVectorizer(dtype=np.float32), LogisticRegression()), "float32"),
        (make_pipeline(CountVectorizer(vocabulary=["λόγος", "b"]), LogisticRegression()), "sigma"),
    ],
)
def test_text_options_without_an_exact_form_are_refused_by_name(estimator: Any, named: str) -> None:
    estimator.fit(["aa b", "b cc", "λόγος b"], [0, 1, 1])
    with pytest.raises(UnsupportedError, match=named):
        assemble(estimator, describe(estimator))


def test_a_function_that_is_python_code_is_refused_by_name() -> None:
    x, y = load_iris(return_X_y=True)
    model = make_pipeline(FunctionTransformer(np.cbrt), LogisticRegression(max_iter=500)).fit(x, y)
    with pytest.raises(UnsupportedError, match="cbrt"):
        assemble(model, describe(model))
