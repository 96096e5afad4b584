"""Requests per second and latency of the server, against FastAPI by hand and against ONNX Runtime alone.

    python benchmarks/serving.py --baseline-python VENV/bin/python      (VENV: fastapi, uvicorn[standard], onnxruntime)

Server on core 0, client on core 1; the servers take turns, round by round; ratios are of medians. The client is wrk where it is on the
PATH (or --wrk), else the one in this file, which is slower than a fast server and says so by the number of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

HERE = Path(__file__).parent
SERVER_CORE, CLIENT_CORE = 0, 1
PATH = "/v2/models/m/infer"
_LUA = """
local f = io.open(os.getenv("BODY"), "rb"); wrk.body = f:read("*a"); f:close()
wrk.method = "POST"; wrk.headers["Content-Type"] = "application/json"
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("RESULT %f %f %d\\n", summary.requests / (summary.duration / 1e6), latency:percentile(50.0),
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""


@dataclass(frozen=True)
class Rate:
    """One round."""

    per_second: float
    median_us: float
    cpu_us: float
    error_count: int


def make_models(folder: Path) -> dict[str, tuple[Path, Path]]:
    """Write `tabular` (30 numbers, a scaler and 100 boosted trees) and `cnn` (28x28x1, random weights), each with a request."""
    return {"tabular": _tabular(folder), "cnn": _cnn(folder)}


def _tabular(folder: Path) -> tuple[Path, Path]:
    from skl2onnx import to_onnx
    from sklearn.datasets import load_breast_cancer
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows, target = load_breast_cancer(return_X_y=True)
    rows = rows.astype(np.float32)
    model = make_pipeline(StandardScaler(), GradientBoostingClassifier(random_state=0)).fit(rows, target)
    proto = to_onnx(model, rows[:1], options={"zipmap": False}, target_opset=17)
    return _write(folder, "tabular", proto, rows[:1])


def _cnn(folder: Path) -> tuple[Path, Path]:
    random = np.random.default_rng(0)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array((random.standard_normal(shape) * 0.05).astype(np.float32), name)

    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["t", "cw", "cb"], ["c"]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "w1", "b1"], ["g1"]),
        helper.make_node("Relu", ["g1"], ["r1"]),
        helper.make_node("Gemm", ["r1", "w2", "b2"], ["g2"]),
        helper.make_node("Softmax", ["g2"], ["y"]),
    ]
    weights = [
        weight("cw", 32, 1, 3, 3),
        weight("cb", 32),
        weight("w1", 5408, 64),
        weight("b1", 64),
        weight("w2", 64, 10),
        weight("b2", 10),
    ]
    takes = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 28, 28, 1])]
    gives = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 10])]
    graph = helper.make_graph(nodes, "cnn", takes, gives, weights)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return _write(folder, "cnn", proto, random.random((1, 28, 28, 1)).astype(np.float32))


def _write(folder: Path, name: str, proto: onnx.ModelProto, row: np.ndarray) -> tuple[Path, Path]:
    model, body = folder / f"{name}.onnx", folder / f"{name}.json"
    model.write_bytes(proto.SerializeToString())
    values = [float(f"{value:.6g}") for value in row.ravel()]
    tensor = {"name": proto.graph.input[0].name, "shape": list(row.shape), "datatype": "FP32", "data": values}
    body.write_text(json.dumps({"inputs": [tensor]}))
    return model, body


