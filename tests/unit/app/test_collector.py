"""Models that are served elsewhere: what loggers send, header for header, ends up in the log, and drift is found in it."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from types import SimpleNamespace

import drifting
import numpy as np
import pytest
import registered

from fairlead.app import collector_sources
from fairlead.app.collector import CollectRequest
from fairlead.app.collector_sources import CollectedModels, parse_source
from fairlead.app.drift_report import DriftRequest, report
from fairlead.app.observations import open_log
from fairlead.app.observing_rules import ObservingChange, change_observing
from fairlead.app.wiring import House
from fairlead.cli.collect_command import _lines
from fairlead.cli.main import run
from fairlead.core.cloud_event import cloud_event
from fairlead.core.observation_log import LogWindow
from fairlead.core.version import Reference
from fairlead.errors import ConflictError, NotFoundError, PortInUseError, RequestError, SpecError
from fairlead.register.aliases import promote
from fairlead.serve.collect import server
from payload_loggers import Collecting, collecting, kserve, post, seldon

HOUR = 3600.0


@pytest.fixture
def soon(house: House) -> House:
    return replace(house, settings=replace(house.settings, observe_flush_s=0.05, grace_s=5.0))


def rows_of(house: House, model: str, *columns: str) -> dict[str, list]:
    pieces = list(open_log(house).scan(LogWindow(model), ("request_id", "row", *columns)))
    found = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
    order = np.lexsort((found["row"], found["request_id"].astype(str)))
    return {name: column[order].tolist() for name, column in found.items()}


def scaled(house: House, tmp_path, name: str = "iris", factor: float = 0.5):
    return registered.add_version(house, name, registered.scaler(tmp_path / f"{name}-{factor}.onnx", 2, factor=factor))


def event(service: str, **more: str):
    given = {"specversion": "1.0", "id": "a", "type": "org.kubeflow.serving.inference.request", "inferenceservicename": service, **more}
    return cloud_event(given, b"")


# What the agents send, to rows.


def test_what_kserves_agent_sends_becomes_rows_whatever_the_order(soon: House, tmp_path) -> None:
    scaled(soon, tmp_path)
    now = time.time() - 60
    with collecting(soon, "shop/sklearn-iris=iris:1") as collector:
        replies = collector.send(
            kserve("request", "a", {"instances": [[1, 2], [3, 4]]}, at=now),
            kserve("response", "b", {"predictions": [[9, 9]]}, at=now + 0.5),
            kserve("response", "a", {"predictions": [[0, 0.5], [1, 1.5]]}, at=now + 0.02),
            kserve("request", "b", {"instances": [[5, 6]]}, at=now),
            kserve("request", "c", {"instances": [[7, 8]]}, at=now),
        )
        assert [(reply.status, reply.body) for reply in replies] == [(200, b"")] * 5
        found = collector.stop()
    assert found.events == {("iris", "request"): 3, ("iris", "answer"): 2, ("iris", "paired"): 2, ("iris", "unanswered"): 1}
    rows = rows_of(soon, "iris", "at", "latency_s", "route", "status", "version", "input:c0", "output:y[1]")
    assert rows["request_id"] == ["a", "a", "b", "c"]
    assert rows["input:c0"] == [1, 3, 5, 7]
    assert rows["output:y[1]"][:3] == [0.5, 1.5, 9]
    assert np.isnan(rows["output:y[1]"][3])
    assert rows["status"] == ["ok", "ok", "ok", "unanswered"]
    assert set(rows["route"]) == {"collected"}
    assert rows["latency_s"] == pytest.approx([0.02, 0.02, 0.5, 0.0], abs=1e-5)
    assert rows["at"] == pytest.approx([now] * 4, abs=1e-3)
    assert found.requests["iris"].written == 3


def test_what_seldons_executor_sends_becomes_rows_and_its_feedback_labels(soon: House, tmp_path) -> None:
    registered.add_version(soon, "pets", registered.classifier(tmp_path / "pets.onnx"))
    now = time.time()
    with collecting(soon, "model-logs=pets:1") as collector:
        replies = collector.send(
            seldon("inference.request", "p1", {"data": {"names": ["c1", "c0", "c2", "c3"], "ndarray": [[2, 1, 3, 4]]}}, at=now),
            seldon("inference.response", "p1", {"data": {"names": ["t:0", "t:1", "t:2"], "ndarray": [[0.2, 0.7, 0.1]]}}, at=now + 0.01),
            seldon("feedback", "p2", {"response": {"meta": {"puid": "p1"}}, "truth": {"data": {"ndarray": [["dog"]]}}}, at=now + 1),
        )
        assert [reply.status for reply in replies] == [200] * 3
        collector.stop()
    rows = rows_of(soon, "pets", "input:c0", "output:scores[1]", "label")
    assert rows == {"request_id": ["p1"], "row": [0], "input:c0": [1.0], "output:scores[1]": [pytest.approx(0.7)], "label": ["dog"]}


def test_late_labels_can_be_sent_as_events_whatever_server_the_model_runs_on(soon: House, tmp_path) -> None:
    registered.add_version(soon, "pets", registered.classifier(tmp_path / "pets.onnx"))
    label = {"ce-specversion": "1.0", "ce-id": "l", "ce-type": "io.seldon.serving.feedback", "ce-inferenceservicename": "pets"}
    with collecting(soon, "pets:1") as collector:
        replies = collector.send(
            kserve("request", "a", {"instances": [[1, 2, 3, 4], [4, 3, 2, 1]]}, at=time.time(), service="pets"),
            kserve("response", "a", {"predictions": [[0.2, 0.7, 0.1], [1, 0, 0]]}, at=time.time(), service="pets"),
            post({**label, "ce-requestid": "a"}, b'{"truth": {"data": {"ndarray": ["owl", "cat"]}}}'),
        )
        assert [reply.status for reply in replies] == [200] * 3
        assert collector.stop().events["pets", "labelled"] == 1
    assert rows_of(soon, "pets", "label")["label"] == ["owl", "cat"]


def test_drift_is_found_in_what_was_collected_of_a_version_that_is_registered_for_its_profile_only(soon: House, capsys) -> None:
    drifting.add_watched(soon)
    generator = np.random.default_rng(3)
    first = time.time() // HOUR * HOUR - 12 * HOUR
    with collecting(soon, "*=tab:1") as collector:
        sent = []
        for hour in range(12):
            age = generator.normal(1.5 if hour >= 6 else 0.0, 1.0, 100)
            rows = np.stack([age, generator.normal(size=100), generator.normal(size=100)], axis=1)
            payload = {"inputs": [{"name": "input-0", "datatype": "FP64", "shape": [100, 3], "data": rows.ravel().tolist()}]}
            answer = {"outputs": [{"name": "output-0", "datatype": "FP64", "shape": [100, 1], "data": (3 * age).tolist()}]}
            at = first + hour * HOUR + 600
            sent += [kserve("request", f"r{hour}", payload, at=at), kserve("response", f"r{hour}", answer, at=at + 0.1)]
        assert {reply.status for reply in collector.send(*sent)} == {200}
    found = report(DriftRequest("tab:1", span_s=13 * HOUR), open_log(soon), soon, drifting.Silent())
    assert found.rows == 1200
    assert {item.feature for item in found.moved} == {"age", "noise", "kept"}
    moved = {item.feature: item.moved for item in found.moved}
    assert moved["age"] > 0.2 > moved["noise"]
    assert run(["drift", "tab:1", "--since", "13h", "--home", str(soon.settings.home)]) == 0
    assert "age" in capsys.readouterr().out


def test_redaction_and_sampling_are_those_of_the_model(soon: House, tmp_path) -> None:
    for name in ("kept", "off"):
        scaled(soon, tmp_path, name)
    change_observing("kept", ObservingChange(redact="c0=drop, c1=bucket(10)"), soon)
    change_observing("off", ObservingChange(is_on=False), soon)
    with collecting(soon, "kept:1", "off:1") as collector:
        for service in ("kept", "off"):
            asked = kserve("request", "a", {"instances": [[1, 27]]}, at=time.time(), service=service)
            collector.send(asked, kserve("response", "a", {"predictions": [[1, 2]]}, at=time.time(), service=service))
        found = collector.stop()
    assert rows_of(soon, "kept", "input:c1")["input:c1"] == [20.0]
    assert "input:c0" not in open_log(soon).columns(LogWindow("kept"))
    assert (found.requests["off"].unsampled, found.requests["off"].written) == (1, 0)
    assert open_log(soon).models() == ("kept",)


def test_a_request_without_an_answer_is_written_once_its_time_is_over(soon: House, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(server, "_TIDY_S", 0.02)
    scaled(soon, tmp_path)
    with collecting(soon, "sklearn-iris=iris:1", wait_s=0.1) as collector:
        collector.send(kserve("request", "a", {"instances": [[1, 2]]}, at=time.time()))
        registered.wait_until(lambda: bool(open_log(soon).models()), 30.0)
    assert rows_of(soon, "iris", "status")["status"] == ["unanswered"]


# What a person sees.


def test_bad_events_are_refused_with_what_to_do_and_good_ones_of_a_batch_are_taken(soon: House, tmp_path) -> None:
    scaled(soon, tmp_path)
    good = {"specversion": "1.0", "id": "a", "type": "org.kubeflow.serving.inference.request", "inferenceservicename": "iris"}
    batch = [{**good, "data": {"instances": [[1, 2]]}}, {"id": "b"}]
    with collecting(soon, "iris:1") as collector:
        replies = collector.send(
            post({"Content-Type": "application/json"}, b"{}"),
            post({"Content-Type": "application/cloudevents+avro"}, b"x"),
            kserve("request", "a", {}, at=time.time(), service="rose"),
            post({"Content-Type": "application/cloudevents-batch+json"}, json.dumps(batch).encode()),
        )
        assert [reply.status for reply in replies] == [400, 415, 404, 400]
        said = [json.loads(reply.body)["error"] for reply in replies]
        assert "ce-id" in said[0]
        assert "rose=MODEL" in said[2]
        assert "1 of 2 events were not taken. Event 1: The event has no specversion" in said[3]
        assert collector.get("/health").status == 200
        assert collector.get("/nothing").status == 404
        assert collector.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")[0].status == 405
        page = collector.get("/metrics").body.decode()
        assert 'fairlead_collected_events_total{model="iris",result="request"} 1' in page
        assert 'fairlead_collected_events_total{model="",result="refused"} 4' in page
        assert "fairlead_collector_waiting_events 1" in page
        told = list(_lines(collector.stop()))
    assert told == [
        "of no model: 4 refused (no CloudEvent, or of a service that no source names)",
        "iris: 1 unanswered",
        "iris: 1 in the log. See: fairlead observations iris",
    ]


def test_what_came_is_said_where_nothing_of_it_is_kept() -> None:
    assert list(_lines(SimpleNamespace(events={}, requests={}))) == ["No event came."]
    rewards = SimpleNamespace(events={("iris", "feedback"): 2, ("iris", "reward only"): 2}, requests={})
    assert list(_lines(rewards)) == ["iris: 2 feedback without a label (passed over)"]


def test_what_cannot_be_collected_is_refused_before_anything_listens(soon: House, tmp_path) -> None:
    scaled(soon, tmp_path)
    for sources, changes, kind in (
        ((), {}, SpecError),
        (("rose:1",), {}, NotFoundError),
        (("iris:7",), {}, NotFoundError),
        (("iris:1",), {"host": "0.0.0.0"}, SpecError),
        (("iris:1",), {"wait_s": 0.0}, SpecError),
        (("a=iris:1", "a=iris"), {}, SpecError),
    ):
        with pytest.raises(kind), collecting(soon, *sources, **changes):
            pass
    with collecting(soon, "iris") as collector, pytest.raises(PortInUseError):
        Collecting(CollectRequest(("iris",), port=int(collector.url.rpartition(":")[2])), soon)


# Who answers where.


@pytest.mark.parametrize(
    ("text", "parts", "reference"),
    [
        ("digits:3", ("*", "digits", "*"), Reference("digits", 3)),
        ("sklearn-iris=iris@staging", ("*", "sklearn-iris", "*"), Reference("iris", alias="staging")),
        ("shop/iris=iris:3", ("shop", "iris", "*"), Reference("iris", 3)),
        ("shop/graph/node-1=iris", ("shop", "graph", "node-1"), Reference("iris")),
        ("*=iris:3", ("*", "*", "*"), Reference("iris", 3)),
    ],
)
def test_sources_are_read_as_people_write_them(text: str, parts: tuple[str, ...], reference: Reference) -> None:
    source = parse_source(text)
    assert (source.namespace, source.service, source.part) == parts
    assert source.reference == reference
    assert not source.is_said
    assert parse_source("a/b=digits:*").is_said


@pytest.mark.parametrize("text", ["", "=", "a=", "=iris", "a b=iris", "a//b=iris", "a/b/c/d=iris", "a=iris:0", "a=iris:x", "../x=iris"])
def test_sources_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(SpecError):
        parse_source(text)


def test_of_several_sources_the_one_that_says_most_counts(soon: House, tmp_path) -> None:
    for factor in (1.0, 2.0, 3.0, 4.0):
        scaled(soon, tmp_path, factor=factor)
    models = CollectedModels(["*=iris:1", "svc=iris:2", "shop/svc=iris:3", "shop/svc/canary=iris:4"], soon)
    for given, number in (
        (event("other"), 1),
        (event("svc"), 2),
        (event("svc", namespace="shop"), 3),
        (event("svc", namespace="shop", endpoint="canary"), 4),
    ):
        assert models.find(given).source.reference.number == number
    assert models.find(event("svc", component="transformer")) is None
    assert models.find(event("svc", namespace="shop", endpoint="canary", component="explainer")) is None
    assert CollectedModels(["shop/svc/transformer=iris:1"], soon).find(event("svc", namespace="shop", component="transformer")) is not None
    assert models.watched[0] == "shop/svc/canary as iris:4"


def test_two_nodes_of_one_graph_are_not_taken_for_one_model(soon: House, tmp_path) -> None:
    scaled(soon, tmp_path)
    models = CollectedModels(["graph=iris:1"], soon)
    assert models.find(event("graph", modelid="one")) is not None
    with pytest.raises(ConflictError, match="Say which"):
        models.find(event("graph", modelid="two"))
    apart = CollectedModels(["ns/graph/two=iris:1"], soon)
    assert apart.find(event("graph", namespace="ns", modelid="two")) is not None
    with pytest.raises(NotFoundError):
        apart.find(event("graph", namespace="ns", modelid="one"))


async def test_an_event_says_which_version_answered_where_it_is_asked_to(soon: House, tmp_path) -> None:
    for factor in (1.0, 2.0):
        scaled(soon, tmp_path, factor=factor)
    (model,) = CollectedModels(["iris:*"], soon)._models
    assert (await model.answerer(event("iris"), "2")).version.number == 2
    annotated = event("iris", annotations='{"fairlead-version": "1"}')
    assert (await model.answerer(annotated, "2")).version.number == 1
    for said in ("", "latest", "0", "1e3"):
        with pytest.raises(RequestError, match="fairlead-version"):
            await model.answerer(event("iris", annotations="[not json"), said)
    with pytest.raises(NotFoundError):
        await model.answerer(event("iris"), "9")


def test_an_alias_is_followed_and_a_number_is_not(soon: House, tmp_path) -> None:
    scaled(soon, tmp_path)
    moving, fixed = CollectedModels(["a=iris@production", "b=iris:1"], soon)._models
    scaled(soon, tmp_path, factor=2.0)
    promote("iris", 2, alias="production", records=soon.records, clock=time.time)
    for model in (moving, fixed):
        model.refresh()
    assert (moving.text, fixed.text) == ("a as iris:2", "b as iris:1")


async def test_what_cannot_be_followed_is_said_once_and_keeps_nobody_from_being_followed(soon: House, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(collector_sources, "_FOLLOW_S", 0.01)
    for name in ("lost", "moving"):
        scaled(soon, tmp_path, name)
    models = CollectedModels(["a=lost@production", "b=moving@production"], soon)
    told = asyncio.Queue[str]()
    look_up = collector_sources.resolve

    def resolve(reference: Reference, **more):
        if reference.name == "lost":
            raise NotFoundError("lost has no alias 'production'.")
        return look_up(reference, **more)

    monkeypatch.setattr(collector_sources, "resolve", resolve)
    scaled(soon, tmp_path, "moving", 2.0)
    following = asyncio.create_task(models.follow(told.put_nowait))
    try:
        async with asyncio.timeout(30.0):
            assert await told.get() == "a as lost:1 stays as it is: lost has no alias 'production'."
            assert await told.get() == "Collecting b as moving:2 now, no more b as moving:1."
            monkeypatch.setattr(collector_sources, "resolve", look_up)
            scaled(soon, tmp_path, "lost", 2.0)
            assert await told.get() == "Collecting a as lost:2 now, no more a as lost:1."
    finally:
        following.cancel()
