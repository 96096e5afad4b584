"""The extensions of the V2 protocol that look at models and operate them: model_repository, model_configuration, statistics.

Takes routed calls; gives replies. Raises what the repository raises, RequestError for parameters that are not offered. Files are never
taken from a request: models come from the registry only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from fairlead.core.interface import shorten
from fairlead.errors import RequestError
from fairlead.serve.http.body import decode
from fairlead.serve.http.message import Reply, json_reply
from fairlead.serve.http.routes import Call
from fairlead.serve.http.v2 import parse_version

StatisticsSource = Callable[[str, int], object]


class Listed(Protocol):
    """One version in the repository's index."""

    @property
    def name(self) -> str:
        """The model."""
        ...

    @property
    def version(self) -> str:
        """Its number, "" where the model has none."""
        ...

    @property
    def state(self) -> str:
        """READY, LOADING, UNLOADING or UNAVAILABLE."""
        ...

    @property
    def reason(self) -> str:
        """Why it does not serve."""
        ...


class ModelRepository(Protocol):
    """What the handlers ask; see serve/repository.py."""

    def index(self, *, ready_only: bool = False) -> Sequence[Listed]:
        """Return every version that is known."""
        ...

    async def load(self, name: str, parameters: Mapping[str, Any]) -> None:
        """Load a model; returns when it serves."""
        ...

    async def unload(self, name: str, parameters: Mapping[str, Any]) -> None:
        """Stop serving a model."""
        ...

    def config(self, name: str, number: int | None) -> dict[str, Any]:
        """Return a model's configuration."""
        ...

    def statistics(self, name: str | None, number: int | None) -> list[dict[str, Any]]:
        """Return the statistics of one version, of all versions of a model, or of all that are loaded."""
        ...


class IndexRequest(msgspec.Struct):
    """What of the repository is asked for."""

    ready: bool | None = None


class OperateRequest(msgspec.Struct):
    """How a model is to be loaded or unloaded."""

    parameters: dict[str, str | int | float | bool | None] | None = None


_INDEX = msgspec.json.Decoder(IndexRequest)
_OPERATE = msgspec.json.Decoder(OperateRequest)


class RepositoryHandlers:
    """Handlers of /v2/repository..., .../config and .../stats."""

    def __init__(self, repository: ModelRepository) -> None:
        self._repository = repository

    async def index(self, call: Call) -> Reply:
        """POST /v2/repository/index."""
        is_ready_only = bool(decode(_INDEX, call.text).ready)
        found = self._repository.index(ready_only=is_ready_only)
        return json_reply([{"name": item.name, "version": item.version, "state": item.state, "reason": item.reason} for item in found])

    async def load(self, call: Call) -> Reply:
        """POST /v2/repository/models/{name}/load; the answer is KServe's."""
        name = call.parameters["name"]
        await self._repository.load(name, _parameters(call))
        return json_reply({"name": name, "load": True})

    async def unload(self, call: Call) -> Reply:
        """POST /v2/repository/models/{name}/unload; the answer is KServe's."""
        name = call.parameters["name"]
        await self._repository.unload(name, _parameters(call))
        return json_reply({"name": name, "unload": True})

    async def config(self, call: Call) -> Reply:
        """GET /v2/models/{name}[/versions/{version}]/config."""
        return json_reply(self._repository.config(call.parameters["name"], parse_version(call.parameters.get("version"))))

    async def statistics(self, call: Call) -> Reply:
        """GET /v2/models[/{name}[/versions/{version}]]/stats: of one version, of all of a model, or of all that are loaded."""
        number = parse_version(call.parameters.get("version"))
        return json_reply({"model_stats": self._repository.statistics(call.parameters.get("name"), number)})


def _parameters(call: Call) -> dict[str, Any]:
    parameters = decode(_OPERATE, call.text).parameters or {}
    for name in parameters:
        if name.startswith("file:"):
            raise RequestError(
                f"The parameter '{shorten(name)}' would put a file into the repository.", hint="Files are taken by 'fairlead deploy' only."
            )
    return {name: value for name, value in parameters.items() if value is not None}
