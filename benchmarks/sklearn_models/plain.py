"""Linear models, neighbours, kernels, networks, naive Bayes: on real data sets."""

from __future__ import annotations

from functools import partial

import numpy as np
from sklearn.compose import TransformedTargetRegressor
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from sklearn.ensemble import IsolationForest
from sklearn.feature_selection import SelectKBest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.linear_model import (
    ElasticNet,
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    RidgeClassifier,
    SGDClassifier,
)
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import BernoulliNB, ComplementNB, GaussianNB, MultinomialNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import (
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)
from sklearn.svm import SVC, SVR, LinearSVC

from sklearn_models.case import SEED, Case, bundled, named_wine

CANCER, WINE, IRIS, DIGITS, DIABETES = (partial(bundled, name) for name in ("breast_cancer", "wine", "iris", "digits", "diabetes"))

CASES = [
    Case("logistic regression, scaled", lambda: make_pipeline(StandardScaler(), LogisticRegression()), CANCER, "pkl"),
    Case("logistic regression, 3 text labels", lambda: make_pipeline(StandardScaler(), LogisticRegression()), named_wine, "skops"),
    Case("logistic regression on digits", lambda: make_pipeline(MaxAbsScaler(), LogisticRegression(max_iter=200)), DIGITS),
    Case(
        "grid search over pipeline",
        lambda: GridSearchCV(make_pipeline(RobustScaler(), LogisticRegression()), {"logisticregression__C": [0.1, 1.0]}),
        WINE,
    ),
    Case("polynomial features", lambda: make_pipeline(PolynomialFeatures(2), StandardScaler(), LogisticRegression(max_iter=500)), IRIS),
    Case("power transform", lambda: make_pipeline(PowerTransformer(), LogisticRegression()), CANCER),
    Case(
        "union of PCA and selection", lambda: make_pipeline(make_union(PCA(3), SelectKBest(k=4)), LogisticRegression(max_iter=5000)), WINE
    ),
    Case("SGD, modified Huber", lambda: make_pipeline(StandardScaler(), SGDClassifier(loss="modified_huber", random_state=SEED)), WINE),
    Case("ridge classifier", lambda: make_pipeline(MinMaxScaler(), RidgeClassifier()), CANCER, "skops"),
    Case("linear SVM", lambda: make_pipeline(StandardScaler(), LinearSVC()), WINE),
    Case("SVM, radial", lambda: make_pipeline(StandardScaler(), SVC()), CANCER),
    Case("SVM, polynomial, 10 classes", lambda: SVC(kernel="poly"), DIGITS),
    Case("SVM, one against one", lambda: make_pipeline(Normalizer(), SVC(decision_function_shape="ovo")), named_wine),
    Case("5 neighbours", KNeighborsClassifier, DIGITS),
    Case("neighbours by distance", lambda: make_pipeline(StandardScaler(), KNeighborsClassifier(7, weights="distance")), WINE, "skops"),
    Case("neighbours, Manhattan, regression", lambda: KNeighborsRegressor(p=1), DIABETES),
    Case("network", lambda: make_pipeline(StandardScaler(), MLPClassifier((32, 16), max_iter=80, random_state=SEED)), DIGITS),
    Case("Gaussian naive Bayes", GaussianNB, WINE, "pkl"),
    Case("Bernoulli naive Bayes", lambda: BernoulliNB(binarize=8.0), DIGITS),
    Case("multinomial naive Bayes", MultinomialNB, DIGITS),
    Case("complement naive Bayes", ComplementNB, DIGITS, "skops"),
    Case("linear discriminants", LinearDiscriminantAnalysis, WINE),
    Case("quadratic discriminants", lambda: QuadraticDiscriminantAnalysis(reg_param=0.05), CANCER),
    Case(
        "binned, then linear",
        lambda: make_pipeline(KBinsDiscretizer(6, quantile_method="averaged_inverted_cdf"), LogisticRegression(max_iter=500)),
        CANCER,
    ),
    Case("linear regression", LinearRegression, DIABETES, "pkl"),
    Case("elastic net, quantiles", lambda: make_pipeline(QuantileTransformer(n_quantiles=100), ElasticNet(alpha=0.01)), DIABETES),
    Case("Poisson regression", PoissonRegressor, DIABETES),
    Case("SVM regression", lambda: make_pipeline(StandardScaler(), SVR(C=10)), DIABETES, "skops"),
    Case(
        "network, regression",
        lambda: make_pipeline(StandardScaler(), MLPRegressor(hidden_layer_sizes=(20,), max_iter=200, random_state=SEED)),
        DIABETES,
    ),
    Case("log target", lambda: TransformedTargetRegressor(LinearRegression(), func=np.log1p, inverse_func=np.expm1), DIABETES),
    Case("Gaussian process", lambda: GaussianProcessRegressor(ConstantKernel() * RBF() + WhiteKernel(), normalize_y=True), DIABETES),
    Case("isolation forest", lambda: IsolationForest(n_estimators=40, contamination=0.1, random_state=SEED), CANCER),
]
