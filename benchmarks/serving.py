"""Requests per second and latency of the server, JSON and raw tensors, against FastAPI by hand and against ONNX Runtime alone.

    python benchmarks/serving.py --baseline-python VENV/bin/python      (VENV: fastapi, uvicorn[standard], onnxruntime)

Server on core 0, client on core 1; the servers and the bare runtime take turns, round by round; ratios are of medians. The client is wrk
where it is on the PATH (or --wrk), else the one in this file, which is slower than a fast server and says so by the number of its own.
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
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

HERE = Path(__file__).parent
SERVER_CORE, CLIENT_CORE = 0, 1
_PORTS = {"fairlead": 9101, "FastAPI": 9102}
PATH = "/v2/models/m/infer"
_LUA = """
local f = io.open(os.getenv("BODY"), "rb"); wrk.body = f:read("*a"); f:close()
wrk.method = "POST"; wrk.headers["Content-Type"] = "application/json"
if os.getenv("HEAD") ~= "" then
  wrk.headers["Content-Type"] = "application/octet-stream"; wrk.headers["Inference-Header-Content-Length"] = os.getenv("HEAD")
end
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
    raw = row.astype("<f4").tobytes()
    tensor = {"name": tensor["name"], "shape": tensor["shape"], "datatype": "FP32", "parameters": {"binary_data_size": len(raw)}}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    (folder / f"{name}.{len(head)}.raw").write_bytes(head + raw)
    return model, body


def raw_body(body: Path) -> Path:
    """Return the same request as raw tensors; its name says where its JSON ends."""
    return next(body.parent.glob(f"{body.stem}.*.raw"))


def headers_of(body: Path) -> dict[str, str]:
    """Return the headers that a request's body needs."""
    if body.suffix == ".json":
        return {"Content-Type": "application/json"}
    return {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": body.suffixes[-2][1:]}


def serve_file(model: Path, port: int, grpc_port: int | None = None) -> None:
    """Serve one ONNX file as version 1 of `m`, with everything that `fairlead serve` has switched on."""
    from fairlead.core.dtype import DType
    from fairlead.core.golden import Golden
    from fairlead.core.interface import Interface
    from fairlead.core.manifest import Manifest
    from fairlead.core.ports import LoadedModel
    from fairlead.core.version import Version
    from fairlead.engines.machine import usable_cores
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
            shapes = {spec: [1 if size is None else size for size in spec.shape] for spec in interface.inputs}
            inputs = {spec.name: np.full(shape, "" if spec.dtype is DType.BYTES else 0, spec.dtype.numpy) for spec, shape in shapes.items()}
            return LoadedModel(engine, Golden(inputs, engine.run(inputs)), is_deterministic=True, is_batch_invariant=True)

    watcher = watch(WatchJob(lambda _name, _number: (), print))
    report = partial(print, file=sys.stderr)
    job = ServeJob(OneFile(), port=port, grpc_port=grpc_port, thread_count=usable_cores(), sink=watcher, statistics=watcher.statistics)
    serve(replace(job, report=report))


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
    return urllib.request.Request(f"http://127.0.0.1:{port}{PATH}", data=body.read_bytes(), headers=headers_of(body))


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
    environment = os.environ | {"BODY": str(body), "HEAD": headers_of(body).get("Inference-Header-Content-Length", "")}
    output = subprocess.run(pinned, capture_output=True, text=True, check=True, env=environment).stdout
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


async def drive(port: int, path: Path, connections: int, seconds: float) -> None:
    """The client of this file; prints its RESULT."""
    body = path.read_bytes()  # noqa: ASYNC240 - before anything runs
    lines = [f"POST {PATH} HTTP/1.1", "Host: 127.0.0.1", *(f"{name}: {value}" for name, value in headers_of(path).items())]
    head = "\r\n".join([*lines, f"Content-Length: {len(body)}"]) + "\r\n\r\n"
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
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {SERVER_CORE})  # where the servers run
    tensor = json.loads(body.read_text())["inputs"][0]
    feeds = {tensor["name"]: np.array(tensor["data"], np.float32).reshape(tensor["shape"])}
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        session.run(None, feeds)
        count += 1
    os.sched_setaffinity(0, cores)
    return count / seconds


