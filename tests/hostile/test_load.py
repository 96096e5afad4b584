"""Too much at once, too late, gone away, and in company: cases R17, R18, R19 and R35 over real sockets, each with its control."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
import threading
import time
from dataclasses import dataclass, field

import numpy as np
import pytest
from raw_http import PAIR, OneModel, ask, connect, post, read_reply

from fairlead.core.ports import LoadedModel
from fairlead.serve.batching import BatchPolicy
from fairlead.serve.call_limit import parse_limits
from fairlead.serve.http.limits import HttpLimits
from fairlead.serve.server import ServeJob, ServerThread


class Model:
    """Gives its input back. The second number of a row is how many seconds it takes; `gate` holds every call until it is set."""

    interface, description = PAIR, "echo 1"

    def __init__(self, *, gate: threading.Event | None = None, is_mixing: bool = False) -> None:
        self.gate, self.is_mixing = gate, is_mixing
        self.batches: list[int] = []
        self.running = self.most_running = 0
        self._counting = threading.Lock()

    def run(self, inputs, _outputs=()):
        x = inputs["x"]
        self.batches.append(len(x))
        with self._counting:
            self.running += 1
            self.most_running = max(self.most_running, self.running)
        if self.gate is not None:
            self.gate.wait(30)
        time.sleep(float(x[:, 1].max()))
        with self._counting:
            self.running -= 1
        return {"y": x[::-1].copy() if self.is_mixing else x.copy()}

    def close(self) -> None:
        pass


@dataclass
class Registry(OneModel):
    model: Model
    is_batch_invariant: bool = False
    is_slow: bool = False

    def load(self, _version):
        return LoadedModel(self.model, may_block=self.is_slow, is_batch_invariant=self.is_batch_invariant)


@dataclass
class Sink:
    codes: list[str] = field(default_factory=list)

    def record(self, observation) -> None:
        self.codes.append(observation.error_code)

    def record_batch(self, batch) -> None:
        pass


def request(number: float, seconds: float = 0.0, *, rows: int = 1, **parameters) -> bytes:
    tensor = {
        "name": "x",
        "shape": [rows, 2],
        "datatype": "FP32",
        "data": [value for row in range(rows) for value in (number + row, seconds)],
    }
    return post(json.dumps({"inputs": [tensor]} | ({"parameters": parameters} if parameters else {})).encode())


def numbers(body: bytes) -> list[float]:
    return json.loads(body)["outputs"][0]["data"][::2]


class Client:
    """One keep-alive connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, server) -> Client:
        return cls(*await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2])))

    async def ask(self, raw: bytes) -> tuple[int, dict[str, str], bytes]:
        self.writer.write(raw)
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        return int(head[0].split()[1]), headers, await self.reader.readexactly(int(headers["content-length"]))

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


def scheduler_of(server):
    return server.server.table.models["m"].versions[1].scheduler


def wait_for(condition, what: str, timeout_s: float = 20.0) -> None:
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until, what
        time.sleep(0.01)


def is_idle(server) -> bool:
    """Every place is free and every count is even."""
    scheduler, plane, gate = scheduler_of(server), server.server.plane, server.server._gate
    counts = (plane.in_flight, plane.table.models["m"].admitted, scheduler.waiting_count, scheduler.running_count, gate.buffered_bytes)
    return scheduler.created_count == scheduler.released_count and not any(counts)


# R35: rows of many callers in one call.


async def wrong_answers(server, *, clients: int, asks: int) -> int:
    """Ask with a number of its own in every row; return how many answers held another one."""

    async def drive(place: int) -> int:
        client, wrong = await Client.open(server), 0
        for turn in range(asks):
            number, rows = float(place * 10_000 + turn * 10), 1 + (place + turn) % 4
            status, _, body = await client.ask(request(number, rows=rows))
            wrong += status != 200 or numbers(body) != [number + row for row in range(rows)]
        await client.close()
        return wrong

    return sum(await asyncio.gather(*(drive(place) for place in range(clients))))


def test_no_row_reaches_another_caller_in_any_place_of_any_batch() -> None:
    model = Model()
    job = ServeJob(Registry(model, is_batch_invariant=True), port=0, batch=BatchPolicy(max_rows=32), queue_limit=1000)
    with ServerThread(job) as server:
        assert asyncio.run(wrong_answers(server, clients=40, asks=40)) == 0
        assert is_idle(server)
    assert len(set(model.batches)) > 8  # batches of many sizes were made
    assert max(model.batches) <= 32


