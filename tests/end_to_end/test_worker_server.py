"""A server whose versions run in worker processes: switches, kills, health and stopping, over HTTP."""

from __future__ import annotations

import http.client
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from fairlead.core.golden import Golden
from fairlead.core.manifest import FileEntry, Manifest
from fairlead.core.ports import LoadedModel
from fairlead.core.recipe import EngineRecipe
from fairlead.core.version import Version
from fairlead.engines.onnxruntime_engine import OnnxRuntimeEngine
from fairlead.engines.opening import DeferredEngine
from fairlead.serve.serve_job import ServeJob
from fairlead.serve.server import ServerThread

sys.path.append(str(Path(__file__).parents[1] / "unit" / "serve" / "workers"))
sys.path.append(str(Path(__file__).parents[1] / "unit" / "engines"))
from counting_model import COUNTED, FOR_EVER, GOLDEN, counting_model
from loop_thread import descendants, left, wait_for_nothing_more, wait_until
from tiny_onnx import LINEAR, linear_model

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="worker processes need Linux")
ROWS = np.eye(4, dtype=np.float32)


class Files:
    """A registry of files: version n of "linear" multiplies a matrix by n; "counting" computes as long as it is told to."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.changes, self.numbers = folder, 0, {}

    def point(self, name: str, number: int) -> None:
        self.numbers[name] = number
        self.changes += 1

    def aspired(self) -> dict[str, Version]:
        return {name: Version(name, number, Manifest((FileEntry("m", 1, f"{number:064x}"),)), 0.0) for name, number in self.numbers.items()}

    def sequence(self) -> int:
        return self.changes

    def load(self, version: Version) -> LoadedModel:
        path = self.folder / f"{version.name}-{version.number}.onnx"
        if version.name == "counting":
            interface, golden = COUNTED, GOLDEN
            counting_model(path)
        else:
            weights = np.arange(12, dtype=np.float32).reshape(4, 3) * version.number
            interface, golden = LINEAR, Golden({"x": ROWS}, {"y": weights})
            linear_model(path, weights)
        engine = DeferredEngine(interface, lambda: OnnxRuntimeEngine(path, interface))
        return LoadedModel(engine, golden, recipe=EngineRecipe("onnxruntime", path, interface, is_fork_safe=True))


class Client:
    """One connection."""

    def __init__(self, url: str) -> None:
        self._address = url.removeprefix("http://")

    def send(self, method: str, path: str, body: object = None) -> tuple[int, object]:
        link = http.client.HTTPConnection(self._address, timeout=30)
        try:
            link.request(method, path, None if body is None else json.dumps(body))
            reply = link.getresponse()
            data = reply.read()
            return reply.status, json.loads(data) if data else None
        finally:
            link.close()

    def ask(self, name: str, tensor: str, rows: np.ndarray, datatype: str) -> tuple[int, dict]:
        body = {"inputs": [{"name": tensor, "shape": list(rows.shape), "datatype": datatype, "data": rows.ravel().tolist()}]}
        return self.send("POST", f"/v2/models/{name}/infer", body)

    def status(self, path: str) -> int:
        return self.send("GET", path)[0]


def job(files: Files, **changes) -> ServeJob:
    return ServeJob(files, port=0, follow_interval_s=0.05, worker_count=2, keep_warm_s=0.0, **changes)


@pytest.fixture(scope="module", autouse=True)
def first_loop(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The first event loop of uvloop opens a pipe that stays as long as the process."""
    with ServerThread(ServeJob(Files(tmp_path_factory.mktemp("empty")), port=0)):
        pass


@pytest.mark.slow
def test_versions_switch_under_load_and_the_processes_of_the_old_one_end(tmp_path: Path) -> None:
    """R01 and R04 in small, with workers."""
    before, known = left(), descendants(os.getpid())
    files = Files(tmp_path)
    files.point("linear", 1)
    wrong, answers, is_over = [], [0], threading.Event()
    with ServerThread(job(files)) as server:

        def load() -> None:
            client = Client(server.url)
            while not is_over.is_set():
                status, answer = client.ask("linear", "x", ROWS[1:2], "FP32")
                answers[0] += 1
                factor = int(answer.get("model_version", 0))
                if status != 200 or answer["outputs"][0]["data"] != [3.0 * factor, 4.0 * factor, 5.0 * factor]:
                    wrong.append((status, answer))

        clients = [threading.Thread(target=load) for _ in range(3)]
        for client in clients:
            client.start()
        for number in range(2, 6):
            files.point("linear", number)
            wait_until(lambda number=number: Client(server.url).status(f"/v2/models/linear/versions/{number}/ready") == 200, 30)
        is_over.set()
        for client in clients:
            client.join()
        assert not wrong
        assert answers[0] > 20
        wait_until(lambda: len(descendants(os.getpid()) - known) == 3)  # a zygote and two workers
    wait_for_nothing_more(before)


def test_health_is_honest_while_there_is_no_worker(tmp_path: Path) -> None:
    files = Files(tmp_path)
    files.point("linear", 1)
    known = descendants(os.getpid())
    with ServerThread(job(files, is_strict=True)) as server:
        client = Client(server.url)
        assert client.status("/v2/health/ready") == 200
        zygote = min(descendants(os.getpid()) - known)
        os.kill(zygote, signal.SIGKILL)
        seen = []
        wait_until(lambda: seen.append((client.status("/v2/health/ready"), client.status("/v2/models/linear/ready"))) or seen[-1][0] != 200)
        assert seen[-1][1] != 200
        wait_until(lambda: client.status("/v2/health/ready") == 200)
        assert client.ask("linear", "x", ROWS[:1], "FP32")[0] == 200
        assert client.status("/v2/health/live") == 200


def test_a_killed_worker_costs_its_own_request_and_a_deadline_holds_while_it_hangs(tmp_path: Path) -> None:
    files = Files(tmp_path)
    files.point("counting", 1)
    known = descendants(os.getpid())
    with ServerThread(job(files, request_timeout_s=1.5, call_limit_s=60.0)) as server:
        client = Client(server.url)
        workers = sorted(descendants(os.getpid()) - known)[1:]
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        began = time.monotonic()
        assert client.ask("counting", "n", np.array([[1]]), "INT64")[0] == 504
        assert time.monotonic() - began < 10
        wait_until(lambda: client.ask("counting", "n", np.array([[1]]), "INT64")[0] == 200)
        wait_until(lambda: not set(workers) & descendants(os.getpid()))


def test_stopping_ends_workers_that_compute_for_ever(tmp_path: Path) -> None:
    before = left()
    files = Files(tmp_path)
    files.point("counting", 1)
    server = ServerThread(job(files, grace_s=0.5))
    server.start()
    asked = threading.Thread(target=lambda: _quietly(Client(server.url)))
    asked.start()
    time.sleep(0.3)
    server.stop()
    asked.join(30)
    assert not asked.is_alive()
    wait_for_nothing_more(before)


def _quietly(client: Client) -> None:
    try:
        client.ask("counting", "n", FOR_EVER, "INT64")
    except (OSError, http.client.HTTPException):
        return
