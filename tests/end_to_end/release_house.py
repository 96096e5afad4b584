"""Versions of one small classifier for releases to try: as good, wrong, slow, and refusing; servers for them, and clients that ask all the
time and keep what answered when.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import numpy as np
import onnx
import registered
from onnx import TensorProto, helper, numpy_helper

from fairlead.app.servers import Roll
from fairlead.app.wiring import House
from fairlead.core.version import Version

NAME = "pets"
_WIDTH = 384  # of the work that a slow version does for nothing


def good(path: Path, mark: float = 0.0) -> tuple[Path, object]:
    """The classifier; another `mark` makes another file that answers the same."""
    return _changed(path, [helper.make_node("Mul", ["mark", "zero"], ["n"])], mark=mark)


def wrong(path: Path) -> tuple[Path, object]:
    """Decides otherwise for about half of the rows."""
    return registered.classifier(path, seed=5)


def slow(path: Path) -> tuple[Path, object]:
    """Answers the same after many times the work."""
    nodes = [helper.make_node("MatMul", ["filling", "filling"], ["w1"])]
    nodes += [helper.make_node("MatMul", [f"w{place}", "filling"], [f"w{place + 1}"]) for place in range(1, 5)]
    nodes += [helper.make_node("Add", ["w5", "x0"], ["w6"]), helper.make_node("ReduceMax", ["w6"], ["w7"], keepdims=0)]
    nodes += [helper.make_node("Mul", ["w7", "zero"], ["n"])]
    first = [
        helper.make_node("ReduceMin", ["x"], ["m0"], keepdims=0),
        helper.make_node("Mul", ["m0", "zero"], ["x0"]),
        helper.make_node("Add", ["base", "x0"], ["filling"]),
    ]
    filling = np.random.default_rng(0).normal(scale=0.01, size=(_WIDTH, _WIDTH)).astype(np.float32)
    return _changed(path, [*first, *nodes], base=filling)


def refusing(path: Path) -> tuple[Path, object]:
    """Cannot answer where the largest number of a row is above 1, which about half of them are."""
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["top"], keepdims=0),
        helper.make_node("Greater", ["top", "one"], ["is_high"]),
        helper.make_node("Cast", ["is_high"], ["high"], to=TensorProto.INT64),
        helper.make_node("Mul", ["high", "far"], ["place"]),
        helper.make_node("Gather", ["few", "place"], ["n"]),
    ]
    constants = {"one": np.float32(1.0), "far": np.int64(100), "few": np.zeros(3, np.float32)}
    return _changed(path, nodes, **constants)


def _changed(path: Path, nodes: list, **constants: object) -> tuple[Path, object]:
    """Write the classifier with `nodes`, which make a zero `n`, and add that to its scores."""
    made, interface = registered.classifier(path)
    model = onnx.load(made)
    graph = model.graph
    graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value, getattr(value, "dtype", np.float32)), key) for key, value in constants.items()
    )
    graph.initializer.append(numpy_helper.from_array(np.float32(0.0), "zero"))
    last = graph.node[-1]
    last.output[0] = "plain"
    graph.node.extend([*nodes, helper.make_node("Add", ["plain", "n"], ["scores"])])
    path.write_bytes(model.SerializeToString())
    return path, interface


def add(house: House, folder: Path, model: tuple[Path, object], *, alias: str = "") -> Version:
    """Register the model as the next version; its golden rows are ones that every version can answer."""
    golden = registered.Golden({"x": np.zeros((2, 4), np.float32)}, _answers(model))
    return registered.add_version(house, NAME, model, alias=alias, golden=golden)


def _answers(model: tuple[Path, object]) -> dict[str, np.ndarray]:
    return registered.OnnxRuntimeEngine(*model).run({"x": np.zeros((2, 4), np.float32)})


@contextlib.contextmanager
def serving(home: Path, *options: str, environment: dict[str, str] | None = None) -> Iterator[tuple[subprocess.Popen, int]]:
    """Run a server until the block ends; gives its process and port."""
    command = [sys.executable, "-m", "fairlead", "serve", "--home", str(home), "--port", "0", "--grpc-port", "none", *options]
    settings = {"FAIRLEAD_LOG_FORMAT": "json", **(environment or {})}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **settings})
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(iter(process.stderr.readline, "")))
    reader.start()
    try:
        url = ""
        until = time.monotonic() + 60
        while not url:
            assert process.poll() is None, "".join(lines)
            assert time.monotonic() < until, "".join(lines)
            url = next((json.loads(line).get("url", "") for line in lines if '"url"' in line), "")
            time.sleep(0.05)
        yield process, int(url.rpartition(":")[2])
    finally:
        process.terminate()
        try:
            process.wait(30)
        finally:
            process.kill()
            process.wait()
            reader.join()
            process.stderr.close()


class Load:
    """Asks every port in a loop of its own. `seen` has (monotonic time when asked, status, version, arm), newest last."""

    def __init__(self, ports: list[int], *, pause_s: float = 0.002, label: str = "") -> None:
        self.seen: list[tuple[float, int, str, str]] = []
        self.problems: list[str] = []
        self._pause_s, self._label, self._until = pause_s, label, threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(port, place)) for place, port in enumerate(ports)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._until.set()
        for thread in self._threads:
            thread.join()

    def counts(self, since: float = 0.0) -> Counter[tuple[int, str]]:
        """How many of what was asked since then were answered with which status by which version."""
        return Counter((status, version) for at, status, version, _ in tuple(self.seen) if at >= since)

    def counts_after(self, since: float, count: int = 40) -> Counter[tuple[int, str]]:
        """The same once there are `count` of them."""
        registered.wait_until(lambda: self.counts(since).total() >= count, timeout_s=60.0)
        return self.counts(since)

    def _run(self, port: int, seed: int) -> None:
        draw = random.Random(seed)
        link = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while not self._until.is_set():
            row = [draw.gauss(0.0, 1.0) for _ in range(4)]
            at = time.monotonic()
            try:
                link.request(
                    "POST",
                    f"/v2/models/{NAME}/infer",
                    json.dumps({"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": row}]}),
                )
                reply = link.getresponse()
                body = json.loads(reply.read())
            except Exception as error:  # noqa: BLE001 - whatever happened, this request was lost
                self.problems.append(repr(error))
                link.close()
                continue
            self.seen.append((at, reply.status, str(body.get("model_version", "")), reply.headers.get("fairlead-arm", "")))
            time.sleep(self._pause_s)
        link.close()


def wait_for_servers(house: House, count: int, timeout_s: float = 60.0) -> None:
    """Return when that many servers say that they live and have the model."""
    roll, until = Roll(house.records, house.clock), time.monotonic() + timeout_s
    while sum(1 for beat in roll.call() if NAME in beat.applied and not beat.applied[NAME].problem) < count:
        assert time.monotonic() < until, "the servers do not say that they live"
        time.sleep(0.05)