def test_that_a_model_which_mixes_rows_would_have_been_noticed() -> None:
    job = ServeJob(Registry(Model(is_mixing=True), is_batch_invariant=True), port=0, batch=BatchPolicy(max_rows=32), queue_limit=1000)
    with ServerThread(job) as server:
        assert asyncio.run(wrong_answers(server, clients=8, asks=8)) > 0


def test_rows_of_a_version_without_evidence_are_never_joined() -> None:
    model = Model()
    with ServerThread(ServeJob(Registry(model), port=0, queue_limit=1000)) as server:
        assert asyncio.run(wrong_answers(server, clients=16, asks=8)) == 0
    assert max(model.batches) <= 4  # the rows of one request


# R17: four times as much as it can do.


def test_exactly_the_places_that_there_are_are_taken_and_the_rest_is_refused_at_once() -> None:
    gate = threading.Event()

    async def drive(server) -> list[tuple[int, dict[str, str]]]:
        clients = [await Client.open(server) for _ in range(30)]
        tasks = [asyncio.create_task(client.ask(request(number))) for number, client in enumerate(clients)]
        while sum(task.done() for task in tasks) < 30 - 12:  # noqa: ASYNC110 - what is waited for happens in another thread
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        assert sum(task.done() for task in tasks) == 30 - 12
        gate.set()
        answers = await asyncio.gather(*tasks)
        for client in clients:
            await client.close()
        return [(status, headers) for status, headers, _ in answers]

    with ServerThread(ServeJob(Registry(Model(gate=gate), is_slow=True), port=0, queue_limit=12)) as server:
        answers = asyncio.run(drive(server))
        assert sorted(status for status, _ in answers) == [200] * 12 + [503] * 18
        assert all(int(headers["retry-after"]) >= 1 for status, headers in answers if status == 503)
        assert is_idle(server)
        assert ask(server, request(1))[0] == 200


