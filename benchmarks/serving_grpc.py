"""Requests per second over gRPC with raw tensors, against FastAPI by hand with JSON, and grpcio's own server with nothing behind it.

    python benchmarks/serving_grpc.py --baseline-python VENV/bin/python      (VENV: fastapi, uvicorn[standard], onnxruntime)

Server on core 0, client on core 1 (h2load for gRPC, wrk for JSON); the servers take turns, round by round; ratios are of medians. h2load
sees HTTP statuses only, so a call counts as failed where its answer is missing from the bytes that came; one answer is compared with ONNX
Runtime's beforehand.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime

from serving import CLIENT_CORE, HERE, Rate, cpu_s, limit, make_models, measure, running

METHOD = "/inference.GRPCInferenceService/ModelInfer"
IN_FLIGHT = 64
FORMS = {"one connection": (1, IN_FLIGHT), "64 connections": (IN_FLIGHT, 1)}
_GRPCIO = """
import asyncio, sys, uvloop
from grpc import GenericRpcHandler, aio, unary_unary_rpc_method_handler
class Handler(GenericRpcHandler):
    def service(self, details):
        return unary_unary_rpc_method_handler(answer)
async def answer(request, context):
    return b"x" * 60
async def main():
    server = aio.server()
    server.add_generic_rpc_handlers((Handler(),))
    server.add_insecure_port("127.0.0.1:" + sys.argv[1])
    await server.start()
    print("up", flush=True)
    await server.wait_for_termination()
uvloop.run(main())
"""


def raw_request(body: Path) -> bytes:
    """Return the JSON request in `body` as a gRPC frame with raw contents."""
    from fairlead.serve.grpc.schema import MESSAGES

    tensor = json.loads(body.read_text())["inputs"][0]
    message = MESSAGES["ModelInferRequest"](model_name="m")
    message.inputs.add(name=tensor["name"], datatype="FP32", shape=tensor["shape"])
    message.raw_input_contents.append(np.array(tensor["data"], "<f4").tobytes())
    content = message.SerializeToString()
    return struct.pack(">BI", 0, len(content)) + content


def check_answer(model: Path, body: Path, frame: bytes, port: int) -> int:
    """Compare one answer over gRPC with what ONNX Runtime gives; return how many bytes of DATA it is."""
    import grpc

    from fairlead.serve.grpc.schema import MESSAGES

    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        content = channel.unary_unary(METHOD)(frame[5:], timeout=10)
    answer = MESSAGES["ModelInferResponse"].FromString(content)
    tensor = json.loads(body.read_text())["inputs"][0]
    feeds = {tensor["name"]: np.array(tensor["data"], np.float32).reshape(tensor["shape"])}
    expected = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"]).run(None, feeds)
    for raw, wanted in zip(answer.raw_output_contents, expected, strict=True):
        np.testing.assert_allclose(np.frombuffer(raw, wanted.dtype).reshape(wanted.shape), wanted, rtol=1e-5)
    return len(content) + 5


def drive(pid: int, port: int, frame: Path, form: tuple[int, int], seconds: float, answer_bytes: int) -> Rate:
    """Drive a gRPC server with h2load from the client's core."""
    clients, streams = form
    command = ["h2load", "-p", "h2c", "-t1", f"-c{clients}", f"-m{streams}", "-D", f"{seconds:g}", "-d", str(frame)]
    command += ["-H", "content-type: application/grpc", "-H", "te: trailers", f"http://127.0.0.1:{port}{METHOD}"]
    before = cpu_s(pid)
    pinned = ["taskset", "-c", str(CLIENT_CORE), *command]
    output = subprocess.run(pinned, capture_output=True, text=True, check=True).stdout
    used = cpu_s(pid) - before
    done, good = (int(re.search(pattern, output)[1]) for pattern in (r"(\d+) done", r"(\d+) 2xx"))
    answered = int(re.search(r"\((\d+)\) data", output)[1]) // answer_bytes
    mean = re.search(r"time for request:\s+\S+\s+\S+\s+([\d.]+)(us|ms|s)", output)
    mean_us = float(mean[1]) * {"us": 1.0, "ms": 1e3, "s": 1e6}[mean[2]]
    return Rate(good / seconds, mean_us, used / max(good, 1) * 1e6, done - min(good, answered))


