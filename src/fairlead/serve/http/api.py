"""The route table, and what happens to every request: route, check, handle, map errors.

Takes whole HttpRequests; gives Replies. It never raises: an error that is the client's becomes its status and text, any other one a 500
without a word about the inside, and goes to `report`.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass

from fairlead.errors import FairleadError
from fairlead.serve.data_plane import DataPlane
from fairlead.serve.http.body import read_body
from fairlead.serve.http.limits import HttpLimits
from fairlead.serve.http.message import HttpRequest, Reply, error_reply, json_reply
from fairlead.serve.http.metrics import MetricsHandlers
from fairlead.serve.http.openapi import document
from fairlead.serve.http.predict import PredictHandlers
from fairlead.serve.http.routes import Call, Permission, Route, Router
from fairlead.serve.http.status import reply_to
from fairlead.serve.http.tensorflow import TensorFlowHandlers
from fairlead.serve.http.v2 import V2Handlers, parse_version

StatisticsSource = Callable[[str, int], object]
_V2_MODEL = ("/v2/models/{name}", "/v2/models/{name}/versions/{version}")
_V1_MODEL = ("/v1/models/{name}", "/v1/models/{name}/versions/{version}", "/v1/models/{name}/labels/{label}")


@dataclass(frozen=True)
class ApiJob:
    """What the api is made of. `why_not_ready` gives "" while the server is ready; `statistics` gives the numbers of a version."""

    plane: DataPlane
    limits: HttpLimits
    version: str
    why_not_ready: Callable[[], str]
    report: Callable[[str], None]
    default_model: str = ""
    statistics: StatisticsSource | None = None
    metrics: MetricsHandlers | None = None


class Api:
    """Answers requests."""

    def __init__(self, job: ApiJob) -> None:
        self._job = job
        self._predict = PredictHandlers(job.plane, job.default_model)
        self.router = Router(self._routes())

    async def handle(self, request: HttpRequest) -> Reply:
        """Answer one request."""
        try:
            return await self._handle(request)
        except FairleadError as error:
            reply = reply_to(error)
            if reply.status == 500:
                self._report(request)
            return reply
        except Exception as error:  # noqa: BLE001 - the last resort: a mistake of ours must not end the server, nor show itself
            self._report(request)
            return reply_to(error)

    async def _handle(self, request: HttpRequest) -> Reply:
        match = self.router.match(request.method, request.target)
        route = match.route
        if route is None:
            if match.allowed:
                allow = b"allow: " + ", ".join(match.allowed).encode("ascii")
                return error_reply(405, f"This path takes {' and '.join(match.allowed)} only.", (allow,))
            return error_reply(404, "There is nothing at this path. GET / lists what is here.")
        if route.method == "POST":
            text = read_body(request.headers, request.body, self._job.limits)
            return await route.handler(Call(request, match.parameters, text))
        return await route.handler(Call(request, match.parameters))

    def _report(self, request: HttpRequest) -> None:
        self._job.report(f"Request {request.request_id} failed.\n{traceback.format_exc()}")

    def _routes(self) -> list[Route]:
        v2, v1, view, infer = V2Handlers(self._job.plane), TensorFlowHandlers(self._job.plane), Permission.VIEW, Permission.INFER
        routes = [
            Route("GET", "/", view, self._home, "What is here"),
            Route("GET", "/openapi.json", view, self._openapi, "This document"),
            Route("POST", "/predict", infer, self._predict.predict, "Ask the only model, or the default one"),
            Route("GET", "/v2", view, self._server, "Server metadata"),
            Route("GET", "/v2/", view, self._server, "Server metadata"),
            Route("GET", "/v2/health/live", Permission.HEALTH, self._live, "Whether the server runs"),
            Route("GET", "/v2/health/ready", Permission.HEALTH, self._ready, "Whether all models are ready"),
            Route("GET", "/v2/models", view, v2.models, "Names of all models"),
        ]
        if self._job.metrics is not None:
            routes.append(Route("GET", "/metrics", Permission.METRICS, self._job.metrics.metrics, "Metrics for Prometheus"))
        for base in _V2_MODEL:
            routes += [
                Route("GET", base, view, v2.metadata, "Model metadata"),
                Route("GET", f"{base}/ready", view, v2.ready, "Whether the model is ready"),
                Route("POST", f"{base}/infer", infer, v2.infer, "Inference"),
            ]
            if self._job.statistics is not None:
                routes.append(Route("GET", f"{base}/stats", view, self._statistics, "Statistics since the version was loaded"))
        for base in _V1_MODEL:
            routes += [
                Route("GET", base, view, v1.status, "Model status (TensorFlow Serving)"),
                Route("POST", f"{base}:predict", infer, v1.predict, "Inference (TensorFlow Serving)"),
            ]
        return routes

    async def _home(self, call: Call) -> Reply:
        del call
        models = [
            {"name": name, "version": model.default or None, "infer": f"/v2/models/{name}/infer"}
            for name, model in sorted(self._job.plane.table.models.items())
        ]
        return json_reply({"server": "fairlead", "version": self._job.version, "openapi": "/openapi.json", "models": models})

    async def _server(self, call: Call) -> Reply:
        del call
        extensions = [] if self._job.statistics is None else ["statistics"]
        return json_reply({"name": "fairlead", "version": self._job.version, "extensions": extensions})

    async def _live(self, call: Call) -> Reply:
        del call
        return json_reply({"live": True})

    async def _ready(self, call: Call) -> Reply:
        del call
        reason = self._job.why_not_ready()
        return json_reply({"ready": False, "error": reason}, 503) if reason else json_reply({"ready": True})

    async def _openapi(self, call: Call) -> Reply:
        del call
        return json_reply(document(self.router.routes, self._job.plane.table, self._job.version))

    async def _statistics(self, call: Call) -> Reply:
        served = self._job.plane.table.resolve(call.parameters["name"], parse_version(call.parameters.get("version")))
        version = served.version
        statistics = self._job.statistics
        return json_reply({"model_stats": [statistics(version.name, version.number)] if statistics else []})
