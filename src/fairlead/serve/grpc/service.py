"""The methods of the gRPC port: the Open Inference Protocol V2 with Triton's extensions, and the standard health service.

Takes calls with their messages; gives replies. Raises FairleadErrors, which the gate maps to statuses. Shared memory, trace and log
settings are not offered: their methods do not exist here, and are answered UNIMPLEMENTED as all others that do not.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fairlead.core.interface import TensorSpec, shorten
from fairlead.core.refusal import Refusal, unheard
from fairlead.errors import FairleadError, NotFoundError
from fairlead.serve.data_plane import DataPlane
from fairlead.serve.grpc.calls import Answer, Call, Kind, Method
from fairlead.serve.grpc.codec import decode, encode
from fairlead.serve.grpc.inference import Inference
from fairlead.serve.grpc.limits import GrpcLimits
from fairlead.serve.grpc.operations import RepositoryMethods
from fairlead.serve.http.routes import Permission
from fairlead.serve.http.v2 import parse_version
from fairlead.serve.repository import Repository

SERVICE = "inference.GRPCInferenceService"
HEALTH = "grpc.health.v1.Health"
_WATCH_S = 0.25  # how often a watched health is looked at


@dataclass(frozen=True)
class ServiceJob:
    """What the service is made of. `why_not_ready` gives "" while the server is ready; `version` and `extensions` are what server
    metadata says; `refused` is told of callers' mistakes.
    """

    plane: DataPlane
    repository: Repository
    limits: GrpcLimits
    version: str
    extensions: Sequence[str]
    why_not_ready: Callable[[], str]
    is_stopping: Callable[[], bool]
    refused: Callable[[Refusal], None] = unheard


class Service:
    """`methods` by path."""

    def __init__(self, job: ServiceJob) -> None:
        self._job = job
        self._table = job.plane.table
        inference, small = Inference(job.plane, job.limits, job.refused), job.limits.control_bytes

        def method(name: str, permission: Permission, answer: Answer) -> Method:
            return Method(f"/{SERVICE}/{name}", permission, answer, limit_bytes=small)

        repository = RepositoryMethods(job.repository)
        size = job.limits.message_bytes
        methods = (
            Method(f"/{SERVICE}/ModelInfer", Permission.INFER, inference.infer, limit_bytes=size),
            Method(f"/{SERVICE}/ModelStreamInfer", Permission.INFER, inference.infer_item, kind=Kind.EACH, limit_bytes=size),
            method("ServerLive", Permission.HEALTH, self._live),
            method("ServerReady", Permission.HEALTH, self._ready),
            method("ModelReady", Permission.VIEW, self._model_ready),
            method("ServerMetadata", Permission.VIEW, self._server),
            method("ModelMetadata", Permission.VIEW, self._metadata),
            method("ModelConfig", Permission.VIEW, repository.config),
            method("ModelStatistics", Permission.VIEW, repository.statistics),
            method("RepositoryIndex", Permission.VIEW, repository.index),
            method("RepositoryModelLoad", Permission.OPERATE, repository.load),
            method("RepositoryModelUnload", Permission.OPERATE, repository.unload),
            Method(f"/{HEALTH}/Check", Permission.HEALTH, self._check, limit_bytes=small),
            Method(f"/{HEALTH}/Watch", Permission.HEALTH, self._check, self._watch, limit_bytes=small),
        )
        self.methods: dict[bytes, Method] = {method.path.encode(): method for method in methods}

    async def _live(self, call: Call, content: bytes) -> bytes:
        del call
        decode("ServerLiveRequest", content)
        return encode("ServerLiveResponse", live=True)

    async def _ready(self, call: Call, content: bytes) -> bytes:
        del call
        decode("ServerReadyRequest", content)
        return encode("ServerReadyResponse", ready=not self._job.why_not_ready())

    async def _server(self, call: Call, content: bytes) -> bytes:
        del call
        decode("ServerMetadataRequest", content)
        return encode("ServerMetadataResponse", name="fairlead", version=self._job.version, extensions=self._job.extensions)

    async def _model_ready(self, call: Call, content: bytes) -> bytes:
        """As Triton says it: a model that is not there is not ready, which is no error."""
        del call
        message = decode("ModelReadyRequest", content)
        try:
            served = self._table.resolve(message.name, parse_version(message.version or None))
        except FairleadError:
            return encode("ModelReadyResponse", ready=False)
        return encode("ModelReadyResponse", ready=served.is_ready)

    async def _metadata(self, call: Call, content: bytes) -> bytes:
        """`properties` stays empty: MLServer's client has another type in its place."""
        del call
        message = decode("ModelMetadataRequest", content)
        served = self._table.resolve(message.name, parse_version(message.version or None))
        interface = served.interface
        return encode(
            "ModelMetadataResponse",
            name=served.version.name,
            versions=[str(number) for number in sorted(self._table.models[served.version.name].versions)],
            platform=served.platform,
            inputs=[_tensor_metadata(spec) for spec in interface.inputs],
            outputs=[_tensor_metadata(spec) for spec in interface.outputs],
        )

    async def _check(self, call: Call, content: bytes) -> bytes:
        del call
        return self._health(decode("HealthCheckRequest", content).service, is_watched=False)

    async def _watch(self, call: Call, content: bytes) -> AsyncIterator[bytes]:
        """The health now, and whenever it changes, until the server stops."""
        del call
        name = decode("HealthCheckRequest", content).service
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
            return encode("HealthCheckResponse", status="NOT_SERVING" if self._job.why_not_ready() else "SERVING")
        if name in self._table.models:
            return encode("HealthCheckResponse", status="SERVING" if self._table.is_ready(name) else "NOT_SERVING")
        if not is_watched:
            raise NotFoundError(f"There is no service '{shorten(name)}' here.")
        return encode("HealthCheckResponse", status="SERVICE_UNKNOWN")


def _tensor_metadata(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.dtype.value, "shape": [-1 if size is None else size for size in spec.shape]}
