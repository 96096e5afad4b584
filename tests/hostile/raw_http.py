"""A small server, and bytes to send to it as no HTTP library would."""

from __future__ import annotations

import contextlib
import json
import resource
import socket
import time
from pathlib import Path

import numpy as np

from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, TensorSpec
from fairlead.core.manifest import Manifest
from fairlead.core.ports import LoadedModel
from fairlead.core.version import Version

PAIR = Interface((TensorSpec("x", DType.FP32, (None, 2)),), (TensorSpec("y", DType.FP32, (None, 2)),))
BODY = json.dumps({"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1.5, 2.0]}]}).encode()


class Doubling:
    """Doubles its input; a first number of 13 takes a while."""

    interface, description = PAIR, "doubling 1"

    def run(self, inputs, _outputs=()):
        if inputs["x"][0, 0] == 13:
            time.sleep(0.5)
        return {"y": inputs["x"] * np.float32(2)}

    def close(self) -> None:
        pass


class OneModel:
    """A registry with one model."""

    def aspired(self):
        return {"m": Version("m", 1, Manifest(()), 0.0)}

    def sequence(self):
        return 1

    def load(self, _version):
        return LoadedModel(Doubling())


def connect(server) -> socket.socket:
    port = int(server.url.rpartition(":")[2])
    return socket.create_connection(("127.0.0.1", port), timeout=10)


@contextlib.contextmanager
def many(server, count: int):
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(connect(server)) for _ in range(count)]


def post(body: bytes, *more: str, target: str = "/v2/models/m/infer", length: bool = True) -> bytes:
    lines = [
        f"POST {target} HTTP/1.1",
        "Host: x",
        "Content-Type: application/json",
        *([f"Content-Length: {len(body)}"] if length else []),
        *more,
    ]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def read_reply(stream) -> tuple[int, dict[str, str], bytes]:
    status = stream.readline()
    if not status:
        raise ConnectionError("closed without an answer")
    headers = {}
    while (line := stream.readline()) not in {b"\r\n", b""}:
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip()
    return int(status.split()[1]), headers, stream.read(int(headers.get("content-length", "0")))


def ask(server, raw: bytes) -> tuple[int, dict]:
    with connect(server) as link, link.makefile("rb") as stream:
        link.sendall(raw)
        status, _, body = read_reply(stream)
        return status, json.loads(body)


def chunked(parts: list[bytes]) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
