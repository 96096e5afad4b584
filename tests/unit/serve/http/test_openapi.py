import json
import re

import numpy as np
import pytest

from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, TensorSpec
from fairlead.core.traffic import Arm, Segment, TrafficPlan
from fairlead.serve.http.routes import Permission

INFER = "/v2/models/m/infer"


def example_of(document: dict, path: str = INFER) -> dict | None:
    return document["paths"][path]["post"]["requestBody"]["content"]["application/json"].get("example")


async def test_every_route_declares_a_permission_and_is_in_the_document(world) -> None:
    _, document = await world.ask("GET", "/openapi.json")
    assert document["openapi"] == "3.1.0"
    seen = set()
    for route in world.api.router.routes:
        assert isinstance(route.permission, Permission)
        operation = document["paths"][route.pattern][route.method.lower()]
        found = [item["name"] for item in operation.get("parameters", []) if item.get("in") == "path"]
        assert found == re.findall(r"\{(\w+)\}", route.pattern)
        assert ("requestBody" in operation) == (route.method == "POST")
        assert operation["operationId"] not in seen
        seen.add(operation["operationId"])
    assert_every_reference_leads_somewhere(document)


def assert_every_reference_leads_somewhere(document: dict) -> None:
    for kind, name in re.findall(r'"#/components/(\w+)/([\w-]+)"', json.dumps(document)):
        assert name in document["components"][kind]


def headers_of(operation: dict) -> list[str]:
    named = [item["name"] for item in operation.get("parameters", []) if item.get("in") == "header"]
    return [item["$ref"].rpartition("/")[2] for item in operation.get("parameters", []) if "$ref" in item] + named


async def test_the_headers_that_choose_who_answers_are_in_the_document(world) -> None:
    _, document = await world.ask("GET", "/openapi.json")
    for path in ("/predict", "/invocations", "/v2/models/{name}/infer", "/v1/models/{name}:predict", INFER):
        operation = document["paths"][path]["post"]
        assert headers_of(operation) == ["Fairlead-Version", "Fairlead-Arm", "X-Request-Id"]
        assert list(operation["responses"]["200"]["headers"]) == ["X-Request-Id", "Fairlead-Version", "Fairlead-Arm"]
    assert headers_of(document["paths"]["/v2/models/{name}/versions/{version}/infer"]["post"]) == ["X-Request-Id"]
    assert headers_of(document["paths"]["/v2/models"]["get"]) == []


@pytest.mark.parametrize("target", ["/openapi.json", "/v2/models/m/openapi.json"])
async def test_a_release_adds_its_sticky_header_and_its_segments_and_shows_no_value(world, target) -> None:
    arms = (Arm("live", 3, 0.5), Arm("candidate", 4, 0.5))
    segments = (Segment("X-Customer", ("secret",), "candidate"),)
    world.table.models["m"].traffic = TrafficPlan("rel", 0, arms, segments=segments, sticky="user_id", salt="s")
    _, document = await world.ask("GET", target)
    assert headers_of(document["paths"][INFER]["post"])[3:] == ["x-customer", "user-id"]
    assert "secret" not in json.dumps(document)
    assert_every_reference_leads_somewhere(document)


async def test_reading_never_needs_more_than_viewing_and_changing_needs_operating(world) -> None:
    needed = {(route.method, route.pattern): route.permission for route in world.api.router.routes}
    assert all(permission is not Permission.OPERATE for (method, _), permission in needed.items() if method == "GET")
    assert {pattern for (_, pattern), permission in needed.items() if permission is Permission.OPERATE} == {
        "/v2/repository/models/{name}/load",
        "/v2/repository/models/{name}/unload",
    }
    assert {pattern for (_, pattern), permission in needed.items() if permission is Permission.HEALTH} == {
        "/v2/health/live",
        "/v2/health/ready",
        "/ping",
        "/health",
    }
    assert all(
        permission is Permission.INFER for (_, pattern), permission in needed.items() if re.search("infer|predict|invocations", pattern)
    )


@pytest.mark.parametrize("target", ["/openapi.json", "/v2/models/m/openapi.json"])
async def test_the_example_is_the_models_first_golden_request_and_is_answered(world, target) -> None:
    world.table.models["m"].versions[3].example = {"x": np.array([[7.5, -1]], np.float32)}
    _, document = await world.ask("GET", target)
    example = example_of(document)
    assert example == {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [7.5, -1.0]}]}
    assert (await world.ask("POST", INFER, example))[1]["outputs"][0]["data"] == [15.0, -2.0]


async def test_a_model_without_golden_requests_has_an_example_that_is_answered(world) -> None:
    world.load("echo", 1, world.Echo([dtype for dtype in DType if dtype is not DType.FP16]))
    for name in ("m", "echo"):
        _, document = await world.ask("GET", "/openapi.json")
        assert (await world.ask("POST", f"/v2/models/{name}/infer", example_of(document, f"/v2/models/{name}/infer")))[0] == 200


@pytest.mark.parametrize("spec", [TensorSpec("x", DType.FP16, (None, 2)), TensorSpec("x", DType.FP32, (None, 5000))])
async def test_a_model_whose_input_has_no_readable_json_has_no_example(world, spec) -> None:
    engine = world.Echo([spec.dtype])
    engine.interface = Interface((spec,), engine.interface.outputs)
    world.load("m", 4, engine)
    assert example_of((await world.ask("GET", "/openapi.json"))[1]) is None


@pytest.mark.parametrize("base", ["/v2/models/m", "/v2/models/m/versions/v3"])
async def test_a_model_has_a_document_of_its_own_paths(world, base) -> None:
    status, document = await world.ask("GET", f"{base}/openapi.json")
    assert status == 200
    assert document["info"]["title"] == "m"
    assert f"{base}/infer" in document["paths"]
    assert all("{" not in path and ("/models/m" in path) for path in document["paths"])
    if "versions" in base:
        assert all(path.startswith((base, "/v1/models/m/versions/v3")) for path in document["paths"])
    assert_every_reference_leads_somewhere(document)


async def test_the_document_of_an_unknown_model_is_a_404(world) -> None:
    assert (await world.ask("GET", "/v2/models/none/openapi.json"))[0] == 404
    assert (await world.ask("GET", "/v2/models/m/versions/9/openapi.json"))[0] == 404


async def test_columns_and_labels_are_named(world) -> None:
    engine = world.fakes.Engine()
    engine.interface = Interface((TensorSpec("x", DType.FP32, (None, 2), ("age", "height")),), engine.interface.outputs)
    world.load("m", 4, engine)
    description = (await world.ask("GET", "/v2/models/m/openapi.json"))[1]["paths"][INFER]["post"]["description"]
    assert "Columns: age, height." in description
