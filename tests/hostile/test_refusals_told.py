"""Callers' mistakes are told to the log's owner, each once, with what the caller was told; what is no caller's mistake is not."""

from __future__ import annotations

import contextlib
import json
import time

import pytest
from raw_http import BODY, OneModel, ask, connect, post

from fairlead.serve.data_plane import DataPlane
from fairlead.serve.grpc.calls import NO_CALL
from fairlead.serve.grpc.codec import encode
from fairlead.serve.grpc.inference import Inference
from fairlead.serve.grpc.limits import GrpcLimits
from fairlead.serve.http.limits import HttpLimits
from fairlead.serve.model_table import ModelTable
from fairlead.serve.serve_job import NullSink
from fairlead.serve.server import ServeJob, ServerThread


@pytest.fixture
def told():
    return []


@pytest.fixture
def server(told):
    job = ServeJob(OneModel(), port=0, grpc_port=0, on_refused=told.append, limits=HttpLimits(header_deadline_s=0.3, linger_s=0.1))
    with ServerThread(job) as running:
        yield running


def wait_for(told, count: int) -> None:
    until = time.monotonic() + 20
    while len(told) < count and time.monotonic() < until:
        time.sleep(0.01)
    assert len(told) == count


@pytest.mark.parametrize(
    ("raw", "status", "asked", "says"),
    [
        (post(b"{bad"), "400", "POST /v2/models/m/infer", "not JSON"),
        (post(BODY.replace(b"[1, 2]", b"[1, 3]")), "400", "POST /v2/models/m/infer", "elements"),
        (post(BODY.replace(b'"x"', b'"z"')), "400", "POST /v2/models/m/infer", "no input"),
        (post(BODY, target="/v2/models/nope/infer"), "404", "POST /v2/models/nope/infer", "no model 'nope'"),
        (post(BODY, target="/nowhere"), "404", "POST /nowhere", "nothing at this path"),
        (b"DELETE /predict HTTP/1.1\r\nHost: l\r\n\r\n", "405", "DELETE /predict", "POST"),
        (b"GET / HTTP/1.1\r\n\r\n", "400", "", "Host"),
        (b"GARBAGE\r\n\r\n", "400", "", "well-formed"),
        (b"GET / HTTP/1.1\r\nHo", "408", "", "did not arrive in time"),
    ],
)
def test_a_mistake_over_http_is_told_once_with_its_sentence(server, told, raw, status, asked, says) -> None:
    with contextlib.closing(connect(server)) as peer:
        peer.sendall(raw)
        wait_for(told, 1)
    (refusal,) = told
    assert (refusal.transport, refusal.status, refusal.asked) == ("http", status, asked)
    assert says in refusal.sentence


def test_good_requests_and_errors_of_ours_are_not_told_as_mistakes(server, told) -> None:
    assert ask(server, post(BODY))[0] == 200
    assert ask(server, b"GET /v2/health/ready HTTP/1.1\r\nHost: l\r\n\r\n")[0] == 200
    server.server.plane._queue_limit = 0
    assert ask(server, post(BODY))[0] == 503
    assert told == []


def test_mistakes_over_grpc_are_told_in_calls_and_in_streams(server, told) -> None:
    pytest.importorskip("grpc")
    from fairlead.probe.grpc_client import GrpcClient
    from fairlead.probe.grpc_messages import make

    client = GrpcClient(server.server.grpc_address, timeout_s=20)
    assert client.call("ModelInfer", make("ModelInferRequest", model_name="nope")).status == "NOT_FOUND"
    wait_for(told, 1)
    assert client.call("ModelInfer", make("ModelInferRequest", model_name="m")).status == "INVALID_ARGUMENT"
    wait_for(told, 2)
    assert [(refusal.transport, refusal.status, refusal.asked.rpartition("/")[2]) for refusal in told] == [
        ("grpc", "NOT_FOUND", "ModelInfer"),
        ("grpc", "INVALID_ARGUMENT", "ModelInfer"),
    ]
    assert "nope" in told[0].sentence
    assert json.dumps(told[0])


async def test_a_mistake_in_a_stream_is_told_though_the_stream_goes_on(told) -> None:
    inference = Inference(DataPlane(ModelTable(), NullSink(), queue_limit=1), GrpcLimits(), told.append)
    reply = await inference.infer_item(NO_CALL, encode("ModelInferRequest", model_name="nope"))
    assert b"no model" in reply
    assert [(refusal.transport, refusal.status) for refusal in told] == [("grpc", "NOT_FOUND")]
