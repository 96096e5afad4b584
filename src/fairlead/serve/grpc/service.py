"""The methods of the gRPC port: the Open Inference Protocol V2 with Triton's extensions, and the standard health service.

Takes calls with their messages; gives replies. Raises FairleadErrors, which the gate maps to statuses. Shared memory, trace and log
settings are not offered: their methods do not exist here, and are answered UNIMPLEMENTED as all others that do not.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from google.protobuf.json_format import ParseDict  # type: ignore[import-untyped]
from google.protobuf.message import DecodeError, Message  # type: ignore[import-untyped]

from fairlead.core.interface import TensorSpec, shorten
from fairlead.errors import FairleadError, NotFoundError, RequestError
from fairlead.serve.data_plane import DataPlane
from fairlead.serve.grpc.calls import Answer, Call, Kind, Method
from fairlead.serve.grpc.inference import Inference
from fairlead.serve.grpc.limits import GrpcLimits
from fairlead.serve.grpc.schema import HEALTH_MESSAGES, MESSAGES
from fairlead.serve.grpc.wire import broken, field
from fairlead.serve.http.routes import Permission
from fairlead.serve.http.v2 import parse_version

if TYPE_CHECKING:
    from fairlead.serve.repository import Repository

SERVICE = "inference.GRPCInferenceService"
HEALTH = "grpc.health.v1.Health"
EXTENSIONS = ("schedule_policy", "parameters", "model_repository", "model_configuration", "statistics", "binary_tensor_data")
_WATCH_S = 0.25  # how often a watched health is looked at


@dataclass(frozen=True)
class ServiceJob:
    """What the service is made of. `why_not_ready` gives "" while the server is ready; `version` is what server metadata says."""

    plane: DataPlane
    repository: Repository
    limits: GrpcLimits
    version: str
    why_not_ready: Callable[[], str]
    is_stopping: Callable[[], bool]


class Service:
    """`methods` by path."""

    def __init__(self, job: ServiceJob) -> None:
        self._job = job
        self._table = job.plane.table
        inference = Inference(job.plane, job.limits)
        health, view, infer, operate = Permission.HEALTH, Permission.VIEW, Permission.INFER, Permission.OPERATE
        size, small = job.limits.message_bytes, job.limits.control_bytes

        def v2(name: str, permission: Permission, answer: Answer) -> Method:
            return Method(f"/{SERVICE}/{name}", permission, answer, limit_bytes=small)

        methods = (
            Method(f"/{SERVICE}/ModelInfer", infer, inference.infer, limit_bytes=size),
            Method(f"/{SERVICE}/ModelStreamInfer", infer, inference.infer_item, kind=Kind.EACH, limit_bytes=size),
            v2("ServerLive", health, self._live),
            v2("ServerReady", health, self._ready),
            v2("ModelReady", view, self._model_ready),
            v2("ServerMetadata", view, self._server),
            v2("ModelMetadata", view, self._metadata),
            v2("ModelConfig", view, self._config),
            v2("ModelStatistics", view, self._statistics),
            v2("RepositoryIndex", view, self._index),
            v2("RepositoryModelLoad", operate, self._load),
            v2("RepositoryModelUnload", operate, self._unload),
            Method(f"/{HEALTH}/Check", health, self._check, limit_bytes=small),
            Method(f"/{HEALTH}/Watch", health, self._check, self._watch, limit_bytes=small),
        )
        self.methods: dict[bytes, Method] = {method.path.encode(): method for method in methods}

    async def _live(self, call: Call, content: bytes) -> bytes:
        del call
        _decode("ServerLiveRequest", content)
        return _encode("ServerLiveResponse", live=True)

    async def _ready(self, call: Call, content: bytes) -> bytes:
        del call
        _decode("ServerReadyRequest", content)
        return _encode("ServerReadyResponse", ready=not self._job.why_not_ready())

    async def _server(self, call: Call, content: bytes) -> bytes:
        del call
        _decode("ServerMetadataRequest", content)
        return _encode("ServerMetadataResponse", name="fairlead", version=self._job.version, extensions=EXTENSIONS)

    async def _model_ready(self, call: Call, content: bytes) -> bytes:
        """As Triton says it: a model that is not there is not ready, which is no error."""
        del call
        message = _decode("ModelReadyRequest", content)
        try:
            self._table.resolve(message.name, parse_version(message.version or None))
        except FairleadError:
            return _encode("ModelReadyResponse", ready=False)
        return _encode("ModelReadyResponse", ready=True)

    async def _metadata(self, call: Call, content: bytes) -> bytes:
        """`properties` stays empty: MLServer's client has another type in its place."""
        del call
        message = _decode("ModelMetadataRequest", content)
        served = self._table.resolve(message.name, parse_version(message.version or None))
        interface = served.interface
        return _encode(
            "ModelMetadataResponse",
            name=served.version.name,
            versions=[str(number) for number in sorted(self._table.models[served.version.name].versions)],
            platform=f"{served.executor.description.partition(' ')[0]}_onnx",
            inputs=[_tensor_metadata(spec) for spec in interface.inputs],
            outputs=[_tensor_metadata(spec) for spec in interface.outputs],
        )

    async def _config(self, call: Call, content: bytes) -> bytes:
        del call
        message = _decode("ModelConfigRequest", content)
        return _from_json(
            "ModelConfigResponse", {"config": self._job.repository.config(message.name, parse_version(message.version or None))}
        )

    async def _statistics(self, call: Call, content: bytes) -> bytes:
        del call
        message = _decode("ModelStatisticsRequest", content)
        found = self._job.repository.statistics(message.name or None, parse_version(message.version or None))
        return _from_json("ModelStatisticsResponse", {"model_stats": found})

    async def _index(self, call: Call, content: bytes) -> bytes:
        del call
        message = _decode("RepositoryIndexRequest", content)
        index = self._job.repository.index(ready_only=message.ready)
        models = [{"name": item.name, "version": item.version, "state": item.state, "reason": item.reason} for item in index]
        return _encode("RepositoryIndexResponse", models=models)

    async def _load(self, call: Call, content: bytes) -> bytes:
        del call
        message = _decode("RepositoryModelLoadRequest", content)
        name, answer = _target(message)
        await self._job.repository.load(name, _values(message.parameters))
        return answer

    async def _unload(self, call: Call, content: bytes) -> bytes:
        del call
        message = _decode("RepositoryModelUnloadRequest", content)
        name, answer = _target(message)
        await self._job.repository.unload(name, _values(message.parameters))
        return answer

    async def _check(self, call: Call, content: bytes) -> bytes:
        del call
        return self._health(_decode("HealthCheckRequest", content).service, is_watched=False)

    async def _watch(self, call: Call, content: bytes) -> AsyncIterator[bytes]:
        """The health now, and whenever it changes, until the server stops."""
        del call
        name = _decode("HealthCheckRequest", content).service
        said = b""
        while not self._job.is_stopping():
            health = self._health(name, is_watched=True)
            if health != said or not said:
                said = health
                yield health
            await asyncio.sleep(_WATCH_S)

    def _health(self, name: str, *, is_watched: bool) -> bytes:
        """A service's health: the server's, the protocol's, or a model's by its name."""
        if name in {"", SERVICE, HEALTH}:
            return _encode("HealthCheckResponse", status="NOT_SERVING" if self._job.why_not_ready() else "SERVING")
        if name in self._table.models:
            return _encode("HealthCheckResponse", status="SERVING" if self._table.is_ready(name) else "NOT_SERVING")
        if not is_watched:
            raise NotFoundError(f"There is no service '{shorten(name)}' here.")
        return _encode("HealthCheckResponse", status="SERVICE_UNKNOWN")


def _class(name: str) -> type[Message]:
    return MESSAGES.get(name) or HEALTH_MESSAGES[name]


def _decode(name: str, content: bytes) -> Any:
    try:
        return _class(name).FromString(content)
    except DecodeError:
        raise broken() from None


def _encode(kind: str, /, **fields: Any) -> bytes:
    content: bytes = _class(kind)(**fields).SerializeToString()
    return content


def _from_json(name: str, value: Mapping[str, Any]) -> bytes:
    message: Any = ParseDict(value, _class(name)(), ignore_unknown_fields=True)
    content: bytes = message.SerializeToString()
    return content


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
    return {name: getattr(item, item.WhichOneof("choice") or "string_param") for name, item in parameters.items()}


def _tensor_metadata(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.dtype.value, "shape": [-1 if size is None else size for size in spec.shape]}
