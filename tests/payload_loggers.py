"""What payload loggers put on the wire, header for header, and a collector to send it to.

KServe: pkg/logger/worker.go at aaac4e2 (v0.20), whose Go client writes canonical header names in alphabetical order. Seldon Core 1:
executor/logger/worker.go at master, whose SDK adds the time of sending.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

from fairlead.app.collector import Collection, CollectRequest, collect_until
from fairlead.app.wiring import House

_IDS = itertools.count(1)


def stamp(at: float) -> str:
    """Return a time as Go writes RFC 3339 with nanoseconds."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "123Z"


def post(headers: dict[str, str], body: bytes) -> bytes:
    lines = {"Host": "collector:8090", "User-Agent": "Go-http-client/1.1", "Content-Length": str(len(body)), **headers}
    return "".join(["POST / HTTP/1.1\r\n", *(f"{name}: {value}\r\n" for name, value in lines.items()), "\r\n"]).encode() + body


def kserve(kind: str, request_id: str, payload: Any, *, at: float, service: str = "sklearn-iris", **more: str) -> bytes:
    """Return what KServe's agent sends; `kind` is request or response."""
    metadata = {"X-Customer": ["a b"]}
    headers = {
        "Ce-Component": more.get("component", "predictor"),
        "Ce-Endpoint": more.get("endpoint", "default"),
        "Ce-Id": request_id,
        "Ce-Inferenceservicename": service,
        "Ce-Metadata": quote(json.dumps(metadata), safe="{}[]:,"),
        "Ce-Namespace": more.get("namespace", "shop"),
        "Ce-Recordedtime": stamp(at + 0.001),
        "Ce-Source": f"{service}-predictor-5b9c7d7f8-x2x7k",
        "Ce-Specversion": "1.0",
        "Ce-Time": stamp(at),
        "Ce-Type": f"org.kubeflow.serving.inference.{kind}",
        "Content-Type": "application/json",
        "Traceparent": "00-9c7cc210d352f7b68be6422c1b4b78f4-b49edd5ad25552ae-00",
        "Accept-Encoding": "gzip",
    }
    if "annotations" in more:
        headers |= {"Ce-Annotations": quote(more["annotations"], safe="{}[]:,")}
    return post(headers, payload if isinstance(payload, bytes) else json.dumps(payload).encode())


def seldon(kind: str, request_id: str, payload: Any, *, at: float, deployment: str = "model-logs", node: str = "classifier") -> bytes:
    """Return what Seldon Core 1's executor sends; `kind` is inference.request, inference.response or feedback."""
    headers = {
        "Ce-Endpoint": "logging",
        "Ce-Id": f"event-{next(_IDS)}",  # each has its own: the request's is another attribute
        "Ce-Inferenceservicename": deployment,
        "Ce-Modelid": node,
        "Ce-Namespace": "seldon",
        "Ce-Protocol": "seldon",
        "Ce-Requestid": request_id,
        "Ce-Source": "http://:8000/",
        "Ce-Specversion": "1.0",
        "Ce-Time": stamp(at),
        "Ce-Type": f"io.seldon.serving.{kind}",
        "Content-Type": "application/json",
        "Accept-Encoding": "gzip",
    }
    return post(headers, payload if isinstance(payload, bytes) else json.dumps(payload).encode())


def read_reply(stream: Any) -> SimpleNamespace:
    """Return one reply: status, headers by lower-case name, body."""
    status = int(stream.readline().split()[1])
    headers: dict[str, str] = {}
    while (line := stream.readline().strip()) != b"":
        name, _, value = line.decode().partition(":")
        headers[name.lower()] = value.strip()
    return SimpleNamespace(status=status, headers=headers, body=stream.read(int(headers["content-length"])))


class Collecting:
    """A collector in a thread; `stop` returns what was collected."""

    def __init__(self, request: CollectRequest, house: House) -> None:
        self.told: list[str] = []
        self.url = ""
        self._found: list[Collection] = []
        self._error: BaseException | None = None
        self._started = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._asked: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._main, args=(request, house))
        self._thread.start()
        self._started.wait(60)
        if self._error is not None:
            self._thread.join()
            raise self._error

    def _main(self, request: CollectRequest, house: House) -> None:
        async def run() -> None:
            self._loop, self._asked = asyncio.get_running_loop(), asyncio.Event()
            self._found.append(await collect_until(self._asked, request, house, on_listening=self._listening, report=self.told.append))

        try:
            asyncio.run(run())
        except BaseException as error:  # noqa: BLE001 - it belongs to the thread that started this one
            self._error = error
        finally:
            self._started.set()

    def _listening(self, listening: Any) -> None:
        self.url = listening.url
        self._started.set()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", int(self.url.rpartition(":")[2])), timeout=60)

    def send(self, *raw: bytes) -> list[SimpleNamespace]:
        """Send requests over one connection and return the replies."""
        found = []
        with self.connect() as link, link.makefile("rb") as stream:
            for one in raw:
                link.sendall(one)
                found.append(read_reply(stream))
        return found

    def get(self, path: str) -> SimpleNamespace:
        return self.send(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())[0]

    def counts(self) -> dict[str, dict[str, int]]:
        return json.loads(self.get("/").body)["counts"]

    def stop(self) -> Collection:
        if self._thread.is_alive() and self._loop is not None and self._asked is not None:
            self._loop.call_soon_threadsafe(self._asked.set)
        self._thread.join(60)
        return self._found[0]


@contextmanager
def collecting(house: House, *sources: str, **changes: Any) -> Iterator[Collecting]:
    running = Collecting(CollectRequest(sources, port=0, **changes), house)
    try:
        yield running
    finally:
        running.stop()
