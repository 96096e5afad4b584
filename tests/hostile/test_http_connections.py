"""Bytes that no good client sends, against a listening server: each is answered in the right way, and the next request is served."""

from __future__ import annotations

import contextlib
import gc
import json
import re
import socket
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from raw_http import BODY, OneModel, ask, chunked, connect, many, post, read_reply, resident_bytes

from fairlead.serve.http.connection import Connection
from fairlead.serve.http.limits import HttpLimits
from fairlead.serve.http.receiver import Receiver
from fairlead.serve.server import ServeJob, ServerThread

SIZES = {"body_bytes": 2**20, "buffered_bytes": 4 * 2**20, "connection_count": 150}
TIMES = {"header_deadline_s": 1.0, "body_deadline_s": 1.0, "write_deadline_s": 1.0, "idle_s": 2.0, "linger_s": 0.5}
LIMITS = HttpLimits(**SIZES, **TIMES)


@pytest.fixture(scope="module")
def server():
    said = []
    with ServerThread(ServeJob(OneModel(), port=0, limits=LIMITS, report=said.append, queue_limit=1000)) as running:
        yield running
    assert [line for line in said if "failed" in line] == []


@pytest.fixture
def patient():
    """One that gives a busy machine half a minute to answer whom it cannot tell from one who has gone."""
    with ServerThread(ServeJob(OneModel(), port=0, limits=replace(LIMITS, linger_s=30.0))) as running:
        yield running


@pytest.fixture(autouse=True)
def still_serving(server):
    """After each test: alive, ready, right, and nothing of the test left behind."""
    yield
    status, answer = ask(server, post(BODY))
    assert status == 200
    assert answer["outputs"][0]["data"] == [3.0, 4.0]
    gate = server.server._gate
    until = time.monotonic() + 5
    while (gate.connection_count or gate.buffered_bytes) and time.monotonic() < until:
        time.sleep(0.02)
    assert (gate.connection_count, gate.buffered_bytes) == (0, 0)


MALFORMED = {
    "not HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 50,
    "bare words": b"HELLO\r\n\r\n",
    "no host": b"GET /v2 HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /v2 HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "a host with a fragment": b"GET /v2 HTTP/1.1\r\nHost: a#b\r\n\r\n",
    "a host with a path": b"GET /v2 HTTP/1.1\r\nHost: x/v2/health?\r\n\r\n",
    "a header without a name": b"GET /v2 HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n",
    "a space before the colon": b"GET /v2 HTTP/1.1\r\nHost : a\r\n\r\n",
    "a folded header": b"GET /v2 HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n",
    "a zero byte in a header": b"GET /v2 HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n",
    "two lengths": post(BODY, f"Content-Length: {len(BODY) + 1}"),
    "length and chunks": post(BODY, "Transfer-Encoding: chunked"),
    "a negative length": b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    "a length that is no number": b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 1e3\r\n\r\n",
    "a length beyond 64 bits": b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n",
    "an unknown transfer encoding": post(b"", "Transfer-Encoding: gzip, chunked", length=False) + chunked([BODY]),
    "a chunk size that is no number": post(b"", "Transfer-Encoding: chunked", length=False) + b"zz\r\nabc\r\n0\r\n\r\n",
    "an unknown version": b"GET /v2 HTTP/3.7\r\nHost: a\r\n\r\n",
    "HTTP/2 by prior knowledge": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}


@pytest.mark.parametrize("raw", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_request_is_answered_with_400_and_the_connection_is_closed(server, raw) -> None:
    with connect(server) as link, link.makefile("rb") as stream:
        link.sendall(raw)
        status, headers, body = read_reply(stream)
        assert status == 400
        assert headers["connection"] == "close"
        assert not re.search(r"/\w|0x|Traceback", json.loads(body)["error"].replace("HTTP/1.1", ""))
        assert stream.read() == b""


def test_connections_that_ended_leave_nothing_to_the_collector_of_garbage(server) -> None:
    gate = server.server._gate
    gc.collect()
    gc.disable()
    try:
        for raw in (post(BODY), MALFORMED["two lengths"], b"GET /v2 HT"):
            for _ in range(5):
                with connect(server) as link:
                    link.sendall(raw)
                    link.shutdown(socket.SHUT_WR)
                    while link.recv(4096):
                        pass
        until = time.monotonic() + 10
        while gate.connection_count and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(0.05)  # the loop itself still refers to the last one for a moment
        left = [item for item in gc.get_objects() if isinstance(item, Connection | Receiver)]
    finally:
        gc.enable()
    assert len(left) <= 2  # as many as one connection has


@pytest.mark.parametrize(("method", "status"), [("CONNECT a:1", 404), ("TRACE /v2", 405), ("OPTIONS /v2", 405), ("PATCH /v2", 405)])
def test_other_methods_are_not_allowed(server, method, status) -> None:
    assert ask(server, f"{method} HTTP/1.1\r\nHost: a\r\n\r\n".encode())[0] == status


def test_a_smuggled_second_request_is_never_run(server) -> None:
    smuggled = b"GET /v2/models HTTP/1.1\r\nHost: a\r\n\r\n"
    raw = post(b"", "Transfer-Encoding: chunked", f"Content-Length: {len(smuggled) + 5}", length=False) + b"0\r\n\r\n" + smuggled
    with connect(server) as link, link.makefile("rb") as stream:
        link.sendall(raw)
        assert read_reply(stream)[0] == 400
        assert stream.read() == b""


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([f"X-{number}: 1" for number in range(1000)], 431),
        (["X: " + "a" * 2**20], 431),
        ([f"X-{number}: {'a' * 1000}" for number in range(30)], 431),
        (["Content-Encoding: br"], 415),
        (["Expect: a miracle"], 417),
    ],
    ids=["count", "one large", "many large", "encoding", "expectation"],
)
def test_headers_beyond_the_limits_are_refused(server, headers, status) -> None:
    assert ask(server, post(BODY, *headers))[0] == status


