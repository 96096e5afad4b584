"""Real ONNX models behind a real socket, while the registry's pointers move: nothing is lost, and every answer is its version's."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fairlead.core.dtype import DType
from fairlead.core.golden import Golden
from fairlead.core.interface import Interface, TensorSpec
from fairlead.core.manifest import FileEntry, Manifest
from fairlead.core.ports import LoadedModel
from fairlead.core.version import Version
from fairlead.engines.onnxruntime_engine import OnnxRuntimeEngine
from fairlead.errors import CorruptError, PortInUseError
from fairlead.monitor.stage import WatchJob, watch
from fairlead.serve.server import ServeJob, ServerThread

PAIR = Interface((TensorSpec("x", DType.FP32, (None, 2)),), (TensorSpec("y", DType.FP32, (None, 2)),))
INTERVAL_S = 0.05


class Files:
    """A registry of ONNX files: version n of a model multiplies by n. `broken` numbers cannot be loaded, `wrong` ones answer wrongly,
    `hanging` ones load until `gate` is set; `sizes` says what a version's manifest claims.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pointers: dict[str, int] = {}
        self.changes = 0
        self.broken: set[int] = set()
        self.wrong: set[int] = set()
        self.hanging: set[int] = set()
        self.gate = threading.Event()
        self.sizes: dict[int, int] = {}
        self.is_down = False

    def point(self, name: str, number: int) -> None:
        path = self.folder / f"{name}-{number}.onnx"
        if not path.exists():
            write_multiplier(path, number)
        self.pointers = self.pointers | {name: number}
        self.changes += 1

    def aspired(self) -> dict[str, Version]:
        if self.is_down:
            raise OSError("the registry is away")
        return {
            name: Version(name, number, Manifest((FileEntry("model.onnx", self.sizes.get(number, 1), f"{number:064x}"),)), 0.0)
            for name, number in self.pointers.items()
        }

    def sequence(self) -> int:
        if self.is_down:
            raise OSError("the registry is away")
        return self.changes

    def load(self, version: Version) -> LoadedModel:
        if version.number in self.broken:
            raise CorruptError("a digest differs")
        if version.number in self.hanging:
            self.gate.wait(20)
        engine = OnnxRuntimeEngine(self.folder / f"{version.name}-{version.number}.onnx", PAIR)
        rows = np.arange(6, dtype=np.float32).reshape(3, 2)
        factor = version.number + (version.number in self.wrong)
        return LoadedModel(engine, Golden({"x": rows}, {"y": rows * np.float32(factor)}))


