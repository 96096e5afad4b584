"""What happens to every request: route, check, handle, map errors, compress.

Takes whole HttpRequests; gives Replies. It never raises: an error that is the client's becomes its status and text, any other one a 500
without a word about the inside, and goes to `report`.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace

from fairlead.core.ports import TrafficWitness
from fairlead.errors import TooLargeError
from fairlead.serve.data_plane import DataPlane
from fairlead.serve.explaining import Explaining
from fairlead.serve.http.about import AboutHandlers
from fairlead.serve.http.body import body_form, is_long, read_body, read_long_body
from fairlead.serve.http.direct import DirectInference
from fairlead.serve.http.encoding import WORTHWHILE_BYTES, encoded
from fairlead.serve.http.explain import ExplainHandlers
from fairlead.serve.http.feedback import FeedbackHandlers
from fairlead.serve.http.limits import HttpLimits
from fairlead.serve.http.message import HttpRequest, Reply
from fairlead.serve.http.metrics import MetricsHandlers
from fairlead.serve.http.mlflow import MlflowHandlers
from fairlead.serve.http.predict import PredictHandlers
from fairlead.serve.http.route_table import Handlers, make_routes
from fairlead.serve.http.routes import Accepts, Call, Router, nowhere
from fairlead.serve.http.status import reply_to
from fairlead.serve.http.tensorflow import TensorFlowHandlers
from fairlead.serve.http.v2 import V2Handlers
from fairlead.serve.http.v2_repository import ModelRepository, RepositoryHandlers, StatisticsSource
from fairlead.serve.long_bodies import LongBodies

__all__ = ["Api", "ApiJob", "StatisticsSource"]
_EXTENSIONS = ("binary_tensor_data", "parameters", "schedule_policy")
_REPOSITORY_EXTENSIONS = ("model_configuration", "model_repository", "statistics")


@dataclass(frozen=True)
class ApiJob:
    """What the api is made of. `why_not_ready` gives "" while the server is ready; `witness` is told right answers that come later."""

    plane: DataPlane
    limits: HttpLimits
    version: str
    why_not_ready: Callable[[], str]
    report: Callable[[str], None]
    default_model: str = ""
    metrics: MetricsHandlers | None = None
    repository: ModelRepository | None = None
    witness: TrafficWitness | None = None
    explaining: Explaining | None = None


class Api:
    """Answers requests."""

    def __init__(self, job: ApiJob) -> None:
        self._job = job
        table, long = job.plane.table, LongBodies(job.plane)
        repository = None if job.repository is None else RepositoryHandlers(job.repository)
        self.extensions = tuple(sorted((*_EXTENSIONS, *(_REPOSITORY_EXTENSIONS if repository else ()))))
        handlers = Handlers(
            about=AboutHandlers(table, job.version, job.why_not_ready, self.extensions, lambda: self.router.routes),
            v2=V2Handlers(job.plane, long),
            tensorflow=TensorFlowHandlers(job.plane, long),
            predict=PredictHandlers(job.plane, long, job.default_model),
            mlflow=MlflowHandlers(job.plane, long, job.default_model),
            repository=repository,
            metrics=job.metrics,
            feedback=None if job.witness is None else FeedbackHandlers(table, job.witness, long, job.default_model),
            explain=None if job.explaining is None else ExplainHandlers(table, job.explaining, long),
        )
        self.router = Router(make_routes(handlers))
        self.direct = DirectInference(job.plane, self.router, job.limits, self.refuse)

    async def handle(self, request: HttpRequest) -> Reply:
        """Answer one request."""
        try:
            match = self.router.match(request.method, request.target)
            route = match.route
            if route is None:
                return nowhere(match, "GET / lists what is here.")
            if route.accepts is Accepts.NOTHING:
                call = Call(request, match.parameters)
            else:
                form = body_form(request.headers, route.accepts)
                limits = self._job.limits if route.accepts is not Accepts.OPTIONAL_JSON else self._check_control(request)
                is_short = not is_long(form, request.body)
                body = read_body(form, request.body, limits) if is_short else await read_long_body(form, request.body, limits)
                call = Call(request, match.parameters, body.text, body.binary, body.is_csv)
            reply = await route.handler(call)
        except Exception as error:  # noqa: BLE001 - the last resort: a mistake of ours must not end the server, nor show itself
            reply = self.refuse(request, error)
        if len(reply.body) > WORTHWHILE_BYTES and b"accept-encoding" in request.headers:
            return await encoded(reply, request.headers[b"accept-encoding"])
        return reply

    def _check_control(self, request: HttpRequest) -> HttpLimits:
        """Return the limits of a body that carries no tensors; raises TooLargeError."""
        limits = replace(self._job.limits, body_bytes=min(self._job.limits.control_bytes, self._job.limits.body_bytes))
        if len(request.body) > limits.body_bytes:
            raise TooLargeError(
                f"The body is larger than {limits.body_bytes} bytes, the limit of this path.", hint="It needs a few words only."
            )
        return limits

    def refuse(self, request: HttpRequest, error: Exception) -> Reply:
        """Return the reply to a request that failed; what is our mistake is reported."""
        reply = reply_to(error)
        if reply.status == 500:
            text = "".join(traceback.format_exception(error))
            self._job.report(f"Request {request.request_id} failed.\n{text}")
        return reply
