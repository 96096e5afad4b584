"""What the collector answers over HTTP: events are taken, and what is wrong with one is said; whether it runs; what it counted.

Takes whole HttpRequests; gives Replies. It never raises: what is the sender's mistake becomes its status and text, any other error a 500
without a word about the inside, and goes to `report`. Events are answered with 200 and no body: loggers ask for 200, and brokers take a
body for an event of ours.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fairlead.core.server_reading import ServerReading
from fairlead.errors import FairleadError, RequestError
from fairlead.serve.collect.collector import Collector
from fairlead.serve.collect.event_reader import read_events
from fairlead.serve.http.limits import HttpLimits
from fairlead.serve.http.message import HttpRequest, Reply, error_reply, error_text, json_reply
from fairlead.serve.http.metrics import MetricsHandlers, MetricsSource
from fairlead.serve.http.routes import Call, Permission, Route, Router, nowhere
from fairlead.serve.http.status import reply_to

_NAMED = 3  # errors of a batch that are told
_DONE = Reply(200, b"", b"text/plain; charset=utf-8")


@dataclass(frozen=True)
class CollectApiJob:
    """What the api is made of. `watched` says in words who is; `read` looks at the front for metrics."""

    collector: Collector
    limits: HttpLimits
    version: str
    watched: Sequence[str]
    metrics: MetricsSource
    read: Callable[[], ServerReading]
    report: Callable[[str], None]


class CollectApi:
    """Answers requests. `is_stopping` turns /health to 503."""

    def __init__(self, job: CollectApiJob) -> None:
        self._job = job
        self.is_stopping = False
        metrics = MetricsHandlers(job.read, job.metrics)
        self.router = Router(
            (
                Route("POST", "/", Permission.INFER, self.take, "Take CloudEvents"),
                Route("GET", "/", Permission.VIEW, self.home, "What is here"),
                Route("GET", "/health", Permission.HEALTH, self.health, "Whether events are taken"),
                Route("GET", "/metrics", Permission.METRICS, metrics.metrics, "Metrics for Prometheus"),
            )
        )

    async def handle(self, request: HttpRequest) -> Reply:
        """Answer one request."""
        try:
            match = self.router.match(request.method, request.target)
            if match.route is None:
                return nowhere(match, "Send events to /.")
            return await match.route.handler(Call(request, match.parameters))
        except Exception as error:  # noqa: BLE001 - the last resort: a mistake of ours must not end the collector, nor show itself
            reply = reply_to(error)
            if reply.status == 500:
                self._job.report(f"Request {request.request_id} failed.\n{''.join(traceback.format_exception(error))}")
            return reply

    async def take(self, call: Call) -> Reply:
        """POST /: one event, or a batch. All of a batch that can be used are, whatever the others are like."""
        try:
            events = read_events(call.request, self._job.limits)
        except FairleadError:
            self._job.collector.counts["", "refused"] += 1
            raise
        if len(events) == 1 and not isinstance(events[0], RequestError):
            await self._job.collector.take(events[0])
            return _DONE
        problems: list[Reply] = []
        for place, event in enumerate(events):
            try:
                if isinstance(event, RequestError):
                    self._job.collector.counts["", "refused"] += 1
                    raise event
                await self._job.collector.take(event)
            except FairleadError as error:
                reply = reply_to(error)
                problems.append(error_reply(reply.status, f"Event {place}: {error_text(reply)}"))
            await asyncio.sleep(0)  # others have their turns
        if not problems:
            return _DONE
        told = " ".join(error_text(reply) for reply in problems[:_NAMED])
        status = max(reply.status for reply in problems)  # a 5xx tells the sender to try again; what was taken is then known
        return error_reply(status, f"{len(problems)} of {len(events)} events were not taken. {told}")

    async def home(self, call: Call) -> Reply:
        """GET /: what is here."""
        del call
        counts: dict[str, dict[str, int]] = {}
        for (model, result), count in sorted(self._job.collector.counts.items()):
            counts.setdefault(model, {})[result] = count
        return json_reply({"collector": "fairlead", "version": self._job.version, "watched": self._job.watched, "counts": counts})

    async def health(self, call: Call) -> Reply:
        """GET /health."""
        del call
        return json_reply({"ready": False, "error": "The collector is stopping."}, 503) if self.is_stopping else json_reply({"ready": True})
