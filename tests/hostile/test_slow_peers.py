"""R13 and R14 in small: peers that send or read a byte at a time are let go at their deadlines, while good clients are answered.

Each with its control: a server whose deadlines never come keeps them, so that what is looked at is what the deadlines do.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import threading
import time
from dataclasses import dataclass
from typing import Self

import numpy as np
import pytest
from raw_http import BODY, OneModel, ask, post, resident_bytes

from fairlead.serve.grpc.limits import GrpcLimits
from fairlead.serve.http.limits import HttpLimits
from fairlead.serve.server import ServeJob, ServerThread

PEERS, PAUSE_S = 200, 0.1
PATIENCE_S = 40.0  # how long a loaded machine may take for what takes a second
FOREVER_S = 3600.0


@dataclass(frozen=True)
class Kind:
    """What a peer sends at once, and what byte by byte."""

    at_once: bytes
    slowly: bytes
    is_grpc: bool = False


HEAD = b"POST /v2/models/m/infer HTTP/1.1\r\nHost: l\r\nContent-Type: application/json\r\n"
KINDS = {
    "headers byte by byte": Kind(b"", HEAD + b"X: " + b"x" * 4000),
    "a body byte by byte": Kind(HEAD + b"Content-Length: 4000\r\n\r\n", b" " * 4000),
    "half of an HTTP/2 preface": Kind(b"PRI * HTTP/2.0\r\n", b"", is_grpc=True),
}


def job(deadline_s: float) -> ServeJob:
    times = {"header_deadline_s": deadline_s, "body_deadline_s": deadline_s, "write_deadline_s": deadline_s}
    return ServeJob(
        OneModel(),
        port=0,
        grpc_port=0,
        limits=HttpLimits(linger_s=0.2, **times),
        grpc_limits=GrpcLimits(header_deadline_s=deadline_s, body_deadline_s=deadline_s),
    )


class Peers:
    """Slow peers of one kind. `closed` are those that the server let go."""

    def __init__(self, server, kind: Kind) -> None:
        host, port = ("127.0.0.1", int(server.url.rpartition(":")[2]))
        if kind.is_grpc:
            port = int(server.server.grpc_address.rpartition(":")[2])
        self._kind = kind
        self.links = [socket.create_connection((host, port), timeout=10) for _ in range(PEERS)]
        self.closed: set[socket.socket] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._drip)

    def __enter__(self) -> Self:
        for link in self.links:
            link.setblocking(False)
            with contextlib.suppress(OSError):
                link.send(self._kind.at_once)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        for link in self.links:
            link.close()

    def _drip(self) -> None:
        for place in range(10**6):
            open_links = [link for link in self.links if link not in self.closed]
            for link in select.select(open_links, [], [], 0)[0]:
                try:
                    is_over = not link.recv(65536)
                except BlockingIOError:
                    is_over = False
                except OSError:
                    is_over = True
                if is_over:
                    self.closed.add(link)
            if place < len(self._kind.slowly):
                for link in open_links:
                    with contextlib.suppress(OSError):
                        link.send(self._kind.slowly[place : place + 1])
            if self._over.wait(PAUSE_S):
                return


@pytest.mark.parametrize("name", KINDS)
def test_peers_that_send_a_byte_at_a_time_are_let_go_and_keep_nobody_waiting(name) -> None:
    with ServerThread(job(0.5)) as server, Peers(server, KINDS[name]) as peers:
        until = time.monotonic() + PATIENCE_S
        answered = 0
        while len(peers.closed) < PEERS and time.monotonic() < until:
            assert ask(server, post(BODY))[1]["outputs"][0]["data"] == [3.0, 4.0]
            answered += 1
        assert len(peers.closed) == PEERS
        assert answered > 0
        assert ask(server, post(BODY))[0] == 200


def test_control_without_deadlines_such_peers_stay() -> None:
    with ServerThread(job(FOREVER_S)) as server, Peers(server, KINDS["headers byte by byte"]) as peers:
        time.sleep(2.0)
        assert len(peers.closed) == 0
        assert server.server._gate.connection_count == PEERS
        assert ask(server, post(BODY))[0] == 200


REPLY_MIB, READERS = 4, 20


def large_request() -> bytes:
    raw = np.ones((REPLY_MIB * 2**17, 2), np.float32).tobytes()
    tensor = {"name": "x", "shape": [len(raw) // 8, 2], "datatype": "FP32", "parameters": {"binary_data_size": len(raw)}}
    text = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    return post(text + raw, f"Inference-Header-Content-Length: {len(text)}")


def read_slowly(server, over: threading.Event, count: int) -> None:
    """Ask for a large reply over each of as many connections, and take a byte of it now and then."""
    request = large_request()
    with contextlib.ExitStack() as stack:
        links = []
        for _ in range(count):
            link = stack.enter_context(socket.socket())
            link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            link.settimeout(10)
            link.connect(("127.0.0.1", int(server.url.rpartition(":")[2])))
            with contextlib.suppress(OSError):
                link.sendall(request)
            links.append(link)
        while not over.wait(PAUSE_S):
            for link in links:
                with contextlib.suppress(OSError):
                    link.recv(1)


@contextlib.contextmanager
def slow_readers(server, count: int):
    over = threading.Event()
    thread = threading.Thread(target=read_slowly, args=(server, over, count))
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def wait_for(condition) -> bool:
    until = time.monotonic() + PATIENCE_S
    while not condition() and time.monotonic() < until:
        time.sleep(0.02)
    return condition()


def test_peers_that_read_a_byte_at_a_time_are_cut_off_and_what_waits_for_them_is_bounded() -> None:
    with ServerThread(job(1.0)) as server:
        assert ask(server, post(BODY))[0] == 200
        gate, before = server.server._gate, resident_bytes()
        most = 0
        with slow_readers(server, READERS):
            assert wait_for(lambda: gate.connection_count > 0)
            until = time.monotonic() + PATIENCE_S
            while gate.connection_count and time.monotonic() < until:
                most = max(most, resident_bytes() - before)
                assert ask(server, post(BODY))[0] == 200
                time.sleep(0.02)
            assert gate.connection_count == 0
        assert most < READERS * REPLY_MIB * 2**20 * 4  # a request, its answer, and each in what the kernel and the client here hold


def test_control_without_a_deadline_such_readers_stay() -> None:
    with ServerThread(job(FOREVER_S)) as server:
        gate = server.server._gate
        with slow_readers(server, READERS):
            assert wait_for(lambda: gate.connection_count == READERS)
            time.sleep(2.0)
            assert gate.connection_count == READERS
