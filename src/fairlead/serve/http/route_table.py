"""Every route of the server in one table: path, permission, handler, and what it takes as a body.

Takes handlers; gives routes. A route whose handler is not there does not exist, rather than being refused.
"""

from __future__ import annotations

from dataclasses import dataclass

from fairlead.serve.http.about import AboutHandlers
from fairlead.serve.http.explain import ExplainHandlers
from fairlead.serve.http.feedback import FeedbackHandlers
from fairlead.serve.http.metrics import MetricsHandlers
from fairlead.serve.http.mlflow import MlflowHandlers
from fairlead.serve.http.predict import PredictHandlers
from fairlead.serve.http.routes import Accepts, Permission, Route
from fairlead.serve.http.tensorflow import TensorFlowHandlers
from fairlead.serve.http.v2 import V2Handlers
from fairlead.serve.http.v2_repository import RepositoryHandlers

_V2_MODEL = ("/v2/models/{name}", "/v2/models/{name}/versions/{version}")
_V1_MODEL = ("/v1/models/{name}", "/v1/models/{name}/versions/{version}", "/v1/models/{name}/labels/{label}")
_HEALTH, _VIEW, _INFER, _OPERATE = Permission.HEALTH, Permission.VIEW, Permission.INFER, Permission.OPERATE


@dataclass(frozen=True)
class Handlers:
    """Who answers. None where a server does not offer it."""

    about: AboutHandlers
    v2: V2Handlers
    tensorflow: TensorFlowHandlers
    predict: PredictHandlers
    mlflow: MlflowHandlers
    repository: RepositoryHandlers | None = None
    metrics: MetricsHandlers | None = None
    feedback: FeedbackHandlers | None = None
    explain: ExplainHandlers | None = None


def make_routes(handlers: Handlers) -> list[Route]:
    """Return all routes. Where two match, the first one is taken."""
    beside = (*_feedback(handlers), *_explain(handlers), *_repository(handlers))
    return [*_about(handlers), *_for_people(handlers), *beside, *_v2(handlers), *_v1(handlers)]


def _about(handlers: Handlers) -> list[Route]:
    about = handlers.about
    routes = [
        Route("GET", "/", _VIEW, about.home, "What is here"),
        Route("GET", "/openapi.json", _VIEW, about.openapi, "This document"),
        Route("GET", "/v2", _VIEW, about.server, "Server metadata"),
        Route("GET", "/v2/", _VIEW, about.server, "Server metadata"),
        Route("GET", "/v2/health/live", _HEALTH, about.live, "Whether the server runs"),
        Route("GET", "/v2/health/ready", _HEALTH, about.ready, "Whether all models are ready"),
        Route("GET", "/ping", _HEALTH, about.ping, "Whether all models are ready (MLflow)"),
        Route("GET", "/health", _HEALTH, about.ping, "Whether all models are ready (MLflow)"),
        Route("GET", "/version", _VIEW, about.version, "The server's version (MLflow)"),
    ]
    if handlers.metrics is not None:
        routes.append(Route("GET", "/metrics", Permission.METRICS, handlers.metrics.metrics, "Metrics for Prometheus"))
    return routes


def _for_people(handlers: Handlers) -> list[Route]:
    return [
        Route("POST", "/predict", _INFER, handlers.predict.predict, "Ask the only model, or the default one", Accepts.JSON),
        Route("POST", "/invocations", _INFER, handlers.mlflow.invocations, "Ask the same model (MLflow)", Accepts.TABLE),
    ]


def _feedback(handlers: Handlers) -> list[Route]:
    if handlers.feedback is None:
        return []
    paths = ("/feedback", "/v2/models/{name}/feedback", "/v1/models/{name}:feedback")
    return [Route("POST", path, _INFER, handlers.feedback.feedback, "Right answers that came later", Accepts.JSON) for path in paths]


def _explain(handlers: Handlers) -> list[Route]:
    if handlers.explain is None:
        return []
    paths = (*(f"{base}/explain" for base in _V2_MODEL), "/v1/models/{name}:explain")
    return [Route("POST", path, _INFER, handlers.explain.explain, "Why the model answers rows as it does", Accepts.JSON) for path in paths]


def _repository(handlers: Handlers) -> list[Route]:
    repository = handlers.repository
    if repository is None:
        return []
    answer, summary = repository.statistics, "Statistics since the version was loaded"
    models = "/v2/repository/models/{name}"
    return [
        *(Route("GET", f"{base}/stats", _VIEW, answer, summary) for base in ("/v2/models", *_V2_MODEL)),
        *(Route("GET", f"{base}/config", _VIEW, repository.config, "Model configuration") for base in _V2_MODEL),
        Route("POST", "/v2/repository/index", _VIEW, repository.index, "Models and their states", Accepts.OPTIONAL_JSON),
        Route("POST", f"{models}/load", _OPERATE, repository.load, "Load a model", Accepts.OPTIONAL_JSON),
        Route("POST", f"{models}/unload", _OPERATE, repository.unload, "Unload a model", Accepts.OPTIONAL_JSON),
    ]


def _v2(handlers: Handlers) -> list[Route]:
    v2 = handlers.v2
    routes = [Route("GET", "/v2/models", _VIEW, v2.models, "Names of all models")]
    for base in _V2_MODEL:
        routes += [
            Route("GET", base, _VIEW, v2.metadata, "Model metadata"),
            Route("GET", f"{base}/ready", _VIEW, v2.ready, "Whether the model is ready"),
            Route("GET", f"{base}/openapi.json", _VIEW, handlers.about.model_openapi, "How to ask the model"),
            Route("POST", f"{base}/infer", _INFER, v2.infer, "Inference", Accepts.TENSORS),
        ]
    return routes


def _v1(handlers: Handlers) -> list[Route]:
    v1 = handlers.tensorflow
    routes = [Route("GET", "/v1/models", _VIEW, v1.models, "Names of all models (KServe V1)")]
    for base in _V1_MODEL:
        routes += [
            Route("GET", base, _VIEW, v1.status, "Model status (TensorFlow Serving, KServe V1)"),
            Route("POST", f"{base}:predict", _INFER, v1.predict, "Inference (TensorFlow Serving, KServe V1)", Accepts.JSON),
        ]
    return routes
