"""A registry with a model whose version n multiplies by n, a server process for it, and clients that check every answer.

Takes a folder; gives a home, a running server, clients in threads. A client's answer counts only if it names its version and is bit for bit
what that version computes from numbers that nobody else sends, so an answer of another version or to somebody else is noticed.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import re
import subprocess
import sys
import threading
import time
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import fairlead

NAME = "m"
# What is served is proven as always, but how fast it is is not what this is about.
_QUICK = {"FAIRLEAD_ENGINES": "onnxruntime", "FAIRLEAD_VERIFY_CALL_COUNT": "20", "FAIRLEAD_VERIFY_TIME_S": "0.05"}
_BASE = itertools.count(1)


def write_multiplier(path: Path, factor: float, *, weight_bytes: int = 0) -> Path:
    """Write y = x * factor; with that many bytes of weights that add nothing."""
    nodes = [helper.make_node("Mul", ["x", "w"], ["y0"])]
    weights = [numpy_helper.from_array(np.array([factor], np.float32), "w")]
    if weight_bytes:
        filling = np.random.default_rng(0).normal(size=weight_bytes // 4).astype(np.float32)
        weights.append(numpy_helper.from_array(filling, "filling"))
        weights.append(numpy_helper.from_array(np.array([0.0], np.float32), "zero"))
        nodes += [
            helper.make_node("Add", ["filling", "x0"], ["sum"]),
            helper.make_node("ReduceMax", ["sum"], ["largest"], keepdims=0),
            helper.make_node("Mul", ["largest", "zero"], ["nothing"]),
            helper.make_node("Add", ["y0", "nothing"], ["y"]),
        ]
        nodes.insert(0, helper.make_node("ReduceMin", ["x"], ["x0"], keepdims=0))
    else:
        nodes.append(helper.make_node("Identity", ["y0"], ["y"]))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 2]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "multiplier", ends[:1], ends[1:], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def make_home(folder: Path, count: int, *, name: str = NAME, weight_bytes: int = 0) -> Path:
    """Deploy versions 1 to `count`; the last one is in production."""
    os.environ |= {name: value for name, value in _QUICK.items() if name not in os.environ}
    home = folder / "home"
    for number in range(1, count + 1):
        path = write_multiplier(folder / f"{name}-{number}.onnx", number, weight_bytes=weight_bytes)
        version = fairlead.deploy(path, name=name, home=home).version
        if version.number != number:
            raise SystemExit(f"expected version {number}, the registry made {version.number}")
    return home


@dataclass
class ServerProcess:
    """A running `fairlead serve`."""

    process: subprocess.Popen[str]
    port: int
    grpc_address: str
    said: list[str]

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, object]:
        """Return status and JSON body."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as link:
            link.request(method, path, None if body is None else json.dumps(body))
            reply = link.getresponse()
            return reply.status, json.loads(reply.read())

    def resident_bytes(self) -> int:
        """Return the resident memory of the server."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def leavings(self) -> dict[str, int]:
        """Return how many descriptors, threads and children the server has."""
        folder = Path(f"/proc/{self.process.pid}")
        children = (folder / "task" / str(self.process.pid) / "children").read_text().split()
        return {
            "descriptors": len(list((folder / "fd").iterdir())),
            "threads": len(list((folder / "task").iterdir())),
            "children": len(children),
        }


@contextlib.contextmanager
def served(home: Path, *options: str, environment: dict[str, str] | None = None) -> Iterator[ServerProcess]:
    """Run a server until the block ends; it has to stop cleanly then."""
    command = [sys.executable, "-m", "fairlead", "serve", "--home", str(home), "--port", "0", "--grpc-port", "0", *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **(environment or {})})
    said: list[str] = []
    reader = threading.Thread(target=lambda: said.extend(iter(process.stderr.readline, "")))
    reader.start()
    try:
        server = ServerProcess(process, 0, "", said)
        until = time.monotonic() + 60
        while not (server.port and server.grpc_address and server.ask("GET", "/v2/health/ready")[0] == 200):
            if process.poll() is not None or time.monotonic() > until:
                raise SystemExit("the server did not become ready:\n" + "".join(said))
            text = "".join(said)
            http_at, grpc_at = re.search(r"http://127\.0\.0\.1:(\d+)", text), re.search(r"gRPC is spoken on (\S+:\d+)", text)
            server.port, server.grpc_address = int(http_at[1]) if http_at else 0, grpc_at[1] if grpc_at else ""
            time.sleep(0.05)
        yield server
        process.terminate()
        if process.wait(30) != 0:
            raise SystemExit(f"the server ended with {process.returncode}:\n{''.join(said)}")
    finally:
        process.kill()
        process.wait()
        reader.join()
        process.stderr.close()


class Client(threading.Thread):
    """Asks in a closed loop until told to stop. `started` and `versions` have an entry per answer, `problems` what went wrong."""

    def __init__(self, server: ServerProcess, until: threading.Event) -> None:
        super().__init__(daemon=True)
        self.server, self.until, self.base = server, until, float(next(_BASE)) * 4096.0
        self.started, self.versions = array("d"), array("B")
        self.problems: list[str] = []

    def run(self) -> None:
        """Ask until told to stop."""
        ask = self.connect()
        for count in itertools.count():
            if self.until.is_set():
                return
            value = np.float32(self.base + count % 4096)
            began = time.monotonic()
            try:
                version, answer = ask(value)
            except Exception as error:  # noqa: BLE001 - whatever happened, this request was lost
                self.problems.append(repr(error))
                ask = self.connect()
                continue
            if answer != [float(value * np.float32(version)), float(version)]:
                self.problems.append(f"version {version} answered {answer} to {value}")
            self.started.append(began)
            self.versions.append(version)

    def connect(self):
        """Return a function that asks once."""
        raise NotImplementedError


class RestClient(Client):
    """JSON over one kept connection."""

    def connect(self):
        """Return a function that asks once."""
        link = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)

        def ask(value: np.float32) -> tuple[int, list[float]]:
            body = f'{{"inputs":[{{"name":"x","shape":[1,2],"datatype":"FP32","data":[{value},1.0]}}]}}'
            link.request("POST", f"/v2/models/{NAME}/infer", body)
            reply = link.getresponse()
            answer = json.loads(reply.read())
            if reply.status != 200:
                raise RuntimeError(f"{reply.status}: {answer}")
            return int(answer["model_version"]), answer["outputs"][0]["data"]

        return ask


class GrpcClient(Client):
    """Raw tensors over one channel, by grpcio."""

    def connect(self):
        """Return a function that asks once."""
        from fairlead.probe.grpc_client import GrpcClient as Probe  # grpcio only where it is asked for
        from fairlead.probe.grpc_messages import make

        probe = Probe(self.server.grpc_address, timeout_s=60)

        def ask(value: np.float32) -> tuple[int, list[float]]:
            tensor = make("InferTensor", name="x", datatype="FP32", shape=[1, 2])
            raw = np.array([value, 1.0], np.float32).tobytes()
            call = probe.call("ModelInfer", make("ModelInferRequest", model_name=NAME, inputs=[tensor], raw_input_contents=[raw]))
            if call.status != "OK":
                raise RuntimeError(call.came)
            return int(call.message.model_version), np.frombuffer(call.message.raw_output_contents[0], np.float32).tolist()

        return ask


def answered(clients: Sequence[Client]) -> int:
    """Return how many answers there were so far."""
    return sum(len(client.versions) for client in clients)
