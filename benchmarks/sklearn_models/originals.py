"""Estimators that no converter holds exactly: they run in scikit-learn itself, in a process of their own."""

from __future__ import annotations

from functools import partial

from sklearn.covariance import EllipticEnvelope
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression, Ridge, SGDOneClassSVM
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor, LocalOutlierFactor, NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import QuantileTransformer, SplineTransformer, StandardScaler
from sklearn.semi_supervised import LabelSpreading

from sklearn_models.case import SEED, Case, bundled, named_wine, reviews

CANCER, IRIS, DIABETES = (partial(bundled, name) for name in ("breast_cancer", "iris", "diabetes"))
_Kept = partial(Case, is_kept=True)

CASES = [
    _Kept("local outliers", lambda: LocalOutlierFactor(novelty=True), CANCER),
    _Kept("elliptic envelope", lambda: make_pipeline(StandardScaler(), EllipticEnvelope(random_state=SEED)), IRIS, "pkl"),
    _Kept("one class, by gradient descent", lambda: make_pipeline(StandardScaler(), SGDOneClassSVM(random_state=SEED)), CANCER, "skops"),
    _Kept("Gaussian process classifier", lambda: make_pipeline(StandardScaler(), GaussianProcessClassifier()), IRIS),
    _Kept("neighbours, Canberra, 3 text labels", lambda: KNeighborsClassifier(metric="canberra"), named_wine, "skops"),
    _Kept("neighbours, Chebyshev, regression", lambda: KNeighborsRegressor(metric="chebyshev"), DIABETES),
    _Kept("nearest centroid", NearestCentroid, IRIS),
    _Kept("label spreading", LabelSpreading, IRIS, "pkl"),
    _Kept("splines, linear", lambda: make_pipeline(SplineTransformer(), Ridge()), DIABETES),
    _Kept(
        "quantiles to normal, linear",
        lambda: make_pipeline(
            QuantileTransformer(n_quantiles=50, output_distribution="normal", random_state=SEED), LogisticRegression(max_iter=500)
        ),
        CANCER,
    ),
    _Kept(
        "approximated kernel, linear",
        lambda: make_pipeline(StandardScaler(), Nystroem(n_components=30, random_state=SEED), LogisticRegression()),
        CANCER,
        "skops",
    ),
    _Kept("text: hashing", lambda: make_pipeline(HashingVectorizer(), LogisticRegression()), reviews),
    _Kept("text: characters", lambda: make_pipeline(CountVectorizer(analyzer="char"), LogisticRegression()), reviews),
    _Kept(
        "text: characters within words",
        lambda: make_pipeline(TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 3)), LogisticRegression()),
        reviews,
        "skops",
    ),
]
