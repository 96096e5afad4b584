"""How long small requests wait while large JSON bodies come: one client asks for one row again and again, another sends megabytes.

    python benchmarks/serving_large.py                  (--mib 1 16 63; --forms v2 predict texts ...)

Server on core 0, clients on core 1. The model is `tabular` of serving.py; for texts, one that maps them to numbers. Prints percentiles of
the small requests' times without and with the large ones, and how long a large one takes. Every answer is checked for its status, the
large ones for their number of rows, too.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import socket
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

import serving

PORT = 9131
COLUMNS = 30


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


def message(body: bytes, path: str = serving.PATH, form: str = "v2") -> bytes:
    """Return a whole request."""
    kind = MEDIA_TYPES.get(form, "application/json")
    head = f"POST {path} HTTP/1.1\r\nHost: l\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


FORMS = {  # path, what stands around the rows, and which rows
    "v2": (serving.PATH, '{"inputs": [{"name": "NAME", "shape": [ROWS, COLUMNS], "datatype": "FP32", "data": [%s]}]}', "flat"),
    "nested": (serving.PATH, '{"inputs": [{"name": "NAME", "shape": [ROWS, COLUMNS], "datatype": "FP32", "data": [%s]}]}', "lists"),
    "predict": ("/predict", '{"input": [%s]}', "lists"),
    "columns": ("/predict", '{"inputs": {"NAME": [%s]}}', "lists"),
    "records": ("/predict", '{"instances": [%s]}', "records"),
    "v1": ("/v1/models/m:predict", '{"instances": [%s]}', "lists"),
    "invocations": ("/invocations", '{"dataframe_split": {"data": [%s]}}', "lists"),
    "texts": ("/predict", '{"input": [%s]}', "texts"),
    "csv": ("/invocations", ",".join(map(str, range(COLUMNS))) + "\n%s", "lines"),
}
MEDIA_TYPES = {"csv": "text/csv"}


def large_body(mib: int, form: str, name: str) -> tuple[bytes, int]:
    """Return a body of that many MiB and the number of its rows."""
    _, around, kind = FORMS[form]
    row = [float(f"{value:.6g}") for value in np.random.default_rng(0).random(COLUMNS)]
    texts = {"flat": json.dumps(row)[1:-1], "records": json.dumps({name: row}), "texts": json.dumps([f"text, {value}" for value in row])}
    text = ",".join(map(str, row)) if kind == "lines" else texts.get(kind, json.dumps(row))
    count = mib * 2**20 // (len(text) + 2)
    around = around.replace("NAME", name).replace("ROWS", str(count)).replace("COLUMNS", str(COLUMNS))
    return (around % ("\n" if kind == "lines" else ", ").join([text] * count)).encode(), count


def write_texts(path: Path) -> Path:
    """Write a model that maps texts to numbers."""
    node = helper.make_node("LabelEncoder", ["x"], ["y"], domain="ai.onnx.ml", keys_strings=["text, 1"], values_floats=[1.0])
    shape = [None, COLUMNS]
    graph = helper.make_graph(
        [node],
        "texts",
        [helper.make_tensor_value_info("x", TensorProto.STRING, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def row_count_of(answer: dict[str, Any]) -> int:
    """Return for how many rows an answer is."""
    if "outputs" in answer:
        return int(answer["outputs"][0]["shape"][0])
    found = answer.get("predictions", answer.get("prediction"))
    return len(next(iter(found.values())) if isinstance(found, dict) else found)


def send_large(request: bytes, row_count: int, seconds: float, times: multiprocessing.Queue[list[float]]) -> None:
    """Send the large request again and again; put its times."""
    os.sched_setaffinity(0, {serving.CLIENT_CORE})
    found, until = [], time.perf_counter() + seconds
    with socket.create_connection(("127.0.0.1", PORT)) as peer:
        while time.perf_counter() < until:
            began = time.perf_counter()
            answer = json.loads(ask(peer, request))
            found.append(time.perf_counter() - began)
            if row_count_of(answer) != row_count:
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
    parser.add_argument("--forms", nargs="+", default=["v2"], choices=FORMS)
    arguments = parser.parse_args()
    print("| beside | small requests | median | p99 | longest | a large one |\n|---|---|---|---|---|---|")
    texts = [form for form in arguments.forms if form == "texts"]
    with tempfile.TemporaryDirectory() as folder:
        numbers = [form for form in arguments.forms if form != "texts"]
        if numbers:
            compare(*serving.make_models(Path(folder))["tabular"], numbers, arguments)
        if texts:
            body = Path(folder) / "texts.json"
            tensor = {"name": "x", "shape": [1, COLUMNS], "datatype": "BYTES", "data": ["a"] * COLUMNS}
            body.write_text(json.dumps({"inputs": [tensor]}))
            compare(write_texts(Path(folder) / "texts.onnx"), body, texts, arguments)


def compare(model: Path, body: Path, forms: list[str], arguments: argparse.Namespace) -> None:
    """Measure one model beside nothing, and beside each form of large bodies."""
    command = [sys.executable, str(serving.HERE / "serving.py"), "--serve", str(model), "--port", str(PORT)]
    small, name = message(body.read_bytes()), json.loads(body.read_text())["inputs"][0]["name"]
    with serving.running(command, {}, PORT, body):
        os.sched_setaffinity(0, {serving.CLIENT_CORE})
        print(row("nothing", ask_small(small, arguments.seconds / 4), []), flush=True)
        for form, mib in itertools.product(forms, arguments.mib):
            queue: multiprocessing.Queue[list[float]] = multiprocessing.Queue()
            large, count = large_body(mib, form, name)
            request = message(large, FORMS[form][0], form)
            sender = multiprocessing.Process(target=send_large, args=(request, count, arguments.seconds, queue))
            sender.start()
            times = ask_small(small, arguments.seconds)
            found = queue.get(timeout=120)
            sender.join()
            print(row(f"{form}, {mib} MiB", times, found), flush=True)


if __name__ == "__main__":
    main()