def test_a_header_line_without_end_is_refused_and_not_kept(server) -> None:
    before = resident_bytes()
    with connect(server) as link, link.makefile("rb") as stream:
        link.sendall(b"GET /v2 HTTP/1.1\r\nX: ")
        with contextlib.suppress(ConnectionError):
            for _ in range(256):
                link.sendall(b"a" * 65_536)
        assert read_reply(stream)[0] == 431
    assert resident_bytes() - before < 4 * 2**20


@pytest.mark.parametrize(("size", "status"), [(2**20, 400), (2**20 + 1, 413)])
@pytest.mark.parametrize("is_chunked", [False, True])
def test_the_body_limit_holds_to_the_byte(server, size, status, is_chunked) -> None:
    body = b'"' + b" " * (size - 2) + b'"'
    raw = post(b"", "Transfer-Encoding: chunked", length=False) + chunked([body]) if is_chunked else post(body)
    got, answer = ask(server, raw)
    assert got == status
    if status == 413:
        assert "1048576" in answer["error"]
        assert "body_limit_bytes" in answer["error"]


def test_a_giant_body_is_refused_before_it_is_sent(server) -> None:
    with connect(server) as link, link.makefile("rb") as stream:
        link.sendall(post(b"", f"Content-Length: {10 * 2**30}", length=False))
        assert read_reply(stream)[0] == 413


def test_too_many_chunks_are_refused_and_leave_no_memory_behind(server) -> None:
    raw = post(b"", "Transfer-Encoding: chunked", length=False) + b"1\r\n \r\n" * 65_537 + b"0\r\n\r\n"
    assert ask(server, raw)[0] == 413  # also warms up
    before = resident_bytes()
    for _ in range(5):
        assert ask(server, raw)[0] == 413
    assert resident_bytes() - before < 2**20
    few = post(b"", "Transfer-Encoding: chunked", length=False) + chunked([BODY[place : place + 1] for place in range(len(BODY))])
    assert ask(server, few)[0] == 200


def test_that_the_memory_measure_sees_a_leak() -> None:
    before = resident_bytes()
    leak = np.ones(2**26, np.uint8)
    assert resident_bytes() - before > 2**25
    del leak


def test_bodies_that_are_received_at_once_are_bounded(server) -> None:
    statuses = []
    with many(server, 6) as links:
        for link in links:
            link.sendall(post(b"x" * (2**20 - 10), f"Content-Length: {2**20}", length=False))
        for link in links:
            link.settimeout(0.3)
            with contextlib.suppress(TimeoutError), link.makefile("rb") as stream:
                statuses.append(read_reply(stream)[0])
    assert 503 in statuses


def test_pipelined_requests_are_answered_in_order(server) -> None:
    count = 300
    bodies = [BODY.replace(b"1.5", b"%d" % number) for number in range(count)]
    with connect(server) as link, link.makefile("rb") as stream:
        threading.Thread(target=link.sendall, args=(b"".join(post(body) for body in bodies),), daemon=True).start()
        for number in range(count):
            assert json.loads(read_reply(stream)[2])["outputs"][0]["data"] == [2.0 * number, 4.0]


def test_a_good_request_before_a_bad_one_is_still_answered(server) -> None:
    with connect(server) as link, link.makefile("rb") as stream:
        link.sendall(post(BODY) + b"garbage\r\n\r\n")
        assert read_reply(stream)[0] == 200
        assert read_reply(stream)[0] == 400
        assert stream.read() == b""


def test_the_request_id_comes_back_and_cannot_inject_headers(server) -> None:
    with connect(server) as link, link.makefile("rb") as stream:
        link.sendall(post(BODY, "X-Request-Id: abc-1"))
        assert read_reply(stream)[1]["x-request-id"] == "abc-1"
        for bad in ("a b", "a" * 129, "\x80", "a\tb"):
            link.sendall(post(BODY, f"X-Request-Id: {bad}"))
            assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]+", read_reply(stream)[1]["x-request-id"])


def test_expect_100_continue_is_answered_before_the_body(server) -> None:
    with connect(server) as link, link.makefile("rb") as stream:
        link.sendall(post(b"", "Expect: 100-continue", f"Content-Length: {len(BODY)}", length=False))
        assert stream.readline() == b"HTTP/1.1 100 Continue\r\n"
        assert stream.readline() == b"\r\n"
        link.sendall(BODY)
        assert read_reply(stream)[0] == 200


