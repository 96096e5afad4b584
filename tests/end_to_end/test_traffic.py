"""A running server whose traffic is divided anew all the time: nothing is lost, every answer is its version's and its caller's own, and
what was taken back nobody meets.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import random
import sys
import threading
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, str(Path(__file__).parents[1] / "hostile"))  # http2_peer.py, which the attacks use, too

from http2_peer import Peer, request

from fairlead.core.aspired import Aspired, with_traffic
from fairlead.core.dtype import DType
from fairlead.core.golden import Golden
from fairlead.core.interface import Decision, DecisionKind, Interface, Task, TensorSpec
from fairlead.core.manifest import FileEntry, Manifest
from fairlead.core.ports import LoadedModel
from fairlead.core.recipe import EngineRecipe
from fairlead.core.traffic import Arm, Shadow, TrafficPlan
from fairlead.core.version import Version
from fairlead.engines.onnxruntime_engine import OnnxRuntimeEngine
from fairlead.errors import CorruptError
from fairlead.serve.grpc.frames import window_update
from fairlead.serve.grpc.schema import MESSAGES
from fairlead.serve.serve_job import ServeJob
from fairlead.serve.server import ServerThread

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


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path)


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
        self.seen: list[tuple[float, int, str]] = []
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
        self.seen.append((began, version, arm))
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


@pytest.mark.slow
@pytest.mark.parametrize("worker_count", [0, 2])
def test_nothing_is_lost_while_plans_and_versions_switch(tmp_path, worker_count) -> None:
    draw = random.Random(7)
    count = 3 if worker_count else 6
    registry = Registry(tmp_path, has_processes=worker_count > 0, count=count)
    with House(registry, worker_count=worker_count, keep_warm_s=60.0) as house:
        house.wait_for(1)
        with clients(house) as working:
            for turn in range(5 if worker_count else 40):
                live, candidate, bystander = draw.sample(range(1, count + 1), 3)
                plan = draw.choice(
                    [
                        None,
                        canary(live, candidate, draw.random(), f"r{turn}"),
                        canary(live, candidate, draw.random(), f"r{turn}", shadow=Shadow(bystander, 0.5)),
                        TrafficPlan(f"r{turn}", 0, (Arm("A", live, 0.5), Arm("B", candidate, 0.25), Arm("C", bystander, 0.25))),
                    ]
                )
                house.wait_for(registry.put(live, plan))
                time.sleep(0.02)
    assert [client.wrong for client in working] == [[]] * len(working)
    assert min(len(client.seen) for client in working) > 20
    arms = {arm for client in working for _, _, arm in client.seen}
    assert {"", "live", "candidate"} <= arms
    assert house.running.server.plane.in_flight == 0


@pytest.mark.slow
def test_after_a_rollback_is_in_force_no_new_request_meets_the_bad_version(registry) -> None:
    with House(registry, keep_warm_s=60.0) as house:
        house.wait_for(1)
        spans = []
        with clients(house) as working:
            for turn in range(15):
                house.wait_for(registry.put(1, canary(1, 2, 0.7, f"r{turn}")))
                time.sleep(0.02)
                house.wait_for(registry.put(1))
                back = time.monotonic()
                time.sleep(0.02)
                spans.append((back, time.monotonic()))
    assert [client.wrong for client in working] == [[]] * len(working)
    met = {version for client in working for _, version, _ in client.seen}
    assert met == {1, 2}
    for client in working:
        for began, version, _ in client.seen:
            assert version == 1 or not any(back <= began < until for back, until in spans)


def test_a_candidate_that_cannot_be_loaded_takes_nothing_down(registry) -> None:
    registry.broken = {2}
    with House(registry) as house:
        house.wait_for(1)
        sequence = registry.put(1, canary(1, 2, 0.5))
        with house.in_force:
            assert house.in_force.wait_for(lambda: house.sequence >= sequence and house.applied["m"].has_failed, 30)
        with house.connect() as link:
            answers = [ask(link, 3.0) for _ in range(40)]
        assert {(status, answer["model_version"], answer["parameters"]["arm"]) for status, answer, _ in answers} == {(200, "1", "live")}
        evidence = house.running.server.witness.snapshot()["rel"].step(0).arm("candidate")
        assert 0 < evidence.server_errors == evidence.requests < 40
        assert any("requests for arm 'candidate' go to the live version" in line for line in house.said)


@pytest.mark.slow
def test_a_candidate_whose_processes_die_gives_its_share_to_live(tmp_path) -> None:
    registry = Registry(tmp_path, has_processes=True)
    with House(registry, worker_count=1) as house:
        house.wait_for(1)
        house.wait_for(registry.put(1, canary(1, 2, 0.5)))
        candidate = house.running.server.table.models["m"].versions[2]
        with clients(house, 1) as working:
            time.sleep(0.2)
            house.running._loop.call_soon_threadsafe(candidate.executor.close)  # as if its processes would not stay alive
            time.sleep(0.5)
    late = [version for client in working for _, version, _ in client.seen[-20:]]
    assert set(late) == {1}
    assert all(answer[0] in {503, 14} for client in working for answer in client.wrong)  # what it was computing when it died
    assert house.running.server.witness.snapshot()["rel"].step(0).arm("candidate").server_errors > 0


def test_a_registry_that_goes_away_is_said_once_and_what_serves_goes_on(registry) -> None:
    with House(registry) as house:
        house.wait_for(registry.put(1, canary(1, 2, 0.5)))
        registry.is_away = True
        with registry.changed:
            registry.count += 1
            registry.changed.notify_all()
        with house.connect() as link:
            until = time.monotonic() + 30
            while not any("cannot be read" in line for line in house.said):
                assert time.monotonic() < until
                assert ask(link, 2.0)[0] == 200
            time.sleep(1.2)  # two more polls
            assert {ask(link, 2.0)[1]["model_version"] for _ in range(40)} == {"1", "2"}
            assert sum("cannot be read" in line for line in house.said) == 1
            registry.is_away = False
            house.wait_for(registry.put(3))
            assert ask(link, 2.0)[1]["model_version"] == "3"
        assert sum("can be read again" in line for line in house.said) == 1


def test_a_change_is_followed_at_once_where_the_source_tells(registry) -> None:
    with House(registry, keep_warm_s=60.0, follow_interval_s=600.0) as house:
        house.wait_for(1)
        for number in (2, 1) * 4:
            house.wait_for(registry.put(number))


def test_a_pin_a_sticky_key_and_an_arm_by_name_over_a_socket(registry) -> None:
    with House(registry) as house, house.connect() as link, Peer(house.running.server.grpc_address) as peer:
        house.wait_for(registry.put(1, canary(1, 2, 0.5, sticky="user_id")))
        assert ask(link, 1.0, fairlead_version="2")[1]["model_version"] == "2"
        assert ask(link, 1.0, fairlead_arm="candidate")[1]["model_version"] == "2"
        assert ask(link, 1.0, "/v2/models/m/versions/1/infer")[1]["model_version"] == "1"
        for user in ("anna", "ben", "eva", "tom"):
            versions = {ask(link, 1.0, user_id=user)[1]["model_version"] for _ in range(10)}
            message = MESSAGES["ModelInferResponse"].FromString(peer.call(request(), user_id=user).messages[0])
            assert versions == {message.model_version}
        found = peer.call(request(), fairlead_version="2")
        assert MESSAGES["ModelInferResponse"].FromString(found.messages[0]).model_version == "2"
        assert peer.call(request(), fairlead_version="two").status == 3
        assert peer.call(request(), fairlead_arm="B").status == 5


def test_what_compression_costs_is_known_from_live_requests(registry) -> None:
    registry.twin_factors = {1: -1}  # the original decides every second request otherwise
    with House(registry, twin_share=1.0) as house, house.connect() as link:
        house.wait_for(1)
        until = time.monotonic() + 30
        comparisons = {}
        while comparisons.get(("m", "1", "twin"), 0) < 10:
            assert time.monotonic() < until
            status, answer, headers = ask(link, 5.0)
            assert (status, answer["model_version"], "fairlead-arm" in headers) == (200, "1", False)
            comparisons = house.running.server.witness.read().comparisons
        reading = house.running.server.witness.read()
        assert reading.flips["m", "1", "twin"] == reading.comparisons["m", "1", "twin"]
        assert reading.differences["m", "1", "twin"] == 10.0
        served = house.running.server.table.models["m"].versions[1]
        assert served.memory_bytes >= 2 * served.twin.size_bytes > 0
        link.request("GET", "/metrics")
        assert link.getresponse().read() is not None
        house.wait_for(registry.put(2))
        assert ask(link, 5.0)[1]["model_version"] == "2"


def test_late_labels_reach_the_evidence_through_a_socket(registry) -> None:
    with House(registry) as house, house.connect() as link:
        house.wait_for(registry.put(1, canary(1, 2, 0.5)))
        ids = [ask(link, value)[2]["x-request-id"] for value in (9.0, 0.5, 9.0)]
        labels = [{"request_id": identity, "label": "first"} for identity in ids]
        link.request("POST", "/v2/models/m/feedback", json.dumps({"labels": labels}), {"Content-Type": "application/json"})
        assert json.loads(link.getresponse().read())["joined"] == 3
        step = house.running.server.witness.snapshot()["rel"].step(0)
        assert sum(arm.labelled for arm in step.arms.values()) == 3
        assert sum(arm.right for arm in step.arms.values()) == 2
