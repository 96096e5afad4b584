"""What a client of the HTTP port sees while a release runs: who answered, pins, late labels."""

import asyncio
import json
from dataclasses import replace
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

from fairlead.core.traffic import Arm, TrafficPlan
from fairlead.serve.data_plane import DataPlane
from fairlead.serve.http.api import Api, ApiJob
from fairlead.serve.http.limits import HttpLimits
from fairlead.serve.http.message import HttpRequest, Memo
from fairlead.serve.model_table import ModelTable
from fairlead.serve.traffic import Traffic
from fairlead.serve.traffic_mirror import Mirror
from fairlead.serve.traffic_witness import TrafficCounter
from fairlead.serve.version_plan import Plan

INFER = "/v2/models/m/infer"
BODY = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1.0, 2.0]}]}


@pytest.fixture
def world(fakes):
    """An api over versions 3 (live) and 4 (which numbers its classes the other way round) of the model m."""
    table, counter = ModelTable(), TrafficCounter()
    plane = DataPlane(table, fakes.Sink(), queue_limit=8)
    mirror = Mirror(table, counter, is_calm=lambda: True, open_twin=None, report=print)
    Traffic(table, counter, mirror, label="production", report=print)
    turned = replace(fakes.pair, labels=("yes", "no"))
    table.enter(fakes.served(fakes.version("m", 3), fakes.Engine(3)))
    table.enter(fakes.served(fakes.version("m", 4), fakes.Engine(4, interface=turned)))
    api = Api(ApiJob(plane, HttpLimits(), "1.2.3", lambda: "", print, witness=counter))

    def run(share: float | None, **fields) -> None:
        plan = None
        if share is not None:
            plan = TrafficPlan("rel", 0, (Arm("live", 3, 1 - share), Arm("candidate", 4, share)), salt="s", **fields)
        table.arrange("m", Plan((), 3, {"production": 3}, (), plan))

    async def send(target, body, method="POST", identity="rid", **headers):
        names = {key.replace("_", "-").encode(): value.encode() for key, value in headers.items()}
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await api.handle(HttpRequest(method.encode(), target.encode(), names, raw, request_id=identity))

    async def ask(*args, **fields):
        reply = await send(*args, **fields)
        return reply.status, msgspec.json.decode(reply.body)

    run(None)
    return SimpleNamespace(api=api, run=run, send=send, ask=ask, counter=counter, table=table)


def lines(reply) -> dict:
    return dict(line.decode().split(": ", 1) for line in reply.headers)


async def test_an_answer_of_v2_names_its_version_and_arm(world) -> None:
    world.run(1.0)
    reply = await world.send(INFER, BODY)
    answer = msgspec.json.decode(reply.body)
    assert (answer["model_version"], answer["parameters"]) == ("4", {"arm": "candidate"})
    assert lines(reply) == {"fairlead-version": "4", "fairlead-arm": "candidate"}


async def test_without_a_release_an_answer_of_v2_is_as_it_was(world) -> None:
    reply = await world.send(INFER, BODY)
    assert "parameters" not in msgspec.json.decode(reply.body)
    assert reply.headers == ()


async def test_a_raw_answer_names_them_too(world) -> None:
    world.run(1.0)
    reply = await world.send(INFER, BODY | {"parameters": {"binary_data_output": True}})
    assert lines(reply)["fairlead-arm"] == "candidate"
    size = int(lines(reply)["inference-header-content-length"])
    assert msgspec.json.decode(reply.body[:size])["parameters"] == {"arm": "candidate"}
    assert np.frombuffer(reply.body[size:], np.float32).tolist() == [4.0, 8.0]


@pytest.mark.parametrize(
    ("target", "body"),
    [("/predict", {"input": [[1, 2]]}), ("/v1/models/m:predict", {"instances": [[1, 2]]}), ("/invocations", {"instances": [[1, 2]]})],
)
async def test_the_other_forms_name_them_in_headers(world, target, body) -> None:
    assert lines(await world.send(target, body)) == {"fairlead-version": "3"}
    world.run(1.0)
    assert lines(await world.send(target, body)) == {"fairlead-version": "4", "fairlead-arm": "candidate"}


async def test_an_answer_means_what_the_version_that_gave_it_says(world) -> None:
    assert (await world.ask("/predict", {"input": [[1, 2]]}))[1]["labels"] == ["yes"]
    world.run(1.0)
    assert (await world.ask("/predict", {"input": [[1, 2]]}))[1]["labels"] == ["no"]


