"""The methods that look at models and operate them: Triton's extensions model_repository, model_configuration and statistics.

Takes calls with their messages; gives replies. Raises what the repository raises, RequestError for parameters that are not offered. Files
are never taken from a request: models come from the registry only.
"""

from __future__ import annotations

from typing import Any

from fairlead.core.interface import shorten
from fairlead.errors import RequestError
from fairlead.serve.grpc.calls import Call
from fairlead.serve.grpc.codec import decode, encode, from_json
from fairlead.serve.grpc.wire import field
from fairlead.serve.http.v2 import parse_version
from fairlead.serve.repository import Repository


class RepositoryMethods:
    """Repository*, ModelConfig and ModelStatistics."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    async def config(self, call: Call, content: bytes) -> bytes:
        """ModelConfig: as far as it is true of what runs here."""
        del call
        message = decode("ModelConfigRequest", content)
        return from_json("ModelConfigResponse", {"config": self._repository.config(message.name, parse_version(message.version or None))})

    async def index(self, call: Call, content: bytes) -> bytes:
        """RepositoryIndex."""
        del call
        message = decode("RepositoryIndexRequest", content)
        index = self._repository.index(ready_only=message.ready)
        models = [{"name": item.name, "version": item.version, "state": item.state, "reason": item.reason} for item in index]
        return encode("RepositoryIndexResponse", models=models)

    async def load(self, call: Call, content: bytes) -> bytes:
        """RepositoryModelLoad; returns when the model serves."""
        del call
        message = decode("RepositoryModelLoadRequest", content)
        name, answer = _target(message)
        await self._repository.load(name, _values(message.parameters))
        return answer

    async def unload(self, call: Call, content: bytes) -> bytes:
        """RepositoryModelUnload."""
        del call
        message = decode("RepositoryModelUnloadRequest", content)
        name, answer = _target(message)
        await self._repository.unload(name, _values(message.parameters))
        return answer

    async def statistics(self, call: Call, content: bytes) -> bytes:
        """ModelStatistics: of one version, of all of a model, or of all that are loaded."""
        del call
        message = decode("ModelStatisticsRequest", content)
        found = self._repository.statistics(message.name or None, parse_version(message.version or None))
        return from_json("ModelStatisticsResponse", {"model_stats": found})


def _target(message: Any) -> tuple[str, bytes]:
    """Return the model that is to be loaded or unloaded, and the answer to that.

    KServe has the model's name where Triton has the repository's, and reads from the answer the name and that it was done.
    """
    if message.model_name:
        return message.model_name, b""
    if not message.repository_name:
        raise RequestError("The request names no model.")
    return message.repository_name, field(1, message.repository_name.encode()) + b"\x10\x01"


def _values(parameters: Any) -> dict[str, Any]:
    """Return ModelRepositoryParameters as plain values."""
    for name in parameters:
        if name.startswith("file:"):
            raise RequestError(
                f"The parameter '{shorten(name)}' would put a file into the repository.", hint="Files are taken by 'fairlead deploy' only."
            )
    return {name: getattr(item, item.WhichOneof("choice") or "string_param") for name, item in parameters.items()}
