"""Folders of scikit-learn, in each of the three ways in which MLflow serialises, and of Python code that nothing else can open."""

from __future__ import annotations

import functools
from typing import Any

from sklearn.ensemble import GradientBoostingRegressor, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from fairlead.core.interface import Array
from mlflow_models.folder import Folder, answers, classified, frame, regressed, table


def _pipeline() -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(frame(), answers("three"))


def _forest() -> Any:
    return RandomForestClassifier(20, random_state=0).fit(table(), answers("three"))


def _boosting() -> Any:
    return GradientBoostingRegressor(random_state=0, n_estimators=30).fit(table(), answers("number"))


def _histogram() -> Any:
    return HistGradientBoostingClassifier(max_iter=20, random_state=0).fit(table(), answers("two"))


def _doubled(rows: Array) -> Array:
    return rows * 2


def _own_function() -> Any:
    return make_pipeline(FunctionTransformer(_doubled), LogisticRegression()).fit(table(), answers("two"))


def _with_signature() -> dict[str, Any]:
    from mlflow.models import infer_signature

    return {"serialization_format": "pickle", "signature": infer_signature(frame(), answers("three")), "input_example": frame()[:5]}


def _python_model() -> Any:
    import mlflow.pyfunc

    class Doubling(mlflow.pyfunc.PythonModel):
        def predict(self, model_input: list[float]) -> list[float]:
            return model_input[::-1]

    return Doubling()


_sklearn = functools.partial(Folder, "sklearn")
FOLDERS = [
    _sklearn("linear", "scaler and logistic regression, pickle", _pipeline, classified, {"serialization_format": "pickle"}),
    _sklearn("linear", "scaler and logistic regression, cloudpickle", _pipeline, classified, {"serialization_format": "cloudpickle"}),
    _sklearn("linear", "scaler and logistic regression, skops", _pipeline, classified, {"serialization_format": "skops"}),
    _sklearn("linear", "with signature and input example", _pipeline, classified, _with_signature()),
    _sklearn("trees", "random forest, cloudpickle", _forest, classified, {"serialization_format": "cloudpickle"}),
    _sklearn("trees", "random forest, skops", _forest, classified, {"skops_trusted_types": ["sklearn.tree._tree.Tree"]}),
    _sklearn("trees", "gradient boosting, pickle", _boosting, regressed, {"serialization_format": "pickle"}),
    _sklearn("trees", "histogram boosting, pickle", _histogram, classified, {"serialization_format": "pickle"}, takes_missing=True),
    _sklearn("own code", "own function in a cloudpickle", _own_function, options={"serialization_format": "cloudpickle"}, refusal="allow"),
    Folder("pyfunc", "own code", "a class of Python alone", _python_model, refusal="python_function"),
]