def test_an_overloaded_server_answers_what_it_can_refuses_the_rest_early_and_recovers() -> None:
    seconds, slots, places = 0.1, 1, 8  # long enough that a busy machine, too, asks faster than that
    accepted: list[float] = []
    refused: list[float] = []

    async def one(server, number: int) -> None:
        client, began = await Client.open(server), time.monotonic()
        status, _, body = await client.ask(request(number, seconds))
        (accepted if status == 200 else refused).append(time.monotonic() - began)
        assert status in (200, 503)
        assert status == 503 or numbers(body) == [number]
        await client.close()

    async def flood(server) -> float:
        tasks = []
        for number in range(120):  # four times as fast as the slots can work, whatever becomes of the answers
            tasks.append(asyncio.create_task(one(server, number)))
            await asyncio.sleep(seconds / slots / 4)
        await asyncio.gather(*tasks)
        ended = time.monotonic()
        await one(server, 1000)
        return time.monotonic() - ended

    with ServerThread(ServeJob(Registry(Model(), is_slow=True), port=0, queue_limit=places, thread_count=slots)) as server:
        recovery_s = asyncio.run(flood(server))
        assert is_idle(server)
    assert len(accepted) + len(refused) == 121
    assert len(refused) > 30
    assert len(accepted) > 15
    accepted.sort()
    refused.sort()
    assert refused[len(refused) // 2] < seconds * places  # sooner than it could have been answered
    assert accepted[len(accepted) // 2] < 10 * seconds * places
    assert recovery_s < 2 + 8  # 2 s on an idle machine


async def most_at_once(server, model: Model, count: int) -> int:
    """How many calls were under way at once while that many clients asked."""
    clients = [await Client.open(server) for _ in range(count)]
    answers = await asyncio.gather(*(client.ask(request(number, 0.01)) for number, client in enumerate(clients)))
    assert [numbers(body)[0] for _, _, body in answers] == list(range(count))
    for client in clients:
        await client.close()
    return model.most_running


@pytest.mark.parametrize(("limits", "most"), [("", 4), ("3", 3), ("1", 1), ("4, m=2", 2), ("other=1", 4)])
def test_of_a_model_s_calls_exactly_as_many_are_under_way_at_once_as_may_be(limits, most) -> None:
    model = Model()
    job = ServeJob(Registry(model, is_slow=True), port=0, thread_count=4, queue_limit=40, concurrency=parse_limits(limits))
    with ServerThread(job) as server:
        assert asyncio.run(most_at_once(server, model, 32)) == most
        assert is_idle(server)


# R18: too late.


@pytest.fixture
def sleepy():
    with ServerThread(ServeJob(Registry(Model(), is_slow=True), port=0, thread_count=1)) as server:
        yield server


def test_a_request_is_answered_at_its_deadline_though_the_model_sleeps_on(sleepy) -> None:
    began = time.monotonic()
    status, answer = ask(sleepy, request(1, 2.0, timeout=50_000))
    assert (status, time.monotonic() - began < 1.5) == (504, True)
    assert "time" in answer["error"].lower()
    assert sleepy.server.plane.in_flight == 0  # its place is free though the engine still sleeps
    wait_for(lambda: is_idle(sleepy), "the slot was not given back")


def test_that_the_same_request_without_a_deadline_is_answered(sleepy) -> None:
    assert ask(sleepy, request(7, 0.3))[0] == 200


def test_work_that_waits_past_its_deadline_is_never_begun(sleepy) -> None:
    model = sleepy.server._job.source.model
    with connect(sleepy) as first:
        first.sendall(request(1, 0.5))
        wait_for(lambda: len(model.batches) == 1, "the first request did not begin")
        assert ask(sleepy, request(2, 0.0, timeout=50_000))[0] == 504
        wait_for(lambda: is_idle(sleepy), "the slot was not given back")
    assert len(model.batches) == 1


# R19: gone away.


def abandon(link: socket.socket, *, is_rude: bool) -> None:
    """Close a connection; rudely, with a reset."""
    if is_rude:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    link.close()


def test_clients_that_go_away_at_any_moment_leave_nothing_behind() -> None:
    seconds, count = 0.1, 120
    generator, sink = random.Random(4), Sink()
    job = ServeJob(
        Registry(Model(), is_slow=True),
        port=0,
        limits=HttpLimits(linger_s=0.2),
        sink=sink,
        thread_count=2,
        queue_limit=count,
        batch=BatchPolicy(),
    )
    with ServerThread(job) as server:
        began = time.monotonic()
        stay: list[tuple[int, socket.socket]] = []
        for number in range(count):
            link, raw = connect(server), request(number, seconds)
            if number % 10 < 7:  # most go away: in the headers, in the body, while they wait or run
                link.sendall(raw[: generator.choice((5, 60, len(raw) - 10, len(raw), len(raw), len(raw)))])
                abandon(link, is_rude=generator.random() < 0.5)
            else:
                link.sendall(raw)
                stay.append((number, link))
        for number, link in stay:
            with link, link.makefile("rb") as stream:
                status, _, body = read_reply(stream)
                assert (status, numbers(body)) == (200, [number])
        wait_for(lambda: is_idle(server) and server.server._gate.connection_count == 0, "something was left behind")
        spent = time.monotonic() - began
    assert sink.codes.count("cancelled") > 10
    assert sink.codes.count("") >= len(stay)
    assert spent < 20 + 0.5 * count * seconds


@pytest.mark.parametrize("is_rude", [True, False], ids=["reset", "closed"])
def test_what_was_pipelined_is_given_up_with_its_connection(is_rude) -> None:
    gate, sink, model = threading.Event(), Sink(), Model()
    model.gate = gate
    job = ServeJob(Registry(model, is_slow=True), port=0, limits=HttpLimits(linger_s=0.2), sink=sink, thread_count=1)
    with ServerThread(job) as server:
        link = connect(server)
        link.sendall(b"".join(request(number) for number in range(4)))
        wait_for(lambda: len(model.batches) == 1, "nothing began")
        abandon(link, is_rude=is_rude)
        wait_for(lambda: server.server.plane.in_flight == 0, "the place was not given back while the engine still works")
        gate.set()
        wait_for(lambda: is_idle(server), "something was left behind")
    assert sink.codes == ["cancelled"]
    assert len(model.batches) == 1


def test_a_peer_that_only_stops_sending_is_still_answered() -> None:
    with ServerThread(ServeJob(Registry(Model(), is_slow=True), port=0)) as server, connect(server) as link, link.makefile("rb") as stream:
        link.sendall(request(5, 0.1))
        link.shutdown(socket.SHUT_WR)
        status, _, body = read_reply(stream)
        assert (status, numbers(body)) == (200, [5])


def test_numbers_come_back_as_they_were_sent() -> None:
    x = np.float32(1) / 3
    with ServerThread(ServeJob(Registry(Model()), port=0)) as server:
        assert np.float32(ask(server, request(float(x)))[1]["outputs"][0]["data"][0]) == x
