"""How long small requests wait while large JSON bodies come: one client asks for one row again and again, another sends megabytes.

    python benchmarks/serving_large.py                  (--mib 1 16 63; --nested: rows as lists of their own)

Server on core 0, clients on core 1. The model is `tabular` of serving.py. Prints percentiles of the small requests' times without and with
the large ones, and how long a large one takes. Every answer is checked for its status, the large ones for their number of rows, too.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import socket
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import serving

PORT = 9131
_COLUMNS = 30


def ask(peer: socket.socket, request: bytes) -> bytes:
    """Send a request and return the body of its answer."""
    peer.sendall(request)
    data = bytearray()
    while b"\r\n\r\n" not in data:
        data += peer.recv(2**16)
    head, _, rest = bytes(data).partition(b"\r\n\r\n")
    if b" 200 " not in head[:16]:
        raise SystemExit(f"The server answered {head[:200]!r} {rest[:200]!r}")
    size = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
    body = bytearray(rest)
    while len(body) < size:
        body += peer.recv(2**20)
    return bytes(body)


def message(body: bytes) -> bytes:
    """Return a whole request."""
    head = f"POST {serving.PATH} HTTP/1.1\r\nHost: l\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def large_body(mib: int, name: str, *, is_nested: bool) -> tuple[bytes, int]:
    """Return a body of that many MiB and the number of its rows."""
    row = [float(f"{value:.6g}") for value in np.random.default_rng(0).random(_COLUMNS)]
    text = json.dumps(row) if is_nested else json.dumps(row)[1:-1]
    count = mib * 2**20 // (len(text) + 2)
    data = ", ".join([text] * count)
    return f'{{"inputs": [{{"name": "{name}", "shape": [{count}, {_COLUMNS}], "datatype": "FP32", "data": [{data}]}}]}}'.encode(), count


def send_large(body: bytes, row_count: int, seconds: float, times: multiprocessing.Queue[list[float]]) -> None:
    """Send the large request again and again; put its times."""
    os.sched_setaffinity(0, {serving.CLIENT_CORE})
    request, found, until = message(body), [], time.perf_counter() + seconds
    with socket.create_connection(("127.0.0.1", PORT)) as peer:
        while time.perf_counter() < until:
            began = time.perf_counter()
            answer = json.loads(ask(peer, request))
            found.append(time.perf_counter() - began)
            if answer["outputs"][0]["shape"][0] != row_count:
                raise SystemExit("An answer has the wrong number of rows.")
    times.put(found)


def ask_small(request: bytes, seconds: float) -> list[float]:
    """Return the seconds that small requests took, one after the other, two milliseconds apart."""
    found, until = [], time.perf_counter() + seconds
    with socket.create_connection(("127.0.0.1", PORT)) as peer:
        while time.perf_counter() < until:
            began = time.perf_counter()
            ask(peer, request)
            found.append(time.perf_counter() - began)
            time.sleep(0.002)
    return found


def row(title: str, times: list[float], large: list[float]) -> str:
    """Return a line of the table."""
    cuts = [np.percentile(times, share) * 1e3 for share in (50, 99)]
    cells = [title, f"{len(times)}", *(f"{value:.1f} ms" for value in (*cuts, max(times) * 1e3))]
    return f"| {' | '.join([*cells, f'{statistics.median(large):.2f} s' if large else ''])} |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, nargs="+", default=[1, 16, 63])
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--nested", action="store_true")
    arguments = parser.parse_args()
    print("| beside | small requests | median | p99 | longest | a large one |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        model, body = serving.make_models(Path(folder))["tabular"]
        command = [sys.executable, str(serving.HERE / "serving.py"), "--serve", str(model), "--port", str(PORT)]
        small, name = message(body.read_bytes()), json.loads(body.read_text())["inputs"][0]["name"]
        with serving.running(command, {}, PORT, body):
            os.sched_setaffinity(0, {serving.CLIENT_CORE})
            print(row("nothing", ask_small(small, arguments.seconds / 4), []), flush=True)
            for mib in arguments.mib:
                queue: multiprocessing.Queue[list[float]] = multiprocessing.Queue()
                large, count = large_body(mib, name, is_nested=arguments.nested)
                sender = multiprocessing.Process(target=send_large, args=(large, count, arguments.seconds, queue))
                sender.start()
                times = ask_small(small, arguments.seconds)
                found = queue.get(timeout=120)
                sender.join()
                print(row(f"JSON of {mib} MiB", times, found), flush=True)


if __name__ == "__main__":
    main()
