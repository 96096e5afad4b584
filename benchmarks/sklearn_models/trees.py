"""Trees and ensembles of them, alone and behind scalers: the models whose thresholds are unforgiving."""

from __future__ import annotations

from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    AdaBoostClassifier,
    AdaBoostRegressor,
    BaggingClassifier,
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from sklearn_models.case import SEED, Case, named_wine, with_gaps
from sklearn_models.plain import CANCER, DIABETES, DIGITS, IRIS, WINE

CASES = [
    Case("decision tree", lambda: DecisionTreeClassifier(random_state=SEED), CANCER, "skops"),
    Case("scaler, tree", lambda: make_pipeline(StandardScaler(), DecisionTreeClassifier(random_state=SEED)), CANCER, "pkl"),
    Case("random forest", lambda: RandomForestClassifier(60, random_state=SEED), CANCER),
    Case("random forest, text labels", lambda: RandomForestClassifier(40, random_state=SEED), named_wine, "skops"),
    Case("scaler, random forest", lambda: make_pipeline(StandardScaler(), RandomForestClassifier(40, random_state=SEED)), CANCER),
    Case("forest on digits", lambda: RandomForestClassifier(30, random_state=SEED), DIGITS),
    Case("forest, missing values", lambda: RandomForestClassifier(20, random_state=SEED), with_gaps),
    Case(
        "imputer with indicator, forest",
        lambda: make_pipeline(SimpleImputer(add_indicator=True), RandomForestClassifier(20, random_state=SEED)),
        with_gaps,
    ),
    Case("PCA, forest", lambda: make_pipeline(PCA(6), RandomForestClassifier(20, random_state=SEED)), WINE),
    Case("extra trees", lambda: ExtraTreesClassifier(40, random_state=SEED), IRIS, "pkl"),
    Case("gradient boosting", lambda: GradientBoostingClassifier(n_estimators=30, random_state=SEED), CANCER),
    Case(
        "robust scaler, gradient boosting, 3 classes",
        lambda: make_pipeline(RobustScaler(), GradientBoostingClassifier(n_estimators=20, random_state=SEED)),
        WINE,
        "skops",
    ),
    Case("histogram boosting", lambda: HistGradientBoostingClassifier(max_iter=30, random_state=SEED), CANCER, "skops"),
    Case(
        "scaler, histogram boosting, 3 classes",
        lambda: make_pipeline(StandardScaler(), HistGradientBoostingClassifier(max_iter=20, random_state=SEED)),
        WINE,
        "skops",
    ),
    Case("histogram boosting, 3 text labels", lambda: HistGradientBoostingClassifier(max_iter=10, random_state=SEED), named_wine, "pkl"),
    Case("histogram boosting, missing values", lambda: HistGradientBoostingClassifier(max_iter=20, random_state=SEED), with_gaps),
    Case(
        "histogram boosting, categories",
        lambda: HistGradientBoostingClassifier(max_iter=15, categorical_features=[0, 9, 20, 33], random_state=SEED),
        DIGITS,
    ),
    Case("AdaBoost", lambda: AdaBoostClassifier(n_estimators=40, random_state=SEED), CANCER),
    Case(
        "AdaBoost, 3 classes",
        lambda: AdaBoostClassifier(DecisionTreeClassifier(max_depth=2), n_estimators=15, random_state=SEED),
        WINE,
        "pkl",
    ),
    Case("bagging on some columns", lambda: BaggingClassifier(n_estimators=12, max_features=0.5, random_state=SEED), CANCER),
    Case(
        "voting, soft",
        lambda: VotingClassifier([("n", GaussianNB()), ("f", RandomForestClassifier(15, random_state=SEED))], voting="soft"),
        WINE,
    ),
    Case(
        "voting, hard",
        lambda: VotingClassifier(
            [("n", GaussianNB()), ("f", RandomForestClassifier(15, random_state=SEED)), ("l", LogisticRegression(max_iter=5000))]
        ),
        named_wine,
    ),
    Case(
        "stacking",
        lambda: StackingClassifier(
            [
                ("n", GaussianNB()),
                ("f", RandomForestClassifier(15, random_state=SEED)),
                ("s", make_pipeline(StandardScaler(), LinearSVC())),
            ],
            LogisticRegression(),
        ),
        CANCER,
    ),
    Case(
        "stacking under a tree, passed through",
        lambda: StackingClassifier(
            [("n", GaussianNB()), ("f", RandomForestClassifier(10, random_state=SEED))],
            DecisionTreeClassifier(max_depth=4, random_state=SEED),
            passthrough=True,
        ),
        WINE,
        "skops",
    ),
    Case("calibrated, sigmoid", lambda: CalibratedClassifierCV(make_pipeline(StandardScaler(), LinearSVC()), cv=3), CANCER),
    Case(
        "calibrated forest, isotonic",
        lambda: CalibratedClassifierCV(RandomForestClassifier(10, random_state=SEED), method="isotonic", cv=3),
        WINE,
    ),
    Case("one against the rest", lambda: OneVsRestClassifier(GradientBoostingClassifier(n_estimators=10, random_state=SEED)), WINE),
    Case("one against one", lambda: OneVsOneClassifier(make_pipeline(MinMaxScaler(), LinearSVC())), named_wine),
    Case("forest, regression", lambda: RandomForestRegressor(30, random_state=SEED), DIABETES),
    Case("extra trees, regression", lambda: make_pipeline(StandardScaler(), ExtraTreesRegressor(20, random_state=SEED)), DIABETES, "skops"),
    Case(
        "gradient boosting, regression",
        lambda: make_pipeline(StandardScaler(), GradientBoostingRegressor(loss="huber", n_estimators=30, random_state=SEED)),
        DIABETES,
    ),
    Case("histogram boosting, regression", lambda: HistGradientBoostingRegressor(max_iter=30, random_state=SEED), DIABETES),
    Case("histogram boosting, gamma", lambda: HistGradientBoostingRegressor(loss="gamma", max_iter=20, random_state=SEED), DIABETES),
    Case("AdaBoost, regression", lambda: AdaBoostRegressor(n_estimators=15, random_state=SEED), DIABETES, "pkl"),
    Case(
        "stacking, regression",
        lambda: StackingRegressor([("r", Ridge()), ("f", RandomForestRegressor(10, random_state=SEED))], Ridge()),
        DIABETES,
    ),
]
