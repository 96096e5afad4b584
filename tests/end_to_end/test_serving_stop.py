"""A server process of its own, and the signals that stop it: what is in flight is answered, and it exits with 0 in time."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
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

GO = pathlib.Path(sys.argv[2]).with_name("go")

class Sleeper:
    # Sleeps as many seconds as its input says, below 0 until it may go on, in a thread: it is known to be slow.
    interface = Interface((TensorSpec("x", DType.FP32, (None, 1)),), (TensorSpec("y", DType.FP32, (None, 1)),))
    description = "sleeper 1"
    def run(self, inputs, outputs=()):
        seconds = float(inputs["x"][0, 0])
        while seconds < 0 and not GO.exists():
            time.sleep(0.01)
        time.sleep(max(seconds, 0.0))
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
            time.sleep(600)
        return LoadedModel(Sleeper(), may_block=True)

def page(reading, *, is_open_metrics):
    yield f"in flight: {sum(version.in_flight for version in reading.versions)}.".encode()

say = lambda url: print(url, flush=True)
options = {"grace_s": float(sys.argv[1]), "thread_count": 8, "follow_interval_s": 0.05, "keep_warm_s": 0, "metrics": page}
serve(ServeJob(OneModel(), port=0, on_listening=say, **options))
print("stopped", flush=True)
"""


LONG_S = 600.0  # nobody waits for that
HELD = -1.0  # asks for an answer that is given once the model may go on


@contextlib.contextmanager
def server(grace_s: float, folder: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A server process; in `folder`, the file `pointer` says which version it wants, and `go` that the model may go on."""
    (folder / "pointer").write_text("1")
    command = [sys.executable, "-c", PROGRAM, str(grace_s), str(folder / "pointer")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        port = int(process.stdout.readline().rpartition(":")[2])
        wait_until(lambda: "true" in get(port, "/v2/health/ready"))
        ask(port, 0.05)  # the first call teaches the server that this model is slow
        yield process, port
    finally:
        process.kill()
        process.communicate()


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until, "did not happen in time"
        time.sleep(0.02)


@contextlib.contextmanager
def in_flight(port: int, count: int) -> Iterator[list[str]]:
    """The server has `count` requests that wait for the model to go on; gives their replies, all of them once it ends."""
    replies: list[str] = []
    askers = [threading.Thread(target=lambda: replies.append(ask(port, HELD))) for _ in range(count)]
    for asker in askers:
        asker.start()
    wait_until(lambda: f"in flight: {count}." in get(port, "/metrics"))
    yield replies
    for asker in askers:
        asker.join()


def takes_nobody(port: int) -> bool:
    try:
        get(port, "/v2/health/live")
    except ConnectionError:
        return True
    return False


def get(port: int, path: str) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as link:
        link.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        return link.makefile().read()


def ask(port: int, sleep_s: float) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as link:
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
def test_what_is_in_flight_is_answered_and_the_exit_is_clean(number, tmp_path) -> None:
    with server(LONG_S, tmp_path) as (process, port):
        idle = socket.create_connection(("127.0.0.1", port))
        send(idle, 0.0)
        read(idle)  # a connection that is kept alive
        with in_flight(port, 6) as replies:
            process.send_signal(number)
            wait_until(lambda: takes_nobody(port))
            if number == signal.SIGTERM:
                process.send_signal(number)  # twice is as good as once
            (tmp_path / "go").touch()
        assert process.wait(60) == 0
        assert len(replies) == 6
        assert [reply for reply in replies if not (reply.startswith("HTTP/1.1 200") and "connection: close" in reply)] == []
        assert idle.recv(10) == b""
        idle.close()
        assert process.communicate() == ("stopped\n", "")


def test_while_it_stops_it_says_so_and_takes_nobody_new(tmp_path) -> None:
    with server(LONG_S, tmp_path) as (process, port):
        probe = socket.create_connection(("127.0.0.1", port))
        with in_flight(port, 1):
            process.send_signal(signal.SIGTERM)
            wait_until(lambda: takes_nobody(port))
            probe.sendall(b"GET /v2/health/ready HTTP/1.1\r\nHost: a\r\n\r\n")
            reply = read(probe)
            assert reply.startswith("HTTP/1.1 503")
            assert "stopping" in reply
            assert "connection: close" in reply
            probe.close()
            (tmp_path / "go").touch()
        assert process.wait(60) == 0


def test_work_that_outlasts_the_grace_period_is_cut_off_and_the_exit_is_still_clean(tmp_path) -> None:
    with server(0.5, tmp_path) as (process, port):
        with in_flight(port, 1) as replies:
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        assert replies == [""]


def test_a_second_ctrl_c_does_not_wait(tmp_path) -> None:
    with server(LONG_S, tmp_path) as (process, port), in_flight(port, 1):
        process.send_signal(signal.SIGINT)
        wait_until(lambda: takes_nobody(port))
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


@pytest.mark.parametrize(("moment", "wanted"), [("load", "9"), ("unload", "0"), ("promote", "2")])
def test_a_stop_in_the_middle_of_a_change_answers_what_is_in_flight_and_does_not_wait_for_the_rest(moment, wanted, tmp_path) -> None:
    with server(LONG_S, tmp_path) as (process, port):
        with in_flight(port, 6) as replies:
            new = tmp_path / "new"
            new.write_text(wanted)
            new.replace(tmp_path / "pointer")  # as a whole, so that the server never reads half of it
            if moment != "promote":
                time.sleep(0.2)  # the server has begun it; sooner would test less, not something else
            process.send_signal(signal.SIGTERM)
            (tmp_path / "go").touch()
        assert process.wait(60) == 0
        assert [reply.partition("\r\n")[0] for reply in replies] == ["HTTP/1.1 200 OK"] * 6
        assert all('"version":1' in reply for reply in replies)
        assert process.communicate() == ("stopped\n", "")