def serve_file(model: Path, port: int, grpc_port: int | None = None) -> None:
    """Serve one ONNX file as version 1 of `m`, with everything that `fairlead serve` has switched on."""
    from fairlead.core.golden import Golden
    from fairlead.core.interface import Interface
    from fairlead.core.manifest import Manifest
    from fairlead.core.ports import LoadedModel
    from fairlead.core.version import Version
    from fairlead.engines.onnxruntime_engine import OnnxRuntimeEngine, open_session, session_specs
    from fairlead.monitor.stage import WatchJob, watch
    from fairlead.serve.server import ServeJob
    from fairlead.serve.stage import serve

    interface = Interface(*session_specs(open_session(model, thread_count=1, optimization="all")))

    class OneFile:
        def aspired(self) -> dict[str, Version]:
            return {"m": Version("m", 1, Manifest(()), 0.0)}

        def sequence(self) -> int:
            return 1

        def load(self, version: Version) -> LoadedModel:
            del version
            engine = OnnxRuntimeEngine(model, interface)
            inputs = {
                spec.name: np.zeros([1 if size is None else size for size in spec.shape], spec.dtype.numpy) for spec in interface.inputs
            }
            return LoadedModel(engine, Golden(inputs, engine.run(inputs)), is_deterministic=True, is_batch_invariant=True)

    watcher = watch(WatchJob(lambda _name, _number: (), print))
    report = partial(print, file=sys.stderr)
    serve(ServeJob(OneFile(), port=port, grpc_port=grpc_port, sink=watcher, statistics=watcher.statistics, report=report))


@contextlib.contextmanager
def running(command: list[str], environment: dict[str, str], port: int, body: Path) -> Iterator[int]:
    """Run a server on its core until it answers; give its process id; stop it afterwards."""
    process = subprocess.Popen(["taskset", "-c", str(SERVER_CORE), *command], env=os.environ | environment, cwd=HERE)
    try:
        until = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(_request(port, body), timeout=5).read()  # noqa: S310 - its own loopback URL
                break
            except (urllib.error.URLError, ConnectionError):
                if time.monotonic() > until or process.poll() is not None:
                    raise
                time.sleep(0.1)
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def _request(port: int, body: Path) -> urllib.request.Request:
    headers = {"Content-Type": "application/json"}
    return urllib.request.Request(f"http://127.0.0.1:{port}{PATH}", data=body.read_bytes(), headers=headers)


def cpu_s(pid: int) -> float:
    """Processor time of a process so far; unlike its rate, it says something on a machine that does other things too."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(wrk: str | None, pid: int, port: int, body: Path, connections: int, seconds: float) -> Rate:
    """Drive one server from the client's core."""
    if wrk is None:
        command = [sys.executable, __file__, "--client", str(port), "--body", str(body), "--connections", str(connections)]
        command += ["--seconds", str(seconds)]
    else:
        script = body.with_suffix(".lua")
        script.write_text(_LUA)
        command = [wrk, "-t1", f"-c{connections}", f"-d{seconds:g}s", "-s", str(script), f"http://127.0.0.1:{port}{PATH}"]
    before = cpu_s(pid)
    pinned = ["taskset", "-c", str(CLIENT_CORE), *command]
    output = subprocess.run(pinned, capture_output=True, text=True, check=True, env=os.environ | {"BODY": str(body)}).stdout
    result = re.search(r"RESULT (\S+) (\S+) (\d+)", output)
    if result is None:
        raise SystemExit(f"The client said:\n{output}")
    rate = float(result[1])
    return Rate(rate, float(result[2]), (cpu_s(pid) - before) / (rate * seconds) * 1e6, int(result[3]))


class ClientProtocol(asyncio.Protocol):
    """A closed loop on one connection: the next request goes out when an answer is whole."""

    def __init__(self, request: bytes, times: list[float], errors: list[bytes]) -> None:
        self._request, self._times, self._errors = request, times, errors
        self._buffer = b""
        self._sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self._transport = transport
        self._send()

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self._request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        """Note how long a whole answer took; send the next request."""
        self._buffer += data
        head, end, rest = self._buffer.partition(b"\r\n\r\n")
        if not end:
            return
        size = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(rest) >= size:
            self._times.append(time.perf_counter() - self._sent)
            if b" 200 " not in head[:16]:
                self._errors.append(head)
            self._buffer = b""
            self._send()


