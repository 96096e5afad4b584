"""From events to what is left for the log: counted whatever comes, bounded, by the loggers' clocks where they make sense."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from fairlead.core.cloud_event import CloudEvent, cloud_event
from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, TensorSpec
from fairlead.core.manifest import Manifest
from fairlead.core.traffic_event import LateLabel
from fairlead.core.version import Version
from fairlead.errors import NotFoundError, RequestError
from fairlead.serve.collect import collector
from fairlead.serve.collect.collector import Collector, CollectorJob
from fairlead.serve.collect.pairing import Pairs
from fairlead.serve.collect.server import CollectServer, CollectServerJob
from fairlead.serve.http.limits import HttpLimits

NOW = 1_795_341_600.0
PAIR = Interface((TensorSpec("x", DType.FP32, (None, 2)),), (TensorSpec("y", DType.FP32, (None, 2)),))


class World:
    """A collector of one model `m`, what it left for the log, and a clock."""

    def __init__(self, **changes) -> None:
        self.now = 100.0
        self.left: list = []
        self.labels: list = []
        self.told: list[str] = []
        self.served = SimpleNamespace(version=Version("m", 3, Manifest(()), 0.0), interface=PAIR)
        pairs = Pairs(**{"wait_s": 10.0, "bytes_limit": 2**20, **changes})
        self.collector = Collector(
            CollectorJob(
                self,
                pairs,
                lambda observation, answer: self.left.append((observation, answer)),
                lambda model, labels: self.labels.append((model, labels)),
                HttpLimits(body_bytes=2**22),
                self.told.append,
                clock=lambda: NOW,
                monotonic=lambda: self.now,
            )
        )
        self.model = "m"

    def find(self, event: CloudEvent):
        if event.service != "m":
            raise NotFoundError("Nobody.")
        return None if event.component == "explainer" else self

    async def answerer(self, request, said):
        if said == "defect":
            raise ZeroDivisionError
        return self.served

    async def take(self, name: str, kind: str, payload: object, at: str = "2026-11-22T10:00:00Z", **more: str) -> None:
        kinds = {"feedback": "io.seldon.serving.feedback"}
        attributes = {"specversion": "1.0", "id": name, "type": kinds.get(kind, f"org.kubeflow.serving.inference.{kind}"), "time": at}
        data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        await self.collector.take(cloud_event(attributes | {"inferenceservicename": "m"} | more, data))

    @property
    def counts(self) -> dict[str, int]:
        return {result: count for (model, result), count in self.collector.counts.items() if model == "m"}


ASKED, SAID = {"instances": [[1, 2], [3, 4]]}, {"predictions": [[5, 6], [7, 8]]}


@pytest.mark.parametrize("order", [("request", "response"), ("response", "request")])
async def test_a_pair_becomes_an_answered_request(order: tuple[str, str]) -> None:
    world = World()
    for kind in order:
        payload, at = (ASKED, "2026-11-22T10:00:00Z") if kind == "request" else (SAID, "2026-11-22T10:00:00.25Z")
        await world.take("a", kind, payload, at)
    ((observation, answer),) = world.left
    assert (observation.request_id, observation.version, observation.rows, observation.error_code) == ("a", 3, 2, "")
    assert observation.transport == "collected"
    assert (observation.at, observation.compute_ms) == (NOW + 0.25, 250.0)
    np.testing.assert_array_equal(answer.outputs["y"], np.float32([[5, 6], [7, 8]]))
    assert world.counts == {"request": 1, "answer": 1, "paired": 1}


async def test_a_request_whose_answer_never_comes_is_kept_without_one() -> None:
    world = World()
    await world.take("a", "request", ASKED)
    await world.collector.tidy()
    assert world.left == []
    world.now += 11
    await world.collector.tidy()
    ((observation, answer),) = world.left
    assert (observation.error_code, observation.rows, answer.outputs) == ("unanswered", 2, None)
    await world.take("a", "response", SAID)
    assert world.counts == {"request": 1, "unanswered": 1, "answer": 1, "late": 1}


async def test_an_answer_whose_request_never_comes_is_counted_and_dropped() -> None:
    world = World()
    await world.take("a", "response", SAID)
    await world.collector.finish(10.0)
    assert world.left == []
    assert world.counts == {"answer": 1, "unasked": 1}


async def test_what_there_is_no_time_for_at_the_end_is_counted() -> None:
    world = World()
    for name in "abc":
        await world.take(name, "request", ASKED)
    await world.collector.finish(0.0)
    assert world.left == []
    assert world.counts == {"request": 3, "unread": 3}


async def test_what_comes_twice_is_kept_once() -> None:
    world = World()
    for kind, payload in (("request", ASKED), ("request", ASKED), ("response", SAID), ("response", SAID), ("request", ASKED)):
        await world.take("a", kind, payload)
    assert len(world.left) == 1
    assert world.counts == {"request": 3, "answer": 2, "repeated": 3, "paired": 1}


async def test_what_finds_no_room_is_given_up_and_told_once() -> None:
    world = World(count_limit=2)
    for place in range(6):
        await world.take(f"r{place}", "request", ASKED)
    assert world.counts == {"request": 6, "unanswered": 4}
    assert len(world.told) == 1


@pytest.mark.parametrize(
    ("asked", "said", "part"),
    [
        ({"instances": [[1, 2, 3]]}, SAID, "Input 'x' has shape"),
        (ASKED, {"predictions": [["a", "b"], ["c", "d"]]}, "Output 'y' holds strings"),
        (ASKED, {"predictions": [[1, 2]]}, "has 1 rows, its request has 2"),
        (b"\x80\x02", SAID, "not JSON"),
    ],
)
async def test_a_pair_that_does_not_fit_is_refused_counted_and_told(asked, said, part) -> None:
    world = World()
    await world.take("a", "request", asked)
    with pytest.raises(RequestError, match=part):
        await world.take("a", "response", said)
    assert world.left == []
    assert world.counts["unreadable"] == 1
    assert part in world.told[0]
    assert world.collector.pairs.waiting_count == 0


async def test_neither_a_bad_event_nor_a_mistake_of_ours_keeps_others_from_being_given_up() -> None:
    world = World()
    await world.take("a", "request", b"\x80")
    await world.take("b", "request", ASKED)
    world.served.interface = None
    await world.collector.finish(10.0)
    assert world.counts == {"request": 2, "unreadable": 1, "failed": 1}
    world = World()
    await world.take("a", "request", b"\x80")
    await world.take("b", "request", ASKED)
    await world.collector.finish(10.0)
    assert world.counts == {"request": 2, "unreadable": 1, "unanswered": 1}


async def test_events_of_nobody_and_of_parts_that_are_no_model_are_counted() -> None:
    world = World()
    with pytest.raises(NotFoundError):
        await world.take("a", "request", ASKED, inferenceservicename="other")
    await world.take("a", "request", ASKED, component="explainer")
    assert world.collector.counts == {("", "refused"): 1, ("", "ignored"): 1}


@pytest.mark.parametrize(
    ("asked_at", "said_at"), [("2006-01-01T00:00:00Z", "2006-01-01T00:00:01Z"), ("2036-01-01T00:00:00Z", ""), ("", "x")]
)
async def test_a_clock_that_is_far_off_does_not_put_rows_into_other_years(asked_at: str, said_at: str) -> None:
    world = World()
    await world.take("a", "request", ASKED, asked_at)
    world.now += 0.5
    await world.take("a", "response", SAID, said_at)
    ((observation, _),) = world.left
    assert observation.at - observation.compute_ms / 1e3 == pytest.approx(NOW)
    assert observation.compute_ms == pytest.approx(1000.0 if said_at.startswith("2006") else 500.0)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
async def test_payloads_that_are_large_or_may_be_are_read_beside_the_loop(pack, monkeypatch) -> None:
    readers: list[tuple[str, threading.Thread]] = []

    def noted(name: str, read):
        return lambda *given: readers.append((name, threading.current_thread())) or read(*given)

    names = ("decode_payload", "read_question", "read_answer", "seldon_label")
    for name in names:
        monkeypatch.setattr(collector, name, noted(name, getattr(collector, name)))
    world = World()
    rows = [[float(place), 0.5] for place in range(30_000)]
    await world.take("a", "request", pack(json.dumps({"instances": rows}).encode()))
    await world.take("a", "response", pack(json.dumps({"predictions": rows}).encode()))
    assert world.left[0][0].rows == 30_000
    await world.take("b", "feedback", pack(json.dumps({"truth": {"data": {"ndarray": [0.5] * 60_000}}}).encode()))
    assert {name for name, _ in readers} == set(names)
    assert all(thread is not threading.main_thread() for _, thread in readers)


async def test_the_truth_of_feedback_is_kept_and_a_reward_alone_is_counted() -> None:
    world = World()
    await world.take("e", "feedback", {"truth": {"data": {"ndarray": [[1]]}}}, requestid="puid")
    await world.take("f", "feedback", {"reward": 0.5})
    with pytest.raises(RequestError):
        await world.take("g", "feedback", {"truth": {"strData": "x"}})
    assert world.labels == [("m", [LateLabel("puid", (1,))])]
    assert world.counts == {"feedback": 3, "labelled": 1, "reward only": 1, "unreadable": 1}


def server(world: World, follow) -> CollectServer:
    """A collector that listens; its metrics are of no interest."""
    return CollectServer(
        CollectServerJob(
            world.collector,
            limits=HttpLimits(),
            metrics=lambda reading, *, is_open_metrics: iter(()),
            host="127.0.0.1",
            port=0,
            grace_s=10.0,
            version="1",
            watched=("m",),
            report=world.told.append,
            follow=follow,
        )
    )


async def test_a_mistake_in_what_runs_beside_the_collector_is_told_and_loses_nothing_that_waits() -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    world = World()
    running = server(world, fail)
    await running.start()
    await world.take("a", "request", ASKED)
    await asyncio.sleep(0)
    await running.stop()
    assert ["ZeroDivisionError" in text for text in world.told] == [True]
    assert world.counts == {"request": 1, "unanswered": 1}
