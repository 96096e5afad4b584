"""The figures of `fairlead bench` beside those of wrk (HTTP) and h2load (gRPC), closed loops against the same server in turns.

    python benchmarks/bench_check.py            (Debian: apt install wrk nghttp2-client)

Server on core 0, client on core 1. Median of the rounds; wrk and h2load are written in C, so a server that is faster than a Python client
shows here as a lower rate, and `fairlead bench` then says that it was the bottleneck itself.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from fairlead.probe.grpc_messages import infer_request, make
from fairlead.probe.http_client import HttpClient
from fairlead.probe.model_facts import describe_model
from fairlead.probe.tensors import valid_inputs
from serving import CLIENT_CORE, HERE, make_models, measure, running
from serving_grpc import drive

PORT, GRPC_PORT = 9101, 9111
CASES = {"HTTP, 1 connection": ("http", 1), "HTTP, 64 connections": ("http", 64), "gRPC, 64 in flight on 2": ("grpc", 64)}


def ours(protocol: str, concurrency: int, seconds: float) -> tuple[float, float, float, list[str]]:
    """Return what `fairlead bench` says: requests per second, median and client's time per request (us), what limited the client."""
    command = [sys.executable, "-m", "fairlead", "bench", f"http://127.0.0.1:{PORT}", "--concurrency", str(concurrency), "--json"]
    command += ["--duration", str(seconds), "--warm-up", "0.3", "--protocol", protocol, "--grpc", f"127.0.0.1:{GRPC_PORT}"]
    done = subprocess.run(["taskset", "-c", str(CLIENT_CORE), *command], capture_output=True, text=True, check=True)
    result = json.loads(done.stdout)["result"]
    if result["wrong_count"] or result["errors"]:
        raise SystemExit(f"wrong answers: {result}")
    rate = result["answers_per_s"]
    return rate, result["percentiles_ms"]["p50"] * 1000, result["client_cpu_share"] / rate * 1e6, result["client_limits"]


def frame_of(folder: Path) -> tuple[Path, int]:
    """Write one gRPC frame for h2load, and return how many bytes its answer has."""
    model = describe_model(HttpClient(f"http://127.0.0.1:{PORT}"), "m")
    message = infer_request("m", valid_inputs(model.inputs)).SerializeToString()
    frame = folder / "frame"
    frame.write_bytes(b"\0" + len(message).to_bytes(4) + message)
    return frame, 5 + len(make("ServerLiveResponse").SerializeToString())


def compare(rounds: int, seconds: float) -> None:
    """Print the table."""
    print(
        "| case | wrk, h2load: requests/s | `fairlead bench` | ratio | p50 wrk, us | p50 ours, us | client |\n|---|---|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as folder:
        model, body = make_models(Path(folder))["tabular"]
        server = [sys.executable, str(HERE / "serving.py"), "--serve", str(model), "--port", str(PORT), "--grpc-port", str(GRPC_PORT)]
        with running(server, {}, PORT, body) as pid:
            frame, answer_bytes = frame_of(Path(folder))
            for name, (protocol, concurrency) in CASES.items():
                theirs, own = [], []
                for _ in range(rounds):
                    if protocol == "http":
                        theirs.append(measure(shutil.which("wrk"), pid, PORT, body, concurrency, seconds))
                    else:
                        theirs.append(drive(pid, GRPC_PORT, frame, (2, concurrency // 2), seconds, answer_bytes))
                    own.append(ours(protocol, concurrency, seconds))
                their_rate = statistics.median(rate.per_second for rate in theirs)
                our_rate, median, cpu = (statistics.median(column) for column in list(zip(*own, strict=True))[:3])
                p50 = f"{statistics.median(rate.median_us for rate in theirs):,.0f}" if protocol == "http" else "-"
                limit = ", the bottleneck" if any(limits for *_, limits in own) else ""
                ratio = f"{our_rate / their_rate:.2f}"
                print(f"| {name} | {their_rate:,.0f} | {our_rate:,.0f} | {ratio} | {p50} | {median:,.0f} | {cpu:.0f} us a request{limit} |")


def main() -> None:
    """Parse and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    arguments = parser.parse_args()
    missing = [name for name in ("wrk", "h2load") if shutil.which(name) is None]
    if missing:
        raise SystemExit(f"{' and '.join(missing)} are needed: the Debian packages wrk and nghttp2-client.")
    compare(arguments.rounds, arguments.seconds)


if __name__ == "__main__":
    main()
