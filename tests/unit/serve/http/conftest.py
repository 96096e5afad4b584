"""An api over a model table, asked without a socket; a repository and statistics that are made up."""

from __future__ import annotations

import json
from types import SimpleNamespace

import msgspec
import pytest

from fairlead.core.interface import Interface, TensorSpec
from fairlead.errors import NotFoundError, UnavailableError
from fairlead.serve.data_plane import DataPlane
from fairlead.serve.http.api import Api, ApiJob
from fairlead.serve.http.limits import HttpLimits
from fairlead.serve.http.message import HttpRequest, Reply
from fairlead.serve.model_table import ModelTable


class Echo:
    """Gives each input back as the output of the same type."""

    description = "echo 1"

    def __init__(self, types, width: int = 2) -> None:
        inputs = tuple(TensorSpec(dtype.value.lower(), dtype, (None, width)) for dtype in types)
        outputs = tuple(TensorSpec(f"{dtype.value.lower()}_out", dtype, (None, width)) for dtype in types)
        self.interface = Interface(inputs, outputs)

    def run(self, inputs, outputs=()):
        return {f"{name}_out": tensor for name, tensor in inputs.items() if not outputs or f"{name}_out" in outputs}

    def close(self) -> None:
        pass


class FakeRepository:
    """Remembers what it was asked to do."""

    def __init__(self) -> None:
        self.done: list[tuple] = []
        self.error: Exception | None = None

    def index(self, *, ready_only: bool = False):
        rows = [("m", "3", "READY", ""), ("n", "1", "UNAVAILABLE", "corrupt")]
        keys = ("name", "version", "state", "reason")
        return tuple(SimpleNamespace(**dict(zip(keys, row, strict=True))) for row in rows if not ready_only or row[2] == "READY")

    async def load(self, name, parameters):
        if name == "none":
            raise NotFoundError("There is no model 'none'.")
        if name == "broken":
            raise UnavailableError("Version 1 of model 'broken' could not be loaded.")
        self.done.append(("load", name, parameters))

    async def unload(self, name, parameters):
        self.done.append(("unload", name, parameters))

    def config(self, name, number):
        if name != "m":
            raise NotFoundError("There is no model here.")
        return {"name": name, "max_batch_size": 8, "version": number}

    def statistics(self, name, number):
        return [{"name": name or "m", "version": str(number or 3)}]


class World:
    """An api and what it works with."""

    Echo = Echo

    def __init__(self, fakes, limits: HttpLimits | None = None) -> None:
        self.table, self.sink, self.said = ModelTable(), fakes.Sink(), []
        self.plane = DataPlane(self.table, self.sink, queue_limit=8)
        self.repository = FakeRepository()
        self.reason = ""
        job = ApiJob(
            self.plane,
            limits or HttpLimits(),
            "1.2.3",
            lambda: self.reason,
            self.said.append,
            repository=self.repository,
        )
        self.api = Api(job)
        self.fakes = fakes

    def load(self, name: str, number: int, engine) -> None:
        self.table.switch(self.fakes.served(self.fakes.version(name, number), engine), "production")

    async def send(self, method: str, target: str, body: bytes = b"", **headers: str) -> Reply:
        names = {key.replace("_", "-").encode(): value.encode() for key, value in headers.items()}
        return await self.api.handle(HttpRequest(method.encode(), target.encode(), names, body, request_id="rid"))

    async def ask(self, method: str, target: str, body: object = None, **headers: str):
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        reply = await self.send(method, target, raw, **headers)
        return reply.status, msgspec.json.decode(reply.body)

    async def ask_raw(self, target: str, head: object, *parts: bytes):
        """Send JSON and raw tensors behind it; return the status, the answer's JSON, and what stands behind that."""
        text = json.dumps(head).encode()
        reply = await self.send("POST", target, text + b"".join(parts), inference_header_content_length=str(len(text)))
        return divided(reply)


def divided(reply: Reply):
    """Return the status, the JSON and the bytes behind it of a reply."""
    sizes = [int(line.split(b": ")[1]) for line in reply.headers if line.startswith(b"inference-header-content-length")]
    size = sizes[0] if sizes else len(reply.body)
    return reply.status, msgspec.json.decode(reply.body[:size]), reply.body[size:]


@pytest.fixture
def make_world(fakes):
    return lambda **changes: World(fakes, **changes)


@pytest.fixture
def world(fakes) -> World:
    built = World(fakes)
    built.load("m", 3, fakes.Engine(2.0))
    return built