def compare(arguments: argparse.Namespace) -> None:
    """Print the table."""
    wrk = arguments.wrk or shutil.which("wrk")
    print(f"client: {wrk or 'built in'}; {arguments.rounds} rounds of {arguments.seconds:g} s; medians\n")
    print("Each server: requests/s, median latency, processor time per request. Ratios to FastAPI: of requests/s, and of processor time.\n")
    print("| request | connections | fairlead | FastAPI, JSON | ratios | ONNX Runtime alone | share of it | errors |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name, (model, body) in make_models(Path(folder)).items():
            servers = {"fairlead": [sys.executable, str(HERE / "serving.py"), "--serve", str(model), "--port", "9101"]}
            if arguments.baseline_python:
                uvicorn = ["-m", "uvicorn", "--no-access-log", "--log-level", "warning", "fastapi_baseline:app", "--port", "9102"]
                servers["FastAPI"] = [arguments.baseline_python, *uvicorn]
            with contextlib.ExitStack() as stack:
                pids = {
                    server: stack.enter_context(running(command, {"MODEL": str(model)}, _PORTS[server], body))
                    for server, command in servers.items()
                }
                check(_PORTS["fairlead"], model, body)
                for connections in arguments.connections:
                    take_turns(name, model, body, pids, wrk, connections, arguments)
                check(_PORTS["fairlead"], model, body)


def take_turns(
    name: str, model: Path, body: Path, pids: dict[str, int], wrk: str | None, connections: int, arguments: argparse.Namespace
) -> None:
    """Measure JSON with both, raw tensors with ours, and the bare runtime, round by round; print their rows."""
    asked = {(server, "JSON"): body for server in pids} | {("fairlead", "raw tensor"): raw_body(body)}
    rates: dict[tuple[str, str], list[Rate]] = {key: [] for key in asked}
    alone: list[float] = []
    for _ in range(arguments.rounds):
        for key, path in asked.items():
            rates[key].append(measure(wrk, pids[key[0]], _PORTS[key[0]], path, connections, arguments.seconds))
        alone.append(limit(model, body, 0.5))
    baseline = rates.get(("FastAPI", "JSON"))
    for kind in ("JSON", "raw tensor"):
        print(_row(f"{name}, {kind}", connections, rates["fairlead", kind], baseline, statistics.median(alone)), flush=True)


def check(port: int, model: Path, body: Path) -> None:
    """Stop unless the server answers what the bare runtime does, as JSON and as raw tensors."""
    tensor = json.loads(body.read_text())["inputs"][0]
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    expected = session.run(None, {tensor["name"]: np.array(tensor["data"], np.float32).reshape(tensor["shape"])})[-1]
    with urllib.request.urlopen(_request(port, body), timeout=5) as reply:  # noqa: S310 - its own loopback URL
        plain = np.array(json.loads(reply.read())["outputs"][-1]["data"], np.float32)
    with urllib.request.urlopen(_request(port, raw_body(body)), timeout=5) as reply:  # noqa: S310 - its own loopback URL
        raw = np.frombuffer(reply.read()[-expected.nbytes :], "<f4")
    if not (np.allclose(plain, expected.ravel(), atol=1e-4) and np.allclose(raw, expected.ravel(), atol=1e-4)):
        raise SystemExit(f"The server's answers are wrong: {plain} and {raw} instead of {expected}.")


def _row(name: str, connections: int, ours: list[Rate], theirs: list[Rate] | None, alone: float) -> str:
    rate, delay, cpu = (statistics.median(values) for values in zip(*((r.per_second, r.median_us, r.cpu_us) for r in ours), strict=True))
    baseline, ratios = "-", "-"
    errors = sum(one.error_count for one in ours)
    if theirs:
        other, wait, work = (
            statistics.median(values) for values in zip(*((r.per_second, r.median_us, r.cpu_us) for r in theirs), strict=True)
        )
        baseline = f"{other:,.0f}/s, {wait:,.0f} us, {work:,.0f} us"
        ratios = f"{rate / other:.1f}, {work / cpu:.1f}"
        errors += sum(one.error_count for one in theirs)
    cells = [
        name,
        str(connections),
        f"{rate:,.0f}/s, {delay:,.0f} us, {cpu:,.0f} us",
        baseline,
        ratios,
        f"{alone:,.0f}/s",
        f"{rate / alone:.2f}",
    ]
    return f"| {' | '.join(cells)} | {errors} |"


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
            runner.run(drive(arguments.client, arguments.body, arguments.connections[0], arguments.seconds))
    else:
        compare(arguments)


if __name__ == "__main__":
    main()
