"""A server process of its own, and the signals that stop it: what is in flight is answered, and it exits with 0 in time."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

PROGRAM = """
import pathlib, sys, time
import numpy as np
from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, TensorSpec
from fairlead.core.manifest import Manifest
from fairlead.core.ports import LoadedModel
from fairlead.core.version import Version
from fairlead.serve.server import ServeJob
from fairlead.serve.stage import serve

class Sleeper:
    # Sleeps as many seconds as its input says, in a thread: it is known to be slow.
    interface = Interface((TensorSpec("x", DType.FP32, (None, 1)),), (TensorSpec("y", DType.FP32, (None, 1)),))
    description = "sleeper 1"
    def run(self, inputs, outputs=()):
        time.sleep(float(inputs["x"][0, 0]))
        return {"y": inputs["x"]}
    def close(self):
        pass

class OneModel:
    # The file named on the command line holds the number of the version that is wanted, 0 for none; version 9 takes long to load.
    def wanted(self):
        return int(pathlib.Path(sys.argv[2]).read_text())
    def aspired(self):
        return {"m": Version("m", self.wanted(), Manifest(()), 0.0)} if self.wanted() else {}
    def sequence(self):
        return self.wanted()
    def load(self, version):
        if version.number == 9:
            time.sleep(60)
        return LoadedModel(Sleeper(), may_block=True)

say = lambda url: print(url, flush=True)
job = ServeJob(OneModel(), port=0, grace_s=float(sys.argv[1]), thread_count=8, follow_interval_s=0.05, keep_warm_s=0, on_listening=say)
serve(job)
print("stopped", flush=True)
"""


@contextlib.contextmanager
def server(grace_s: float, pointer: Path | None = None) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A server process; `pointer` is the file that says which version it wants."""
    with tempfile.TemporaryDirectory() as folder:
        pointer = pointer or Path(folder) / "pointer"
        pointer.write_text("1")
        with started([sys.executable, "-c", PROGRAM, str(grace_s), str(pointer)]) as found:
            yield found


@contextlib.contextmanager
def started(command: list[str]) -> Iterator[tuple[subprocess.Popen[str], int]]:
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        port = int(process.stdout.readline().rpartition(":")[2])
        while "true" not in get(port, "/v2/health/ready"):
            time.sleep(0.02)
        ask(port, 0.05)  # the first call teaches the server that this model is slow
        yield process, port
    finally:
        process.kill()
        process.communicate()


def get(port: int, path: str) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as link:
        link.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        return link.makefile().read()


def ask(port: int, sleep_s: float) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as link:
        send(link, sleep_s)
        return read(link)


def send(link: socket.socket, sleep_s: float) -> None:
    body = json.dumps({"input": [[sleep_s]]})
    link.sendall(f"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())


def read(link: socket.socket) -> str:
    """The reply, or "" where the connection ended without one."""
    data = b""
    with contextlib.suppress(ConnectionError):
        while b"}" not in data and (part := link.recv(4096)):
            data += part
    return data.decode()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_what_is_in_flight_is_answered_and_the_exit_is_clean(number) -> None:
    with server(10) as (process, port):
        replies: list[str] = []
        askers = [threading.Thread(target=lambda: replies.append(ask(port, 1.0))) for _ in range(6)]
        idle = socket.create_connection(("127.0.0.1", port))
        send(idle, 0.0)
        read(idle)  # a connection that is kept alive
        for asker in askers:
            asker.start()
        time.sleep(0.4)
        began = time.monotonic()
        process.send_signal(number)
        if number == signal.SIGTERM:
            time.sleep(0.1)
            process.send_signal(number)  # twice is as good as once
        for asker in askers:
            asker.join()
        assert process.wait(10) == 0
        assert time.monotonic() - began < 5
        assert len(replies) == 6
        assert [reply for reply in replies if not (reply.startswith("HTTP/1.1 200") and "connection: close" in reply)] == []
        assert idle.recv(10) == b""
        idle.close()
        assert process.communicate() == ("stopped\n", "")


def test_while_it_stops_it_says_so_and_takes_nobody_new() -> None:
    with server(10) as (process, port):
        probe = socket.create_connection(("127.0.0.1", port))
        asker = threading.Thread(target=lambda: ask(port, 1.5))
        asker.start()
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        probe.sendall(b"GET /v2/health/ready HTTP/1.1\r\nHost: a\r\n\r\n")
        reply = read(probe)
        assert reply.startswith("HTTP/1.1 503")
        assert "stopping" in reply
        assert "connection: close" in reply
        with pytest.raises(ConnectionError):
            get(port, "/v2/health/live")
        probe.close()
        asker.join()
        assert process.wait(10) == 0


def test_work_that_outlasts_the_grace_period_is_cut_off_and_the_exit_is_still_clean() -> None:
    with server(0.5) as (process, port):
        replies: list[str] = []
        asker = threading.Thread(target=lambda: replies.append(ask(port, 30.0)))
        asker.start()
        time.sleep(0.3)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert time.monotonic() - began < 3
        asker.join()
        assert replies == [""]


def test_a_second_ctrl_c_does_not_wait() -> None:
    with server(30) as (process, port):
        asker = threading.Thread(target=lambda: ask(port, 20.0))
        asker.start()
        time.sleep(0.3)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
        assert time.monotonic() - began < 3
        asker.join()


@pytest.mark.parametrize(("moment", "wanted"), [("load", "9"), ("unload", "0"), ("promote", "2")])
def test_a_stop_in_the_middle_of_a_change_answers_what_is_in_flight_and_does_not_wait_for_the_rest(moment, wanted, tmp_path) -> None:
    pointer = tmp_path / "pointer"
    with server(10, pointer) as (process, port):
        replies: list[str] = []
        askers = [threading.Thread(target=lambda: replies.append(ask(port, 1.0))) for _ in range(6)]
        for asker in askers:
            asker.start()
        time.sleep(0.3)
        new = pointer.with_suffix(".new")
        new.write_text(wanted)
        new.replace(pointer)  # as a whole, so that the server never reads half of it
        if moment != "promote":
            time.sleep(0.2)  # the server has begun it
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        for asker in askers:
            asker.join()
        assert process.wait(10) == 0
        assert time.monotonic() - began < 8
        assert [reply.partition("\r\n")[0] for reply in replies] == ["HTTP/1.1 200 OK"] * 6
        assert all('"version":1' in reply for reply in replies)
        assert process.communicate() == ("stopped\n", "")
