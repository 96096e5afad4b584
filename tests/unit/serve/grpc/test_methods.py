"""Every method: its permission, its answer, and what is not offered; deadlines, cancellation, and the end of a server."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path

import http2_peer
import pytest
from http2_peer import Doubling, Peer, doubled, request

from fairlead.errors import PortInUseError
from fairlead.serve.grpc import frames as h2
from fairlead.serve.grpc.schema import HEALTH_MESSAGES, MESSAGES
from fairlead.serve.http.routes import Permission
from fairlead.serve.serve_job import ServeJob
from fairlead.serve.server import ServerThread

SERVICE = "/inference.GRPCInferenceService/"
HEALTH = "/grpc.health.v1.Health/"
PROTO = Path(__file__).parents[4] / "docs" / "reference" / "open_inference.proto"
NOT_OFFERED = [
    *(f"{kind}SharedMemory{verb}" for kind in ("System", "Cuda") for verb in ("Status", "Register", "Unregister")),
    "TraceSetting",
    "LogSettings",
]
UNAVAILABLE, FORBIDDEN, MISSING, DEADLINE, UNIMPLEMENTED = 14, 7, 5, 4, 12


def ask(peer: Peer, method: str, /, **fields):
    """Call a method with a message of these fields; return its answer's message."""
    found = peer.call(MESSAGES[f"{method}Request"](**fields).SerializeToString(), SERVICE + method)
    assert found.status == 0, found.text
    return MESSAGES[f"{method}Response"].FromString(found.messages[0])


@pytest.fixture(scope="module")
def open_address():
    """A server that lets clients load and unload."""
    with http2_peer.server(allow_model_control=True, software_version="1.2.3") as running:
        yield running.server.grpc_address


@pytest.fixture
def operator(open_address):
    with Peer(open_address) as peer:
        yield peer


def test_every_method_names_its_permission_and_every_method_of_the_proto_is_there(served):
    methods = served.server._grpc.service.methods
    assert all(isinstance(method.permission, Permission) for method in methods.values())
    assert all(path == method.path.encode() for path, method in methods.items())
    of_proto = {SERVICE + name for name in re.findall(r"rpc (\w+)\(", PROTO.read_text())}
    assert {path.decode() for path in methods} == of_proto | {HEALTH + "Check", HEALTH + "Watch"}


def test_what_changes_a_server_needs_more_than_a_look(served):
    needs = {path.decode().rpartition("/")[2]: method.permission for path, method in served.server._grpc.service.methods.items()}
    assert {name for name, permission in needs.items() if permission is Permission.OPERATE} == {
        "RepositoryModelLoad",
        "RepositoryModelUnload",
    }
    assert {name for name, permission in needs.items() if permission is Permission.INFER} == {"ModelInfer", "ModelStreamInfer"}
    assert {name for name, permission in needs.items() if permission is Permission.HEALTH} == {
        "ServerLive",
        "ServerReady",
        "Check",
        "Watch",
    }


@pytest.mark.parametrize("path", [*(SERVICE + name for name in NOT_OFFERED), "/", "//", SERVICE, "/grpc.reflection.v1.ServerReflection/X"])
def test_what_is_not_offered_is_unimplemented(peer, path):
    found = peer.call(b"", path)
    assert (found.status, found.headers[":status"]) == (UNIMPLEMENTED, "200")
    assert found.headers["grpc-accept-encoding"]


def test_live_ready_and_metadata(operator):
    assert ask(operator, "ServerLive").live
    assert ask(operator, "ServerReady").ready
    server = ask(operator, "ServerMetadata")
    assert (server.name, server.version) == ("fairlead", "1.2.3")
    assert "schedule_policy" in server.extensions
    model = ask(operator, "ModelMetadata", name="m")
    assert list(model.versions) == ["1"]
    assert [(tensor.name, tensor.datatype, list(tensor.shape)) for tensor in model.inputs] == [("x", "FP32", [-1, 2])]
    assert not model.properties


def test_a_model_that_is_not_there_is_not_ready_which_is_no_error(operator):
    assert ask(operator, "ModelReady", name="m", version="1").ready
    for name, version in (("m", "2"), ("other", ""), ("m", "nonsense"), ("", "")):
        assert not ask(operator, "ModelReady", name=name, version=version).ready


@pytest.mark.parametrize("name", ["ModelMetadata", "ModelConfig", "ModelStatistics"])
def test_a_look_at_what_is_not_there_says_so(operator, name):
    content = MESSAGES[f"{name}Request"](name="other").SerializeToString()
    found = operator.call(content, SERVICE + name)
    assert (found.status, "other" in found.text) == (MISSING, True)