def write_multiplier(path: Path, factor: float, source: str = "x") -> None:
    weight = numpy_helper.from_array(np.array([factor], np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("Mul", [source, "w"], ["y"])],
        "multiplier",
        [helper.make_tensor_value_info(source, TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
        [weight],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def job(files: Files, **changes) -> ServeJob:
    return ServeJob(files, port=0, follow_interval_s=INTERVAL_S, **changes)


def connect(running: ServerThread) -> contextlib.closing[http.client.HTTPConnection]:
    return contextlib.closing(http.client.HTTPConnection(running.url.removeprefix("http://"), timeout=60))


def ask(link: http.client.HTTPConnection, method: str, path: str, body: object = None) -> tuple[int, dict]:
    link.request(method, path, None if body is None else json.dumps(body), {"Content-Type": "application/json"})
    reply = link.getresponse()
    return reply.status, json.loads(reply.read())


def infer(link: http.client.HTTPConnection, name: str, value: float) -> tuple[int, dict]:
    tensor = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [value, 1.0]}
    return ask(link, "POST", f"/v2/models/{name}/infer", {"inputs": [tensor]})


def wait_for_version(link: http.client.HTTPConnection, number: int, timeout_s: float = 60.0) -> float:
    """Seconds until new requests are answered by `number`."""
    began = time.monotonic()
    while infer(link, "m", 1.0)[1].get("model_version") != str(number):
        assert time.monotonic() - began < timeout_s
        time.sleep(0.005)
    return time.monotonic() - began


class Client(threading.Thread):
    """A closed loop: asks with its own numbers and checks that the answer is the named version's."""

    def __init__(self, running: ServerThread, base: float, until: threading.Event) -> None:
        super().__init__()
        self.running, self.base, self.until = running, base, until
        self.sent, self.wrong, self.versions = 0, [], []

    def run(self) -> None:
        with connect(self.running) as link:
            while not self.until.is_set():
                self.sent += 1
                try:
                    self.check(self.base + self.sent % 1000, link)
                except Exception as error:  # noqa: BLE001 - whatever happened, this request was lost
                    self.wrong.append(repr(error))

    def wait_for(self, number: int, timeout_s: float = 60.0) -> None:
        """Return when this client has been answered by version `number`."""
        until = time.monotonic() + timeout_s
        while not self.versions or self.versions[-1] != number:
            assert time.monotonic() < until, self.wrong[:3]
            time.sleep(0.005)

    def check(self, value: float, link: http.client.HTTPConnection) -> None:
        status, answer = infer(link, "m", value)
        number = int(answer.get("model_version", 0))
        expected = [np.float32(value) * np.float32(number), np.float32(number)]
        if status != 200 or answer["outputs"][0]["data"] != [float(item) for item in expected]:
            self.wrong.append((status, answer))
        self.versions.append(number)


def test_no_request_is_lost_or_mixed_up_over_twenty_switches(files) -> None:
    files.point("m", 1)
    with ServerThread(job(files)) as running, connect(running) as link:
        until = threading.Event()
        clients = [Client(running, 1000.0 * place, until) for place in range(4)]
        for client in clients:
            client.start()
        waits = []
        for number in range(2, 22):
            files.point("m", number)
            waits.append(wait_for_version(link, number))
            assert infer(link, "m", 1.0)[1]["model_version"] == str(number)  # and it stays so
            for client in clients:
                client.wait_for(number)
        until.set()
        for client in clients:
            client.join()
    assert [wrong for client in clients for wrong in client.wrong] == []
    assert sum(client.sent for client in clients) > 80
    for client in clients:
        assert client.versions == sorted(client.versions)  # never back to an old version
        assert set(client.versions) >= set(range(2, 22))
    # Bound: one interval plus load and warm-up; the rest is room for a machine that does other things too.
    assert sorted(waits)[10] < INTERVAL_S + 5.0


def test_that_the_client_of_this_test_sees_a_wrong_answer(files) -> None:
    files.point("m", 1)
    write_multiplier(files.folder / "m-2.onnx", 7)  # version 2 lies about itself, and its golden answers are made to agree
    with ServerThread(job(files)) as running, connect(running) as link:
        until = threading.Event()
        files.load = lambda version: LoadedModel(OnnxRuntimeEngine(files.folder / f"m-{version.number}.onnx", PAIR))
        files.point("m", 2)
        wait_for_version(link, 2)
        client = Client(running, 5.0, until)
        client.start()
        wait_until(lambda: bool(client.wrong))
        until.set()
        client.join()
    assert client.wrong


def test_versions_that_fail_to_load_or_answer_wrongly_never_interrupt_the_old_one(files) -> None:
    said = []
    files.point("m", 1)
    files.broken, files.wrong = {2}, {3}
    with ServerThread(job(files, report=said.append)) as running, connect(running) as link:
        until = threading.Event()
        client = Client(running, 5.0, until)
        client.start()
        for number in (2, 3):
            files.point("m", number)
            wait_until(lambda failed=number: states(link).get(failed, ("", ""))[0] == "UNAVAILABLE")
            assert ask(link, "GET", "/v2/health/ready")[0] == 200
            assert ask(link, "GET", f"/v2/models/m/versions/{number}/ready")[0] == 503
            assert ask(link, "GET", f"/v1/models/m/versions/{number}")[1]["model_version_status"][0]["state"] == "END"
        files.is_down = True
        wait_until(lambda: any("cannot be read" in line for line in said))
        files.is_down = False
        files.point("m", 4)
        wait_for_version(link, 4)
        client.wait_for(4)
        until.set()
        client.join()
    assert client.wrong == []
    assert set(client.versions) == {1, 4}
    assert any("corrupt" in line for line in said)
    assert any("golden" in line for line in said)
    assert any("cannot be read" in line for line in said)


def states(link: http.client.HTTPConnection) -> dict[int, tuple[str, str]]:
    return {int(item["version"]): (item["state"], item["reason"]) for item in ask(link, "POST", "/v2/repository/index", {})[1]}


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("corrupt", "corrupt: a digest differs"),
        ("interface", "bad_source: The model's inputs are z FP32"),
        ("budget", "does not fit into the memory budget"),
        ("golden", "does not answer its golden requests"),
        ("hang", "was not loaded within"),
        ("cancel", ""),
    ],
)
def test_a_load_that_fails_in_any_way_touches_nothing_and_gives_everything_back(files, kind, reason) -> None:
    files.point("m", 1)
    with (
        ServerThread(job(files, memory_budget_bytes=10**9, load_timeout_s=0.5 if kind == "hang" else 60.0)) as running,
        connect(running) as link,
    ):
        table, until = running.server.table, threading.Event()
        held = sum(served.memory_bytes for served, _ in table.in_memory())
        client = Client(running, 5.0, until)
        client.start()
        client.wait_for(1)
        {"corrupt": files.broken, "golden": files.wrong, "hang": files.hanging, "cancel": files.hanging}.get(kind, set()).add(2)
        if kind == "interface":
            write_multiplier(files.folder / "m-2.onnx", 2, "z")
        if kind == "budget":
            files.sizes[2] = 2 * 10**9
        files.point("m", 2)
        if kind == "cancel":
            wait_until(lambda: states(link).get(2, ("", ""))[0] == "LOADING")
            files.point("m", 1)
            wait_until(lambda: 2 not in states(link))
        else:
            wait_until(lambda: states(link)[2][0] == "UNAVAILABLE" if 2 in states(link) else False)
            assert reason in states(link)[2][1]
        assert states(link)[1] == ("READY", "")
        assert ask(link, "GET", "/v2/health/ready")[0] == 200
        files.gate.set()
        wait_until(lambda: not [thread for thread in threading.enumerate() if thread.name == "fairlead-load"])
        assert sum(served.memory_bytes for served, _ in table.in_memory()) == held
        for kinds in (files.broken, files.wrong, files.hanging, files.sizes):
            kinds.clear()
        files.point("m", 3)
        client.wait_for(3)
        until.set()
        client.join()
    assert client.wrong == []
    assert set(client.versions) == {1, 3}