async def test_requests_are_divided_on_every_way_in_and_labels_too(world) -> None:
    world.run(1.0)
    for target in ("/v1/models/m:predict", "/v1/models/m/labels/production:predict"):
        assert lines(await world.send(target, {"instances": [[1, 2]]}))["fairlead-arm"] == "candidate"
    reply = await world.send("/v1/models/m/versions/3:predict", {"instances": [[1, 2]]})
    assert lines(reply) == {"fairlead-version": "3"}
    assert (await world.ask("/v2/models/m/versions/3/infer", BODY))[1]["model_version"] == "3"


@pytest.mark.parametrize(
    ("headers", "version"), [({"fairlead_version": "4"}, "4"), ({"fairlead_version": "v4"}, "4"), ({"fairlead_arm": "candidate"}, "4")]
)
async def test_a_header_pins_the_version(world, headers, version) -> None:
    world.run(0.0)
    status, answer = await world.ask(INFER, BODY, **headers)
    assert (status, answer["model_version"], "parameters" in answer) == (200, version, False)
    assert lines(await world.send("/predict", {"input": [[1, 2]]}, **headers)) == {"fairlead-version": version}
    assert world.counter.read().requests == {}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"fairlead_version": "four"}, 400),
        ({"fairlead_version": "4", "fairlead_arm": "live"}, 400),
        ({"fairlead_arm": "no such\tthing"}, 400),
        ({"fairlead_version": "9"}, 404),
        ({"fairlead_arm": "B"}, 404),
    ],
)
async def test_a_pin_that_cannot_be_meant_is_refused(world, headers, status) -> None:
    world.run(0.5)
    got, answer = await world.ask(INFER, BODY, **headers)
    assert (got, list(answer)) == (status, ["error"])


async def test_a_path_and_a_header_that_contradict_each_other_are_refused(world) -> None:
    assert (await world.ask("/v2/models/m/versions/3/infer", BODY, fairlead_version="4"))[0] == 400
    assert (await world.ask("/v2/models/m/versions/4/infer", BODY, fairlead_version="4"))[0] == 200


async def direct(world, **headers):
    """Answer without a coroutine, as the server does."""
    done = asyncio.get_running_loop().create_future()
    names = {key.replace("_", "-").encode(): value.encode() for key, value in headers.items()}
    request = HttpRequest(b"POST", INFER.encode(), names, json.dumps(BODY).encode(), request_id="rid", memo=Memo())
    going = world.api.direct.begin(request, lambda _, reply: done.set_result(reply))
    return None if going is None else await done


async def test_the_short_way_divides_and_pins_as_the_long_one(world) -> None:
    assert msgspec.json.decode((await direct(world)).body)["model_version"] == "3"
    world.run(1.0)
    reply = await direct(world)
    assert (msgspec.json.decode(reply.body)["model_version"], lines(reply)["fairlead-arm"]) == ("4", "candidate")
    assert msgspec.json.decode((await direct(world, fairlead_version="3")).body)["model_version"] == "3"
    assert await direct(world, fairlead_version="three") is None  # left to the one that explains


async def answered(world, *identities: str) -> None:
    for identity in identities:
        assert (await world.ask(INFER, BODY, identity=identity))[0] == 200


@pytest.mark.parametrize("target", ["/v2/models/m/feedback", "/v1/models/m:feedback", "/feedback"])
async def test_late_labels_are_joined_by_request_id(world, target) -> None:
    world.run(1.0)
    await answered(world, "a", "b")
    labels = [{"request_id": "a", "label": "no"}, {"request_id": "b", "label": "yes"}, {"request_id": "gone", "label": "yes"}]
    counts = {"model": "m", "joined": 2, "unknown": 1, "duplicate": 0, "ambiguous": 0, "kept": 0}
    assert await world.ask(target, {"labels": labels}) == (200, counts)
    assert await world.ask(target, labels[0]) == (200, counts | {"joined": 0, "unknown": 0, "duplicate": 1})
    arm = world.counter.snapshot()["rel"].step(0).arm("candidate")
    assert (arm.labelled, arm.right) == (2, 1)


async def test_late_labels_are_joined_by_the_id_in_the_body_too(world) -> None:
    world.run(0.0)
    await world.ask(INFER, BODY | {"id": "mine"})
    assert (await world.ask("/feedback", {"request_id": "mine", "label": "yes"}))[1]["joined"] == 1