@pytest.mark.parametrize("name", [name[: -len("Request")] for name in MESSAGES if name.endswith("Request") and "Infer" not in name])
def test_bytes_that_are_no_message_are_refused_by_every_method(operator, name):
    assert operator.call(b"\xff\xff\xff", SERVICE + name).status == 3
    assert operator.call(b"\x0a" + b"\xff\xff\x7f" + bytes(2**20), SERVICE + name).status == 8


def test_configuration_and_statistics_are_filled(operator):
    config = ask(operator, "ModelConfig", name="m").config
    assert (config.name, [tensor.name for tensor in config.input]) == ("m", ["x"])
    assert config.input[0].data_type == 11
    assert [(item.name, item.version) for item in ask(operator, "ModelStatistics").model_stats] == [("m", "1")]


def test_load_and_unload_in_triton_s_form_and_in_kserve_s(operator):
    for field in ("model_name", "repository_name"):
        index = ask(operator, "RepositoryIndex", ready=True).models
        assert [(item.name, item.version, item.state) for item in index] == [("m", "1", "READY")]
        ask(operator, "RepositoryModelUnload", **{field: "m"})
        assert not ask(operator, "ModelReady", name="m").ready
        assert not ask(operator, "RepositoryIndex", ready=True).models
        assert {item.state for item in ask(operator, "RepositoryIndex").models} == {"UNAVAILABLE"}
        assert operator.call(request()).status in {MISSING, UNAVAILABLE}
        ask(operator, "RepositoryModelLoad", **{field: "m"})
        assert operator.call(request()).status == 0


def test_kserve_s_form_is_answered_as_kserve_reads_it_and_triton_s_with_nothing(operator):
    content = MESSAGES["RepositoryModelLoadRequest"](repository_name="m").SerializeToString()
    assert operator.call(content, SERVICE + "RepositoryModelLoad").messages == [b"\x0a\x01m\x10\x01"]
    content = MESSAGES["RepositoryModelLoadRequest"](model_name="m").SerializeToString()
    assert operator.call(content, SERVICE + "RepositoryModelLoad").messages == [b""]


def test_loads_that_cannot_be_are_refused(operator, peer):
    kind = MESSAGES["RepositoryModelLoadRequest"]
    with_file = kind(model_name="m")
    with_file.parameters["file:1/model.onnx"].bytes_param = b"x"
    for content, status in ((kind(), 3), (kind(model_name="other"), MISSING), (with_file, 3)):
        assert operator.call(content.SerializeToString(), SERVICE + "RepositoryModelLoad").status == status
    found = peer.call(kind(model_name="m").SerializeToString(), SERVICE + "RepositoryModelLoad")
    assert (found.status, "--allow-model-control" in found.text) == (FORBIDDEN, True)


def health(content: bytes) -> int:
    return HEALTH_MESSAGES["HealthCheckResponse"].FromString(content).status


@pytest.mark.parametrize(("service", "status"), [("", 1), ("inference.GRPCInferenceService", 1), ("m", 1), ("other", None)])
def test_health_is_that_of_the_server_or_of_a_model(peer, service, status):
    found = peer.call(HEALTH_MESSAGES["HealthCheckRequest"](service=service).SerializeToString(), HEALTH + "Check")
    assert (health(found.messages[0]) if found.messages else None) == status
    assert found.status == (0 if status else MISSING)


def test_watched_health_says_what_is_and_what_changes(operator):
    stream = operator.begin(HEALTH_MESSAGES["HealthCheckRequest"](service="m").SerializeToString(), HEALTH + "Watch")

    def said() -> int:
        return health(operator.until(lambda frame: frame.kind == h2.DATA and frame.stream == stream).payload[5:])

    assert said() == 1
    ask(operator, "RepositoryModelUnload", model_name="m")
    assert said() in {2, 3}
    ask(operator, "RepositoryModelLoad", model_name="m")
    assert said() == 1
    operator.send(h2.rst_stream(stream, h2.CANCEL))
    operator.ping()