def test_http_1_0_closes_unless_asked_to_stay(server) -> None:
    with connect(server) as link, link.makefile("rb") as stream:
        link.sendall(b"GET /v2/health/live HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert read_reply(stream)[1]["connection"] == "keep-alive"
        link.sendall(b"GET /v2/health/live HTTP/1.0\r\n\r\n")
        assert read_reply(stream)[1]["connection"] == "close"
        assert stream.read() == b""


def test_connection_close_closes_and_head_has_no_body(server) -> None:
    with connect(server) as link, link.makefile("rb") as stream:
        link.sendall(b"HEAD /v2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert stream.read().endswith(b"connection: close\r\n\r\n")


def test_an_upgrade_is_ignored_and_answered(server) -> None:
    assert ask(server, b"GET /v2 HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")[0] == 200


def test_trailers_cannot_change_the_request(server) -> None:
    raw = post(b"", "Transfer-Encoding: chunked", length=False) + chunked([BODY])[:-2] + b"Content-Encoding: br\r\nHost: b\r\n\r\n"
    assert ask(server, raw)[0] == 200


@pytest.mark.parametrize(("raw", "status"), [(post(BODY)[:-5], 400), (post(BODY.replace(b"1.5", b"13")), 200)], ids=["half", "whole"])
def test_a_request_behind_which_the_peer_stops_sending_is_answered(patient, raw, status) -> None:
    with connect(patient) as link, link.makefile("rb") as stream:
        link.sendall(raw)
        link.shutdown(socket.SHUT_WR)
        assert read_reply(stream)[0] == status


@pytest.mark.parametrize(
    ("begin", "what"), [(b"GET /v2 HTTP/1.1\r\nX: ", "headers"), (post(b"", "Content-Length: 1000", length=False), "body")]
)
def test_a_peer_that_sends_byte_by_byte_is_told_408_at_the_deadline(server, begin, what) -> None:
    with connect(server) as link:
        link.sendall(begin)
        began = time.monotonic()
        link.settimeout(0.1)
        received = b""
        while time.monotonic() - began < 5 and b"\r\n\r\n" not in received:
            with contextlib.suppress(ConnectionError):
                link.send(b"a")
            with contextlib.suppress(TimeoutError):
                received += link.recv(4096)
        assert 0.9 < time.monotonic() - began < 2.5
        assert b" 408 " in received
        assert what.encode() in received


def test_an_idle_connection_is_closed_and_a_silent_new_one_too(server) -> None:
    with connect(server) as link, link.makefile("rb") as stream:
        began = time.monotonic()
        assert stream.read() == b""
        assert time.monotonic() - began < 2.5
    with connect(server) as link, link.makefile("rb") as stream:
        link.sendall(post(BODY))
        read_reply(stream)
        began = time.monotonic()
        assert stream.read() == b""
        assert 1.5 < time.monotonic() - began < 4


def test_slow_senders_do_not_keep_good_ones_waiting(server) -> None:
    times = []
    with many(server, 100) as slow:
        for link in slow:
            link.sendall(b"POST /predict HTTP/1.1\r\nHo")
        for _ in range(50):
            began = time.monotonic()
            assert ask(server, post(BODY))[0] == 200
            times.append(time.monotonic() - began)
    assert sorted(times)[45] < 0.25


def test_a_peer_that_does_not_read_is_cut_off_and_its_replies_do_not_pile_up(server) -> None:
    rows = 12_000
    wide = json.dumps({"inputs": [{"name": "x", "shape": [rows, 2], "datatype": "FP32", "data": [0.123456] * (2 * rows)}]}).encode()
    before = resident_bytes()
    with many(server, 4) as links:
        for link in links:
            link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            link.settimeout(0.2)
            with contextlib.suppress(TimeoutError, ConnectionError):
                for _ in range(50):
                    link.sendall(post(wide))
        assert resident_bytes() - before < 64 * 2**20
        gate, until = server.server._gate, time.monotonic() + 6
        while gate.connection_count and time.monotonic() < until:
            time.sleep(0.05)
        assert gate.connection_count == 0


def test_connections_beyond_the_cap_are_told_so_and_the_others_stay(server) -> None:
    with many(server, LIMITS.connection_count) as links:
        time.sleep(0.1)
        with connect(server) as link, link.makefile("rb") as stream:
            assert read_reply(stream)[0] == 503
        links[0].sendall(post(BODY))
        with links[0].makefile("rb") as stream:
            assert read_reply(stream)[0] == 200


def test_a_client_that_goes_away_while_it_waits_hurts_nobody(server) -> None:
    for _ in range(20):
        link = connect(server)
        link.sendall(post(BODY.replace(b"1.5", b"13")))
        link.close()
    model = server.server.table.models["m"]
    until = time.monotonic() + 10
    while model.admitted and time.monotonic() < until:
        time.sleep(0.05)
    assert model.admitted == 0
