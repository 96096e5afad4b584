"""A registry in memory that tells a server at once, a server over it, and clients that ask all the time and keep what answered."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import sys
import threading
import time
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, str(Path(__file__).parents[1] / "hostile"))  # http2_peer.py, which the attacks use, too

from http2_peer import STREAM, Peer, framed, request

from fairlead.core.aspired import Aspired, with_traffic
from fairlead.core.dtype import DType
from fairlead.core.golden import Golden
from fairlead.core.interface import Decision, DecisionKind, Interface, Task, TensorSpec
from fairlead.core.manifest import FileEntry, Manifest
from fairlead.core.ports import LoadedModel
from fairlead.core.recipe import EngineRecipe
from fairlead.core.traffic import Arm, TrafficPlan
from fairlead.core.version import Version
from fairlead.engines.onnxruntime_engine import OnnxRuntimeEngine
from fairlead.errors import CorruptError
from fairlead.serve.grpc.frames import window_update
from fairlead.serve.grpc.schema import MESSAGES
from fairlead.serve.serve_job import ServeJob
from fairlead.serve.server import ServerThread

__all__ = ["STREAM", "House", "Peer", "Registry", "ask", "canary", "clients", "framed", "request"]
PAIR = Interface(
    (TensorSpec("x", DType.FP32, (None, 2)),),
    (TensorSpec("y", DType.FP32, (None, 2)),),
    Task.CLASSIFICATION,
    Decision(DecisionKind.ARGMAX, "y"),
    ("first", "second"),
)
TARGET = "/v2/models/m/infer"


class Registry:
    """Version n of the model m multiplies by n; one with an entry in `twin_factors` has an original that multiplies by that. `put` says
    what is wanted; the server is told at once. `broken` numbers cannot be loaded.
    """

    def __init__(self, folder: Path, *, has_processes: bool = False, count: int = 6) -> None:
        self.folder, self.has_processes = folder, has_processes
        self.known = tuple(
            Version("m", number, Manifest((FileEntry("model.onnx", 1, f"{number:064x}"),)), 0.0) for number in range(1, count + 1)
        )
        self.broken: set[int] = set()
        self.twin_factors: dict[int, float] = {}
        self.is_away = False
        self.changed = threading.Condition()
        self.count = 0
        self.wanted = Aspired("m")
        self.put(1)

    def put(self, default: int, plan: TrafficPlan | None = None) -> int:
        """Want `default`, divided by `plan`; returns the sequence of that change."""
        version = self.known[default - 1]
        wanted = Aspired("m", (version,), default, {"production": default}, self.known)
        with self.changed:
            self.wanted = wanted if plan is None else with_traffic(wanted, plan)
            self.count += 1
            self.changed.notify_all()
            return self.count

    def _check(self) -> None:
        if self.is_away:
            raise OSError("the registry is away")

    def aspired(self):
        self._check()
        return {"m": self.wanted}

    def sequence(self) -> int:
        self._check()
        return self.count

    def wait(self, since: int, timeout_s: float) -> int:
        self._check()
        with self.changed:
            self.changed.wait_for(lambda: self.count != since, timeout_s)
            return self.count

    def load(self, version: Version) -> LoadedModel:
        if version.number in self.broken:
            raise CorruptError("a digest differs")
        path, twin = self._file(version.number), self._file(self.twin_factors.get(version.number, version.number))
        rows = np.arange(6, dtype=np.float32).reshape(3, 2)
        return LoadedModel(
            OnnxRuntimeEngine(path, PAIR),
            Golden({"x": rows}, {"y": rows * np.float32(version.number)}),
            is_batch_invariant=True,
            recipe=EngineRecipe("onnxruntime", path, PAIR) if self.has_processes else None,
            open_twin=(lambda: OnnxRuntimeEngine(twin, PAIR)) if version.number in self.twin_factors else None,
            twin_bytes=twin.stat().st_size,
        )

    def _file(self, factor: float) -> Path:
        path = self.folder / f"{factor}.onnx"
        if not path.exists():
            weight = numpy_helper.from_array(np.array([factor, abs(factor)], np.float32), "w")
            graph = helper.make_graph(
                [helper.make_node("Mul", ["x", "w"], ["y"])],
                "multiplier",
                [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])],
                [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
                [weight],
            )
            onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
        return path


def canary(live: int, candidate: int, share: float, release: str = "rel", **fields) -> TrafficPlan:
    arms = (Arm("live", live, 1 - share), Arm("candidate", candidate, share))
    return TrafficPlan(release, 0, arms, salt=release, **fields)


class House:
    """A server over a Registry, and what it says is in force."""

    def __init__(self, registry: Registry, **options) -> None:
        self.registry = registry
        self.said: list[str] = []
        self.in_force = threading.Condition()
        self.sequence, self.applied = 0, {}
        options = {"follow_interval_s": 0.5} | options
        job = ServeJob(registry, port=0, grpc_port=0, report=self.said.append, on_applied=self._take, **options)
        self.running = ServerThread(job)

    def _take(self, sequence, applied) -> None:
        with self.in_force:
            self.sequence, self.applied = sequence, applied
            self.in_force.notify_all()

    def is_in_force(self, sequence: int) -> bool:
        return self.sequence >= sequence and not self.applied["m"].problem

    def wait_for(self, sequence: int, timeout_s: float = 30.0) -> None:
        """Return when what was wanted at `sequence` is in force."""
        with self.in_force:
            self.in_force.wait_for(lambda: self.is_in_force(sequence), timeout_s)
            assert self.is_in_force(sequence), (self.sequence, self.applied)

    def connect(self) -> contextlib.closing[http.client.HTTPConnection]:
        return contextlib.closing(http.client.HTTPConnection(self.running.url.removeprefix("http://"), timeout=20))

    def __enter__(self):
        self.running.start()
        return self

    def __exit__(self, *_):
        self.running.stop()


def ask(link, value: float, path: str = TARGET, **headers) -> tuple[int, dict, dict]:
    body = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [value, 1.0]}]}
    names = {name.replace("_", "-"): text for name, text in headers.items()}
    link.request("POST", path, json.dumps(body), {"Content-Type": "application/json"} | names)
    reply = link.getresponse()
    return reply.status, json.loads(reply.read()), dict(reply.getheaders())


class Client(threading.Thread):
    """Asks all the time, each time with a number of its own; keeps (began, version, arm), and what was wrong."""

    def __init__(self, house: House, place: int, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.house, self.place, self.stopped = house, place, stop
        self.seen: list[tuple[float, int, str, float]] = []  # when it began, who answered, which arm, when it had ended
        self.wrong: list[object] = []

    def run(self) -> None:
        try:
            self.work()
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            self.wrong.append(repr(error))

    def work(self) -> None:
        with self.house.connect() as link:
            for number in self.numbers():
                began = time.monotonic()
                status, answer, headers = ask(link, number)
                if status != 200:
                    self.wrong.append((status, answer))
                    continue
                arm = answer.get("parameters", {}).get("arm", "")
                if arm != headers.get("fairlead-arm", ""):
                    self.wrong.append((answer, headers))
                self.check(began, number, int(answer["model_version"]), arm, answer["outputs"][0]["data"])

    def numbers(self):
        for count in itertools.takewhile(lambda _: not self.stopped.is_set(), itertools.count(1)):
            yield float(self.place * 100_000 + count)

    def check(self, began: float, number: float, version: int, arm: str, got) -> None:
        self.seen.append((began, version, arm, time.monotonic()))
        if list(got) != [number * version, version]:
            self.wrong.append((number, version, got))


class GrpcClient(Client):
    """The same over gRPC."""

    def work(self) -> None:
        with Peer(self.house.running.server.grpc_address, deadline_s=20.0) as peer:
            for number in self.numbers():
                began = time.monotonic()
                if number % 100 == 0:
                    peer.send(window_update(0, 30_000))  # more than a hundred answers have
                found = peer.call(request(((number, 1.0),)))
                if found.status != 0:
                    self.wrong.append((found.status, found.text))
                    continue
                message = MESSAGES["ModelInferResponse"].FromString(found.messages[0])
                arm = message.parameters["arm"].string_param if "arm" in message.parameters else ""
                got = np.frombuffer(message.raw_output_contents[0], np.float32).tolist()
                self.check(began, number, int(message.model_version), arm, got)


@contextlib.contextmanager
def clients(house: House, count: int = 2):
    """REST and gRPC clients that ask while the context lasts."""
    stop = threading.Event()
    working = [kind(house, place, stop) for place, kind in enumerate([Client, GrpcClient] * count)]
    for client in working:
        client.start()
    try:
        yield working
    finally:
        stop.set()
        for client in working:
            client.join(30)
