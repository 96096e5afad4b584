"""What is here, and whether it is ready: the home page, server metadata, health, the OpenAPI documents.

Takes routed calls; gives replies. Raises NotFoundError for the document of a model that is not served.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fairlead.serve.http.message import Reply, json_reply
from fairlead.serve.http.openapi import document, model_document
from fairlead.serve.http.routes import Call, Route
from fairlead.serve.http.v2 import parse_version
from fairlead.serve.model_table import ModelTable

_PLAIN = b"text/plain; charset=utf-8"


class AboutHandlers:
    """`extensions` are those of the V2 protocol that answer; `routes` gives what is in the documents."""

    def __init__(
        self,
        table: ModelTable,
        version: str,
        why_not_ready: Callable[[], str],
        extensions: Sequence[str],
        routes: Callable[[], tuple[Route, ...]],
    ) -> None:
        self._table = table
        self._version = version
        self._why_not_ready = why_not_ready
        self._extensions = list(extensions)
        self._routes = routes

    async def home(self, call: Call) -> Reply:
        """GET /: what is here; `status` is what KServe's V1 client asks for."""
        del call
        models = [
            {
                "name": name,
                "version": model.default or None,
                "infer": f"/v2/models/{name}/infer",
                "openapi": f"/v2/models/{name}/openapi.json",
            }
            for name, model in sorted(self._table.models.items())
        ]
        return json_reply(
            {"server": "fairlead", "version": self._version, "status": "alive", "openapi": "/openapi.json", "models": models},
        )

    async def server(self, call: Call) -> Reply:
        """GET /v2: server metadata."""
        del call
        return json_reply({"name": "fairlead", "version": self._version, "extensions": self._extensions})

    async def live(self, call: Call) -> Reply:
        """GET /v2/health/live."""
        del call
        return json_reply({"live": True})

    async def ready(self, call: Call) -> Reply:
        """GET /v2/health/ready; not ready is an error that says why."""
        del call
        reason = self._why_not_ready()
        return json_reply({"ready": False, "error": reason}, 503) if reason else json_reply({"ready": True})

    async def ping(self, call: Call) -> Reply:
        """GET /ping and /health, as MLflow's scoring server has them: an empty line once the models can be asked."""
        del call
        reason = self._why_not_ready()
        return json_reply({"error": reason}, 503) if reason else Reply(200, b"\n", _PLAIN)

    async def version(self, call: Call) -> Reply:
        """GET /version, as MLflow's scoring server has it; the version is this server's."""
        del call
        return Reply(200, self._version.encode(), _PLAIN)

    async def openapi(self, call: Call) -> Reply:
        """GET /openapi.json."""
        del call
        return json_reply(document(self._routes(), self._table, self._version))

    async def model_openapi(self, call: Call) -> Reply:
        """GET /v2/models/{name}[/versions/{version}]/openapi.json."""
        served = self._table.resolve(call.parameters["name"], parse_version(call.parameters.get("version")))
        plan = self._table.models[served.version.name].traffic
        return json_reply(model_document(self._routes(), served, call.parameters, self._version, plan))
