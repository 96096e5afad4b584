import math
import time

import pytest

INFER = "/v2/models/m/infer"
BODY = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1.0, 2.0]}]}


@pytest.fixture
def seen(world, monkeypatch):
    """The requests that reach the data plane."""
    requests, infer = [], world.plane.infer

    async def watch(request, served):
        requests.append(request)
        return await infer(request, served)

    monkeypatch.setattr(world.plane, "infer", watch)
    return requests


async def test_priority_and_timeout_reach_the_data_plane(world, seen) -> None:
    before = time.monotonic()
    assert (await world.ask("POST", INFER, BODY | {"parameters": {"priority": 3, "timeout": 60_000_000, "mine": "a"}}))[0] == 200
    (request,) = seen
    assert (request.priority, dict(request.parameters), request.transport) == (3, {"mine": "a"}, "http")
    assert before + 60 <= request.deadline <= time.monotonic() + 60


async def test_nothing_asked_for_is_the_default(world, seen) -> None:
    for parameters in (None, {}, {"priority": 0, "timeout": 0, "binary_data_output": False, "sequence_id": 0}):
        assert (await world.ask("POST", INFER, BODY | {"parameters": parameters}))[0] == 200
    assert {(request.priority, request.deadline, len(request.parameters)) for request in seen} == {(0, math.inf, 0)}


async def test_a_request_whose_time_has_passed_is_a_504_and_does_not_run(world, fakes) -> None:
    engine = fakes.Engine()
    world.load("m", 4, engine)
    status, answer = await world.ask("POST", INFER, BODY | {"parameters": {"timeout": 1}})
    assert (status, list(answer)) == (504, ["error"])
    assert engine.run_count == 0


async def test_a_trace_and_a_request_id_are_passed_on(world, seen) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    for target, body in ((INFER, BODY), ("/predict", {"input": [[1, 2]]}), ("/v1/models/m:predict", {"instances": [[1, 2]]})):
        assert (await world.ask("POST", target, body, traceparent=trace))[0] == 200
    assert {(request.trace, request.request_id) for request in seen} == {(trace, "rid")}


async def test_headers_of_proxies_and_other_servers_change_nothing(world) -> None:
    headers = {
        "seldon_model": "other.pipeline",
        "x_seldon_route": "r",
        "x_pipeline_version": "3",
        "ce_id": "1",
        "accept": "application/json",
    }
    assert await world.ask("POST", INFER, BODY, **headers) == await world.ask("POST", INFER, BODY)
