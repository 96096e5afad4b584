"""Floods, lies and nonsense at the collector: it stays within its bounds, answers, counts, and what is good is in the log at the end."""

from __future__ import annotations

import json
import random
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from payload_loggers import collecting, kserve, post

sys.path.append(str(Path(__file__).parents[1] / "unit" / "app"))
import registered

from fairlead.app.observations import open_log
from fairlead.app.wiring import House
from fairlead.core.observation_log import LogWindow

SEED = 20261122


@pytest.fixture
def house(tmp_path) -> House:
    house = registered.new_house(tmp_path / "home")
    registered.add_version(house, "m", registered.scaler(tmp_path / "m.onnx", 2))
    return replace(house, settings=replace(house.settings, observe_flush_s=0.05, grace_s=5.0, body_limit_bytes=2**18))


def good(name: str) -> list[bytes]:
    now = time.time()
    asked = kserve("request", name, {"instances": [[1, 2]]}, at=now, service="m")
    return [asked, kserve("response", name, {"predictions": [[3, 4]]}, at=now, service="m")]


def test_a_flood_of_requests_that_are_never_answered_stays_within_its_bounds(house: House) -> None:
    with collecting(house, "m:1", waiting_bytes=100_000, wait_s=600.0) as collector:
        flood = [kserve("request", f"r{place}", {"instances": [[place, 2]]}, at=time.time(), service="m") for place in range(150)]
        assert {reply.status for reply in collector.send(*flood, *good("last"))} == {200}
        page = collector.get("/metrics").body.decode()
        waiting = next(float(line.split()[1]) for line in page.splitlines() if line.startswith("fairlead_collector_waiting_bytes"))
        assert waiting <= 100_000
        found = collector.stop()
    assert found.events["m", "unanswered"] == 150
    assert found.events["m", "paired"] == 1
    status = np.concatenate([piece["status"] for piece in open_log(house).scan(LogWindow("m"), ("status",))])
    assert sorted(status.tolist()) == ["ok", *["unanswered"] * 150]


BODIES = {
    "more than the limit": (b" " * (2**18 + 1), 413),
    "deep": (b'{"instances": ' + b"[" * 100_000, 200),
    "NaN everywhere": (b'{"instances": [[NaN, NaN]]}', 200),
    "infinity": (b'{"instances": [[Infinity, 1e999]]}', 200),
    "a shape of a million rows": (b'{"inputs": [{"name": "x", "shape": [1000000000000, 2], "datatype": "FP32", "data": []}]}', 200),
    "a pickle": (b"\x80\x04\x95\x10\x00\x00\x00", 200),
    "nothing": (b"", 200),
}


@pytest.mark.parametrize(("body", "status"), BODIES.values(), ids=BODIES)
def test_no_payload_ends_the_collector_or_reaches_the_log_as_something_else(house: House, body: bytes, status: int) -> None:
    with collecting(house, "m:1") as collector:
        assert collector.send(kserve("request", "bad", body, at=time.time(), service="m"))[0].status == status
        answer = kserve("response", "bad", {"predictions": [[3, 4]]}, at=time.time(), service="m")
        reply = collector.send(answer)[0]
        assert reply.status == (200 if status == 413 or b"[NaN" in body else 400)
        assert {item.status for item in collector.send(*good("fine"))} == {200}
        found = collector.stop()
    ids = np.concatenate([piece["request_id"] for piece in open_log(house).scan(LogWindow("m"), ("request_id",))])
    assert set(ids.tolist()) == ({"fine", "bad"} if b"[NaN" in body else {"fine"})
    assert not any(result == "failed" for _, result in found.events)


def test_random_headers_and_bodies_are_answered_and_never_by_a_500(house: House) -> None:
    draw = random.Random(SEED)
    pieces = [
        "1.0",
        "a",
        "m",
        "request",
        "org.kubeflow.serving.inference.request",
        "%",
        "%zz",
        "{}",
        "[",
        "\x7f",
        "é",
        "0" * 300,
        "2026-13-40",
    ]
    names = ["Ce-Id", "Ce-Type", "Ce-Specversion", "Ce-Time", "Ce-Inferenceservicename", "Ce-Annotations", "Ce-", "Ce-Requestid"]
    kinds = ["application/json", "application/cloudevents+json", "application/cloudevents-batch+json", "application/cloudevents+x", ""]
    bodies = [
        b"",
        b"{}",
        b"[]",
        b'[{"id": 1}]',
        b'{"data": {"a": [1, {}]}}',
        b"\xff\x00",
        json.dumps({"specversion": "1.0", "id": "z"}).encode(),
    ]
    with collecting(house, "*=m:*") as collector:
        raw = [
            post(
                {name: draw.choice(pieces) for name in draw.sample(names, draw.randrange(len(names)))}
                | {"Content-Type": draw.choice(kinds)},
                draw.choice(bodies),
            )
            for _ in range(150)
        ]
        statuses = {collector.send(one)[0].status for one in raw}
        assert statuses <= {200, 400, 404, 413, 415}
        assert {400, 415} <= statuses
        assert collector.get("/health").status == 200
        assert collector.told == []


def test_ids_of_any_kind_come_back_as_they_are(house: House) -> None:
    ids = ["a\x00", "\x00", "😀", "ü" * 128, " ", "'; drop table observations", "../../x", "\r\nCe-Id: y"]
    kinds = {"request": {"instances": [[1, 2]]}, "response": {"predictions": [[3, 4]]}}
    batch = [
        {"specversion": "1.0", "id": name, "type": f"org.kubeflow.serving.inference.{kind}", "inferenceservicename": "m", "data": data}
        for name in ids
        for kind, data in kinds.items()
    ]
    with collecting(house, "m:1") as collector:
        raw = post({"Content-Type": "application/cloudevents-batch+json"}, json.dumps(batch).encode())
        assert collector.send(raw)[0].status == 200
        collector.stop()
    found = np.concatenate([piece["request_id"] for piece in open_log(house).scan(LogWindow("m"), ("request_id",))])
    assert sorted(found.tolist()) == sorted(ids)


def test_what_waits_when_the_collector_is_stopped_is_written(house: House) -> None:
    with collecting(house, "m:1") as collector:
        raw = [one for place in range(50) for one in good(f"p{place}")]
        assert {reply.status for reply in collector.send(*raw)} == {200}
        found = collector.stop()
    assert found.requests["m"].written == 50
    rows = sum(len(piece["at"]) for piece in open_log(house).scan(LogWindow("m"), ("at",)))
    assert rows == 50
