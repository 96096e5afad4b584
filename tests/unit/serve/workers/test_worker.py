"""A worker that breaks the rules is lost, and its request with it; nothing of what it says is believed, whatever its size."""

from __future__ import annotations

import asyncio
import os
import socket
import struct

import numpy as np
import pytest

from fairlead.core.dtype import DType
from fairlead.core.interface import TensorSpec
from fairlead.serve.workers.control import Opened, encode
from fairlead.serve.workers.frames import READY, Answer, Laid, pack_answer, pack_ask, pack_words
from fairlead.serve.workers.worker import Call, Worker

SPECS = (TensorSpec("x", DType.FP32, (None, 2)),)
ROWS = np.array([[1, 2], [3, 4]], np.float32)
LENGTH = struct.Struct("=IIQ")


class Listener:
    def __init__(self) -> None:
        self.said: list[str] = []

    def worker_ready(self, worker, opened) -> None:
        self.said.append(f"ready {opened.description}")

    def worker_answered(self, worker, call) -> None:
        self.said.append(f"answered {call.sequence}")

    def worker_lost(self, worker, reason, error) -> None:
        self.said.append(f"lost {reason}{error or ''}")
        worker.close()


class Bench:
    """A worker whose other end the test holds."""

    def __init__(self) -> None:
        self.listener = Listener()
        loop = asyncio.get_running_loop()
        self.worker = Worker(self.listener, loop, limit_bytes=1 << 20, open_ticks=3)
        end, page = self.worker.inherited()
        self.end = socket.socket(fileno=os.dup(end.fileno()))
        self.page = page
        self.worker.let_go()
        self.calls: list[Call] = []

    def say(self, *buffers: bytes) -> None:
        self.end.sendall(b"".join(buffers))

    async def ready(self) -> None:
        self.say(*pack_words(READY, encode(Opened("fake 1", 0.5, is_shared=True))))
        await self.until(lambda: "ready fake 1" in self.listener.said)

    def ask(self, sequence: int = 5) -> Call:
        future = asyncio.get_running_loop().create_future()
        call = Call(sequence, pack_ask(sequence, SPECS, {"x": ROWS}, (0,)), SPECS, future, 2, 16, 4)
        self.worker.ask(call)
        self.calls.append(call)
        return call

    async def until(self, condition) -> None:
        for _ in range(1000):
            if condition():
                return
            await asyncio.sleep(0.005)
        raise AssertionError(self.listener.said)

    def close(self) -> None:
        for call in self.calls:
            call.future.cancel()
        self.worker.close()
        self.end.close()


@pytest.fixture
async def bench():
    bench = Bench()
    yield bench
    bench.close()


async def test_an_answer_settles_the_call_even_when_it_comes_byte_by_byte(bench: Bench) -> None:
    await bench.ready()
    call = bench.ask()
    for byte in b"".join(pack_answer(5, SPECS, {"x": ROWS * 2})):
        bench.say(bytes([byte]))
        await asyncio.sleep(0)
    assert (await call.future)["x"].tolist() == (ROWS * 2).tolist()
    assert bench.listener.said[-1] == "answered 5"


NONSENSE = {
    "noise": b"\xff" * 64,
    "too long a head": LENGTH.pack(5, 1 << 20, 0),
    "too long a body": LENGTH.pack(5, 4, 1 << 40),
    "an answer to another ask": b"".join(pack_answer(6, SPECS, {"x": ROWS})),
    "two answers": 2 * b"".join(pack_answer(5, SPECS, {"x": ROWS})),
    "no tensor": b"".join(pack_words(5, encode(Answer()))),
    "another shape": b"".join(pack_words(5, encode(Answer((Laid((2, 3), 24),))))) + bytes(32),
    "a shape without memory": b"".join(pack_words(5, encode(Answer((Laid((1 << 40, 2), 1 << 43),))))),
    "its first word again": b"".join(pack_words(READY, encode(Opened("fake 1", 0.5, is_shared=True)))),
}


@pytest.mark.parametrize("kind", NONSENSE)
async def test_nonsense_loses_the_worker_and_settles_nothing(bench: Bench, kind: str) -> None:
    await bench.ready()
    call = bench.ask()
    bench.say(NONSENSE[kind])
    await bench.until(lambda: any("said what cannot be" in sentence for sentence in bench.listener.said))
    assert call.future.exception() is not None


async def test_a_word_that_nobody_asked_for_loses_the_worker(bench: Bench) -> None:
    await bench.ready()
    bench.say(*pack_answer(1, SPECS, {"x": ROWS}))
    await bench.until(lambda: any("nobody asked" in sentence for sentence in bench.listener.said))


@pytest.mark.parametrize("first", [NONSENSE["an answer to another ask"], NONSENSE["noise"], b"".join(pack_words(READY, b"\x93abc"))])
async def test_a_first_word_that_is_none_loses_the_worker(bench: Bench, first: bytes) -> None:
    bench.say(first)
    await bench.until(lambda: any("lost" in sentence for sentence in bench.listener.said))


async def test_a_worker_that_never_gets_ready_is_hung(bench: Bench) -> None:
    assert [bench.worker.tick() for _ in range(4)] == ["", "", "", "took too long to open the model"]


async def test_a_worker_that_does_not_beat_is_hung_and_one_that_computes_too_long_too(bench: Bench) -> None:
    await bench.ready()
    assert [bench.worker.tick() for _ in range(10)][-1] == "gave no sign of life"
    other = Bench()
    await other.ready()
    beats = memoryview(other.worker._pulse._page).cast("Q")
    other.ask()
    seen = []
    for _ in range(6):
        beats[0] += 1
        seen.append(other.worker.tick())
    beats.release()
    other.close()
    assert seen == ["", "", "", "", "took too long for one request", "took too long for one request"]


async def test_what_the_other_end_does_not_take_yet_waits_without_holding_the_loop(bench: Bench) -> None:
    await bench.ready()
    rows = np.zeros((1 << 20, 2), np.float32)
    future = asyncio.get_running_loop().create_future()
    call = Call(5, pack_ask(5, SPECS, {"x": rows}, (0,)), SPECS, future, 1, 1, 4)
    bench.worker.ask(call)
    bench.calls.append(call)
    received, size = 0, sum(map(len, call.buffers))
    bench.end.setblocking(False)
    while received < size:
        try:
            received += len(bench.end.recv(1 << 20))
        except BlockingIOError:
            await asyncio.sleep(0)
    assert received == size