@contextlib.contextmanager
def grpcio_server(port: int) -> Iterator[int]:
    """Run grpcio's asyncio server, which answers sixty bytes and does nothing else."""
    process = subprocess.Popen(["taskset", "-c", "0", sys.executable, "-c", _GRPCIO, str(port)], stdout=subprocess.PIPE)
    try:
        process.stdout.readline()
        yield process.pid
    finally:
        process.terminate()
        process.wait(20)


def compare(arguments: argparse.Namespace) -> None:
    """Print the table."""
    wrk = arguments.wrk or shutil.which("wrk")
    print(f"{arguments.rounds} rounds of {arguments.seconds:g} s; medians: requests/s, processor time of the server per request\n")
    head = (
        "| model | fairlead, one connection | fairlead, 64 connections | FastAPI, JSON, 64 connections | ratios | grpcio, nothing behind it"
    )
    print(f"{head} | ONNX Runtime alone | failed |\n|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder, grpcio_server(9114) as grpcio_pid:
        for name, (model, body) in make_models(Path(folder)).items():
            frame = body.with_suffix(".frame")
            frame.write_bytes(raw_request(body))
            ours = [sys.executable, str(HERE / "serving.py"), "--serve", str(model), "--port", "9111", "--grpc-port", "9112"]
            uvicorn = ["-m", "uvicorn", "--no-access-log", "--log-level", "warning", "fastapi_baseline:app", "--port", "9113"]
            with contextlib.ExitStack() as stack:
                pid = stack.enter_context(running(ours, {}, 9111, body))
                baseline = [arguments.baseline_python, *uvicorn]
                baseline_pid = stack.enter_context(running(baseline, {"MODEL": str(model)}, 9113, body))
                size = check_answer(model, body, frame.read_bytes(), 9112)
                rates: dict[str, list[Rate]] = {key: [] for key in (*FORMS, "FastAPI", "grpcio")}
                for _ in range(arguments.rounds):
                    for key, form in FORMS.items():
                        rates[key].append(drive(pid, 9112, frame, form, arguments.seconds, size))
                    rates["FastAPI"].append(measure(wrk, baseline_pid, 9113, body, IN_FLIGHT, arguments.seconds))
                    rates["grpcio"].append(drive(grpcio_pid, 9114, frame, FORMS["one connection"], arguments.seconds, 65))
                failed = ", ".join(f"{key} {sum(rate.error_count for rate in rounds)}" for key, rounds in rates.items())
                print(_row(name, rates, limit(model, body, 1.0), failed), flush=True)


def _row(name: str, rates: dict[str, list[Rate]], alone: float, failed: str) -> str:
    speed = {key: statistics.median(rate.per_second for rate in rounds) for key, rounds in rates.items()}
    cpu = {key: statistics.median(rate.cpu_us for rate in rounds) for key, rounds in rates.items()}
    cells = {key: f"{speed[key]:,.0f}/s, {cpu[key]:,.0f} us" for key in rates}
    ratios = ", ".join(f"{speed[key] / speed['FastAPI']:.1f}" for key in FORMS)
    shown = " | ".join(cells[key] for key in (*FORMS, "FastAPI"))
    return f"| {name} | {shown} | {ratios} | {cells['grpcio']} | {alone:,.0f}/s | {failed} |"


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--baseline-python", required=True)
    parser.add_argument("--wrk", default="")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0)
    arguments = parser.parse_args()
    if shutil.which("h2load") is None:
        raise SystemExit("h2load is needed: the Debian package nghttp2-client.")
    compare(arguments)


if __name__ == "__main__":
    main()