async def drive(port: int, body: bytes, connections: int, seconds: float) -> None:
    """The client of this file; prints its RESULT."""
    head = f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    times: list[float] = []
    errors: list[bytes] = []
    loop = asyncio.get_running_loop()
    for _ in range(connections):
        await loop.create_connection(lambda: ClientProtocol(head.encode() + body, times, errors), "127.0.0.1", port)
    began = time.perf_counter()
    await asyncio.sleep(seconds)
    print(f"RESULT {len(times) / (time.perf_counter() - began)} {statistics.median(times) * 1e6} {len(errors)}")


def limit(model: Path, body: Path, seconds: float) -> float:
    """Return runs per second of ONNX Runtime in this process, one row, one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    tensor = json.loads(body.read_text())["inputs"][0]
    feeds = {tensor["name"]: np.array(tensor["data"], np.float32).reshape(tensor["shape"])}
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        session.run(None, feeds)
        count += 1
    return count / seconds


def compare(arguments: argparse.Namespace) -> None:
    """Print the table."""
    wrk = arguments.wrk or shutil.which("wrk")
    print(f"client: {wrk or 'built in'}; {arguments.rounds} rounds of {arguments.seconds:g} s; medians\n")
    print("Each server: requests/s, median latency, processor time per request. Ratios: of requests/s, and of processor time.\n")
    print("| model | connections | fairlead | FastAPI | ratios | ONNX Runtime alone | errors |\n|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name, (model, body) in make_models(Path(folder)).items():
            servers = {"fairlead": [sys.executable, str(HERE / "serving.py"), "--serve", str(model), "--port", "9101"]}
            if arguments.baseline_python:
                uvicorn = ["-m", "uvicorn", "--no-access-log", "--log-level", "warning", "fastapi_baseline:app", "--port", "9102"]
                servers["FastAPI"] = [arguments.baseline_python, *uvicorn]
            ports = {"fairlead": 9101, "FastAPI": 9102}
            with contextlib.ExitStack() as stack:
                pids = {
                    server: stack.enter_context(running(command, {"MODEL": str(model)}, ports[server], body))
                    for server, command in servers.items()
                }
                for connections in arguments.connections:
                    rates: dict[str, list[Rate]] = {server: [] for server in servers}
                    for _ in range(arguments.rounds):
                        for server in servers:
                            rates[server].append(measure(wrk, pids[server], ports[server], body, connections, arguments.seconds))
                    print(_row(name, connections, rates, limit(model, body, 1.0)), flush=True)


def _row(name: str, connections: int, rates: dict[str, list[Rate]], alone: float) -> str:
    median = {server: statistics.median(rate.per_second for rate in rounds) for server, rounds in rates.items()}
    delay = {server: statistics.median(rate.median_us for rate in rounds) for server, rounds in rates.items()}
    cpu = {server: statistics.median(rate.cpu_us for rate in rounds) for server, rounds in rates.items()}
    cells = [
        f"{median[server]:,.0f}/s, {delay[server]:,.0f} us, {cpu[server]:,.0f} us" if server in median else "-"
        for server in ("fairlead", "FastAPI")
    ]
    ratio = f"{median['fairlead'] / median['FastAPI']:.1f}, {cpu['FastAPI'] / cpu['fairlead']:.1f}" if "FastAPI" in median else "-"
    errors = ", ".join(f"{server} {sum(rate.error_count for rate in rounds)}" for server, rounds in rates.items())
    return f"| {name} | {connections} | {cells[0]} | {cells[1]} | {ratio} | {alone:,.0f}/s | {errors} |"


def main() -> None:
    """Parse the command line; this file is also the server and the client that it starts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--baseline-python", default="")
    parser.add_argument("--wrk", default="")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, default=9101, help=argparse.SUPPRESS)
    parser.add_argument("--grpc-port", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--client", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--body", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve_file(arguments.serve, arguments.port, arguments.grpc_port)
    elif arguments.client:
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(drive(arguments.client, arguments.body.read_bytes(), arguments.connections[0], arguments.seconds))
    else:
        compare(arguments)


if __name__ == "__main__":
    main()
