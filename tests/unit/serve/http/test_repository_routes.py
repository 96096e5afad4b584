import gzip

import pytest

from fairlead.errors import ForbiddenError

MODELS = "/v2/repository/models"
READY = {"name": "m", "version": "3", "state": "READY", "reason": ""}
BROKEN = {"name": "n", "version": "1", "state": "UNAVAILABLE", "reason": "corrupt"}


@pytest.mark.parametrize(
    ("body", "rows"),
    [
        (None, [READY, BROKEN]),
        ({}, [READY, BROKEN]),
        ({"ready": False}, [READY, BROKEN]),
        ({"ready": True}, [READY]),
        ({"ready": None}, [READY, BROKEN]),
    ],
)
async def test_the_index_lists_versions_and_takes_no_body_or_a_filter(world, body, rows) -> None:
    assert await world.ask("POST", "/v2/repository/index", body) == (200, rows)


@pytest.mark.parametrize("action", ["load", "unload"])
async def test_a_model_is_loaded_and_unloaded_with_its_parameters_or_none(world, action) -> None:
    assert await world.ask("POST", f"{MODELS}/m%31/{action}") == (200, {"name": "m1", action: True})
    body = {"parameters": {"config": "{}", "unload_dependents": True, "nothing": None}}
    assert (await world.ask("POST", f"{MODELS}/m/{action}", body))[0] == 200
    assert world.repository.done == [(action, "m1", {}), (action, "m", {"config": "{}", "unload_dependents": True})]


@pytest.mark.parametrize("action", ["load", "unload"])
@pytest.mark.parametrize(
    "body",
    [
        {"parameters": {"file:1/model.onnx": "AAAA"}},
        {"parameters": {"file:../x": ""}},
        {"parameters": []},
        {"parameters": {"a": {}}},
        b"[",
        b"5",
    ],
)
async def test_files_and_nonsense_are_refused_before_anything_is_done(world, action, body) -> None:
    status, answer = await world.ask("POST", f"{MODELS}/m/{action}", body)
    assert (status, list(answer)) == (400, ["error"])
    assert world.repository.done == []


async def test_what_cannot_be_loaded_is_an_error_with_its_reason(world) -> None:
    assert (await world.ask("POST", f"{MODELS}/none/load"))[0] == 404
    status, answer = await world.ask("POST", f"{MODELS}/broken/load")
    assert (status, "could not be loaded" in answer["error"]) == (503, True)


async def test_a_server_that_does_not_let_clients_operate_says_so(world) -> None:
    async def forbidden(name, parameters):
        raise ForbiddenError("Loading by clients is not allowed here.")

    world.repository.load = forbidden
    assert (await world.ask("POST", f"{MODELS}/m/load"))[0] == 403


async def test_configuration_and_statistics_answer_for_a_model_and_a_version(world) -> None:
    assert await world.ask("GET", "/v2/models/m/config") == (200, {"name": "m", "max_batch_size": 8, "version": None})
    assert (await world.ask("GET", "/v2/models/m/versions/v3/config"))[1]["version"] == 3
    assert (await world.ask("GET", "/v2/models/none/config"))[0] == 404
    assert (await world.ask("GET", "/v2/models/stats"))[1] == {"model_stats": [{"name": "m", "version": "3"}]}
    assert (await world.ask("GET", "/v2/models/m/stats"))[0] == 200
    assert (await world.ask("GET", "/v2/models/m/versions/x/stats"))[0] == 404


async def test_every_extension_that_is_listed_answers(world) -> None:
    extensions = set((await world.ask("GET", "/v2"))[1]["extensions"])
    assert extensions == {"binary_tensor_data", "model_configuration", "model_repository", "parameters", "schedule_policy", "statistics"}


@pytest.mark.parametrize(
    "path",
    ["/v2/systemsharedmemory/status", "/v2/cudasharedmemory/status", "/v2/trace/setting", "/v2/logging", "/v2/models/m/generate", "/docs"],
)
async def test_what_is_not_offered_is_not_there(world, path) -> None:
    for method in ("GET", "POST"):
        assert (await world.ask(method, path, {} if method == "POST" else None))[0] == 404


@pytest.mark.parametrize("headers", [{}, {"content_type": "text/plain"}, {"content_type": "application/x-www-form-urlencoded"}])
async def test_a_page_in_a_browser_cannot_operate_models(world, headers) -> None:
    for action in ("load", "unload"):
        assert (await world.ask("POST", f"{MODELS}/m/{action}", None, origin="https://example.org", **headers))[0] == 415
    assert world.repository.done == []


@pytest.mark.parametrize("path", ["/v2/repository/index", f"{MODELS}/m/load"])
async def test_a_body_without_tensors_has_a_limit_of_its_own_packed_or_not(world, path) -> None:
    large = b'{"parameters": {"config": "%b"}}' % (b" " * 2**20)
    for body, headers in ((large, {}), (gzip.compress(large), {"content_encoding": "gzip"})):
        status, answer = await world.ask("POST", path, body, **headers)
        assert (status, "1048576 bytes" in answer["error"]) == (413, True)
    assert world.repository.done == []