async def test_a_request_with_rows_has_a_label_for_each(world) -> None:
    world.run(0.0)
    rows = {"inputs": [{"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 2, 1]}]}
    await world.ask(INFER, rows, identity="two")
    assert (await world.ask("/feedback", {"request_id": "two", "label": "yes"}))[0] == 400
    assert (await world.ask("/feedback", {"request_id": "two", "label": ["yes", "yes"]}))[1]["joined"] == 1
    arm = world.counter.snapshot()["rel"].step(0).arm("live")
    assert (arm.labelled, arm.right) == (2, 1)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"labels": {}},
        {"labels": [{"request_id": 3, "label": "yes"}]},
        {"labels": [{"request_id": "a"}]},
        {"labels": [{"request_id": "a", "label": None}]},
        {"labels": [{"request_id": "a", "label": {"x": 1}}]},
        {"labels": [{"request_id": "", "label": "yes"}]},
        {"labels": [{"request_id": "a" * 129, "label": "yes"}]},
        {"labels": [{"request_id": "a", "label": "yes", "other": 1}]},
        {"labels": [], "request_id": "a", "label": "yes"},
        {"request_id": "a"},
        {"request_id": "a", "label": "perhaps"},
        {"labels": [{"request_id": "b", "label": "yes"}] * 600 + [{"request_id": "a", "label": 7}]},
        b"[",
        b"",
    ],
)
async def test_labels_that_make_no_sense_are_a_400_and_nothing_is_counted(world, body) -> None:
    world.run(0.0)
    await answered(world, "a", "b")
    status, answer = await world.ask("/v2/models/m/feedback", body)
    assert (status, list(answer)) == (400, ["error"])
    assert world.counter.read().labels == {}


async def test_no_label_at_all_is_no_error_and_an_unknown_model_is(world) -> None:
    assert (await world.ask("/feedback", {"labels": []}))[1]["joined"] == 0
    assert (await world.ask("/v2/models/none/feedback", {"labels": []}))[0] == 404


async def test_a_hundred_thousand_labels_in_one_body_are_joined(world) -> None:
    world.run(0.0)
    await answered(world, *(f"r{place:x}" for place in range(50)))
    labels = [{"request_id": f"r{place:x}", "label": "yes"} for place in range(100_000)]
    status, answer = await world.ask("/v2/models/m/feedback", {"labels": labels})
    assert (status, answer["joined"], answer["unknown"]) == (200, 50, 99_950)


async def test_many_labels_are_read_while_others_have_their_turns(world) -> None:
    is_over = False

    async def others() -> int:
        turns = 0
        while not is_over:
            turns += 1
            await asyncio.sleep(0)
        return turns

    watching = asyncio.create_task(others())
    labels = [{"request_id": f"r{place:x}", "label": "yes"} for place in range(20_000)]
    size = len(json.dumps({"labels": labels}))
    assert (await world.ask("/feedback", {"labels": labels}))[1]["unknown"] == 20_000
    is_over = True
    assert await watching > 3 * 20_000 / 256 + 2 * size / 2**17  # read, checked, joined; and its lists were looked for


@pytest.mark.parametrize("wrong", [{"request_id": "a", "label": None}, {"request_id": 5, "label": "yes"}, 7, {"label": "yes"}])
async def test_a_wrong_label_in_a_long_body_is_refused_by_its_place(world, wrong) -> None:
    labels = [{"request_id": f"r{place:x}", "label": "yes"} for place in range(20_000)]
    labels[19_000] = wrong
    status, answer = await world.ask("/feedback", {"labels": labels})
    assert status == 400
    assert answer["error"].startswith("Label 19000: ")


async def test_one_request_of_very_many_rows_is_one_label(world) -> None:
    label = {"request_id": "a", "label": ["yes"] * 200_000}
    assert (await world.ask("/feedback", label))[1]["unknown"] == 1
    assert (await world.ask("/feedback", {"labels": [label]}))[1]["unknown"] == 1


async def test_the_document_shows_how_to_send_labels(world) -> None:
    reply = await world.send("/openapi.json", b"", method="GET")
    document = msgspec.json.decode(reply.body)
    for path in ("/feedback", "/v2/models/{name}/feedback", "/v1/models/{name}:feedback"):
        body = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        assert body.rpartition("/")[2] in document["components"]["schemas"]