class Gated(Doubling):
    """Answers when it may."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()

    def run(self, inputs, outputs=()):
        self.run_count += 1
        self.gate.wait(20)
        return {"y": inputs["x"] * 2}


@pytest.fixture
def gated():
    """A server whose model has to be let go, and whose calls never run in the event loop."""
    engine = Gated()
    source = http2_peer.Source(engine)
    plain = source.load
    source.load = lambda version: _blocking(plain(version))
    with ServerThread(ServeJob(source, port=0, grpc_port=0, thread_count=1, grace_s=20.0)) as running:
        yield engine, running
        engine.gate.set()


def _blocking(loaded):
    from dataclasses import replace

    return replace(loaded, may_block=True)


def wait_until(condition) -> None:
    until = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < until, "did not happen in time"
        time.sleep(0.01)


def test_a_call_whose_time_passes_is_answered_then_and_its_place_is_free(gated):
    engine, running = gated
    with Peer(running.server.grpc_address) as peer:
        found = peer.call(request(), grpc_timeout="200m")
        assert found.status == DEADLINE
        wait_until(lambda: running.server.plane.in_flight == 0)
        engine.gate.set()
        assert peer.call(request()).status == 0


def test_cancelled_calls_and_calls_of_a_peer_that_is_gone_free_their_places_and_do_not_run(gated):
    engine, running = gated
    plane = running.server.plane
    with Peer(running.server.grpc_address) as peer:
        streams = [peer.begin(request()) for _ in range(20)]
        wait_until(lambda: plane.in_flight == 20)
        for stream in streams[1:15]:
            peer.send(h2.rst_stream(stream, h2.CANCEL))
        wait_until(lambda: plane.in_flight == 6)
    wait_until(lambda: plane.in_flight == 0)
    engine.gate.set()
    with Peer(running.server.grpc_address) as peer:
        assert peer.call(request()).status == 0
    assert engine.run_count <= 3


def test_a_full_queue_says_when_to_ask_again(gated):
    _, running = gated
    with Peer(running.server.grpc_address) as first, Peer(running.server.grpc_address) as second:
        for peer in (first, second):
            for _ in range(64):
                peer.begin(request())
        wait_until(lambda: running.server.plane.in_flight == 128)
        found = second.call(request())
        assert found.status == UNAVAILABLE
        assert int(found.headers["grpc-retry-pushback-ms"]) >= 1000


def test_a_stopping_server_answers_what_is_in_flight_and_takes_nothing_new(gated):
    engine, running = gated
    with Peer(running.server.grpc_address) as peer:
        stream = peer.begin(request())
        watched = peer.begin(b"", HEALTH + "Watch")
        wait_until(lambda: running.server.plane.in_flight == 1)
        stopping = threading.Thread(target=running.stop)
        stopping.start()
        peer.until(lambda frame: frame.kind == h2.GOAWAY and frame.payload[:4] == b"\x7f\xff\xff\xff")
        ping = peer.until(lambda frame: frame.kind == h2.PING and not frame.flags)
        during = peer.begin(MESSAGES["ServerReadyRequest"]().SerializeToString(), SERVICE + "ServerReady")
        assert not MESSAGES["ServerReadyResponse"].FromString(peer.answer(during).messages[0]).ready
        peer.send(h2.frame(h2.PING, h2.ACK, 0, ping.payload))
        peer.until(lambda frame: frame.kind == h2.GOAWAY and frame.payload[:4] == during.to_bytes(4, "big"))
        assert peer.answer(watched).status == UNAVAILABLE
        peer.begin(request())  # the peer was told that this one is not served
        engine.gate.set()
        assert doubled(peer.answer(stream).messages[0]).tolist() == [[3.0, 4.0]]
        assert peer.frame() is None
        stopping.join(10)
        assert not stopping.is_alive()


def test_a_stopping_server_ends_streams_between_their_messages():
    with http2_peer.server(grace_s=30.0) as running, Peer(running.server.grpc_address) as peer:
        stream = peer.open(http2_peer.STREAM)
        peer.send(peer.data(stream, http2_peer.framed(request()), end=False))
        peer.until(lambda frame: frame.kind == h2.DATA)
        began = time.monotonic()
        stopping = threading.Thread(target=running.stop)
        stopping.start()
        assert peer.answer(stream).status == UNAVAILABLE
        stopping.join(20)
        assert time.monotonic() - began < 20


def test_a_port_that_is_taken_is_named_and_the_other_is_given_back(served):
    taken = int(served.server.grpc_address.rpartition(":")[2])
    thread = ServerThread(ServeJob(http2_peer.Source(Doubling()), port=0, grpc_port=taken))
    with pytest.raises(PortInUseError, match=f"{taken}.*--grpc-port"):
        thread.start()


def test_without_a_port_there_is_no_grpc():
    with ServerThread(ServeJob(http2_peer.Source(Doubling()), port=0)) as running:
        assert running.server.grpc_address == ""


def test_a_mistake_of_ours_shows_nothing_of_the_inside():
    class Broken(Doubling):
        def run(self, inputs, outputs=()):
            raise ValueError("secret /path")

    reports: list[str] = []
    with http2_peer.server(Broken(), report=reports.append) as running, Peer(running.server.grpc_address) as peer:
        found = peer.call(request())
        assert (found.status, found.text) == (13, "The server failed to answer this request.")
        assert any("secret" in report for report in reports)