def wait_until(condition, timeout_s: float = 60.0) -> None:
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until, "did not happen in time"
        time.sleep(0.01)


def test_one_bad_model_of_ten_is_no_obstacle_to_the_others_unless_that_is_asked_for(files) -> None:
    for place in range(10):
        files.point(f"m{place}", 2 if place == 4 else 1)
    files.broken = {2}
    with ServerThread(job(files)) as running, connect(running) as link:
        assert ask(link, "GET", "/v2/health/ready") == (200, {"ready": True})
        assert ask(link, "GET", "/v2/models/m4/ready")[0] == 503
        assert infer(link, "m4", 1.0)[0] == 503
        assert infer(link, "m5", 1.0)[0] == 200
    with ServerThread(job(files, is_strict=True)) as running, connect(running) as link:
        assert ask(link, "GET", "/v2/health/ready") == (503, {"ready": False, "error": "Not loaded: m4."})
        assert infer(link, "m5", 1.0)[0] == 200


def test_a_server_is_not_ready_until_everything_wanted_is_loaded(files) -> None:
    files.broken = {1}
    files.point("m", 1)
    with ServerThread(job(files)) as running, connect(running) as link:
        status, answer = ask(link, "GET", "/v2/health/ready")
        assert (status, answer["error"]) == (503, "Not loaded: m.")
        assert ask(link, "GET", "/v2/health/live") == (200, {"live": True})
        assert infer(link, "m", 1.0)[0] == 503


def test_two_models_are_served_side_by_side_with_their_statistics(files) -> None:
    watcher = watch(WatchJob(lambda _name, _number: (), lambda _finding: None))
    files.point("m", 2)
    files.point("n", 3)
    served = job(files, sink=watcher, statistics=watcher.statistics, default_model="n")
    with ServerThread(served) as running, connect(running) as link:
        assert infer(link, "m", 4.0)[1]["outputs"][0]["data"] == [8.0, 2.0]
        assert ask(link, "POST", "/predict", {"input": [[1, 2], [3, 4]]})[1]["prediction"] == [[3.0, 6.0], [9.0, 12.0]]
        stats = ask(link, "GET", "/v2/models/n/stats")[1]["model_stats"][0]
        assert (stats["version"], stats["inference_count"], stats["execution_count"]) == ("3", 2, 1)
        assert ask(link, "GET", "/v2/models/m/stats")[1]["model_stats"][0]["inference_stats"]["success"]["count"] == 1
    watcher.close()


def test_a_port_in_use_is_said_with_the_cure_and_nothing_is_loaded(files) -> None:
    files.point("m", 1)
    with ServerThread(job(files)) as running:
        port = int(running.url.rpartition(":")[2])
        other = Files(files.folder)
        other.load = lambda version: pytest.fail("loaded")
        other.point("m", 1)
        with pytest.raises(PortInUseError, match="--port"):
            ServerThread(ServeJob(other, port=port)).start()
