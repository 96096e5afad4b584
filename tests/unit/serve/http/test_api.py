import re

import numpy as np
import pytest

from fairlead.core.dtype import DType
from fairlead.core.interface import Decision, DecisionKind, Interface, Task, TensorSpec

TYPES = [dtype for dtype in DType if dtype is not DType.FP16]


def tensor(**changes) -> dict:
    return {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1.0, 2.0]} | changes


INFER = "/v2/models/m/infer"


async def test_flat_and_nested_data_get_the_same_answer(world) -> None:
    flat = await world.ask("POST", INFER, {"inputs": [tensor()]})
    deep = await world.ask("POST", INFER, {"inputs": [tensor(data=[[1.0, 2.0]])]})
    expected = {"name": "y", "datatype": "FP32", "shape": [1, 2], "data": [2.0, 4.0]}
    assert flat == deep == (200, {"model_name": "m", "model_version": "3", "outputs": [expected]})


async def test_the_id_comes_back_and_only_if_it_was_given(world) -> None:
    assert (await world.ask("POST", INFER, {"id": "a b", "inputs": [tensor()]}))[1]["id"] == "a b"
    assert "id" not in (await world.ask("POST", INFER, {"inputs": [tensor()]}))[1]


async def test_every_datatype_makes_the_round_trip_with_its_limits(world) -> None:
    world.load("echo", 1, world.Echo(TYPES))
    data = {dtype: [False, True] if dtype is DType.BOOL else ["", "héllo\n☃"] if dtype is DType.BYTES else None for dtype in TYPES}
    for dtype in TYPES:
        if dtype.is_integer:
            data[dtype] = [int(np.iinfo(dtype.numpy).min), int(np.iinfo(dtype.numpy).max)]
        elif dtype.is_float:
            data[dtype] = [float(np.finfo(dtype.numpy).max), None]
    inputs = [{"name": dtype.value.lower(), "shape": [1, 2], "datatype": dtype.value, "data": data[dtype]} for dtype in TYPES]
    status, answer = await world.ask("POST", "/v2/models/echo/infer", {"inputs": inputs})
    assert status == 200
    assert {output["name"]: (output["datatype"], output["data"]) for output in answer["outputs"]} == {
        f"{dtype.value.lower()}_out": (dtype.value, data[dtype]) for dtype in TYPES
    }


async def test_a_subset_of_the_outputs_can_be_asked_for(world) -> None:
    world.load("echo", 1, world.Echo(TYPES))
    inputs = [
        {
            "name": d.value.lower(),
            "shape": [1, 2],
            "datatype": d.value,
            "data": ["", ""] if d is DType.BYTES else [False, False] if d is DType.BOOL else [0, 0],
        }
        for d in TYPES
    ]
    _, answer = await world.ask("POST", "/v2/models/echo/infer", {"inputs": inputs, "outputs": [{"name": "int8_out"}]})
    assert [output["name"] for output in answer["outputs"]] == ["int8_out"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"\xff\xfe",
        b'"\xff"',
        b'{"inputs": NaN}',
        {},
        {"inputs": []},
        {"inputs": {}},
        {"inputs": [tensor(), tensor()]},
        {"inputs": [tensor(name="z")]},
        {"inputs": [tensor(name=5)]},
        {"inputs": [tensor(shape=[2, -1])]},
        {"inputs": [tensor(shape=[-1, 2])]},
        {"inputs": [tensor(shape=[1.0, 2])]},
        {"inputs": [tensor(shape=["1", 2])]},
        {"inputs": [tensor(shape=[True, 2])]},
        {"inputs": [tensor(shape=None)]},
        {"inputs": [tensor(shape=[2, 2])]},
        {"inputs": [tensor(shape=[2])]},
        {"inputs": [tensor(shape=[0, 2], data=[])]},
        {"inputs": [tensor(shape=[10**30, 2])]},
        {"inputs": [tensor(shape=[1] * 40)]},
        {"inputs": [tensor(datatype="FP64")]},
        {"inputs": [tensor(datatype="FP16")]},
        {"inputs": [tensor(datatype="BF16")]},
        {"inputs": [tensor(datatype="COMPLEX")]},
        {"inputs": [tensor(datatype=None)]},
        {"inputs": [tensor(data="AAAA")]},
        {"inputs": [tensor(data=[1.0, "2"])]},
        {"inputs": [tensor(data=[1.0, True])]},
        {"inputs": [tensor(data=[1.0, 1e39])]},
        {"inputs": [tensor(data=[1.0, {}])]},
        {"inputs": [tensor(data=[1.0])]},
        {"inputs": [tensor(data=[[1.0], [2.0, 3.0]])]},
        b'{"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 1e400]}]}',
        {"inputs": [{key: value for key, value in tensor().items() if key != "data"}]},
        {"inputs": [tensor()], "outputs": [{"name": "nope"}]},
        {"inputs": [tensor()], "outputs": [{"name": "y"}, {"name": "y"}]},
        {"inputs": [tensor()], "outputs": ["y"]},
        {"inputs": [tensor()], "parameters": {"sequence_id": 7}},
        {"inputs": [tensor()], "parameters": {"timeout": -5}},
        {"inputs": [tensor()], "parameters": {"triton_x": 5}},
        {"inputs": [tensor()], "parameters": {"mine": {"a": 1}}},
        {"inputs": [tensor(parameters={"binary_data_size": 8})]},
        {"inputs": [tensor(parameters={"shared_memory_region": "r"})]},
        {"inputs": [tensor()], "outputs": [{"name": "y", "parameters": {"binary_data": 1}}]},
        {"inputs": [tensor()], "outputs": [{"name": "y", "parameters": {"classification": 3}}]},
    ],
)
async def test_a_request_that_does_not_fit_is_a_400_with_one_plain_sentence(world, body) -> None:
    status, answer = await world.ask("POST", INFER, body)
    assert status == 400
    assert list(answer) == ["error"]
    assert not re.search(r"/\w|0x|Traceback|fairlead\.|\.py|<class", answer["error"])
    assert world.said == []


async def test_parameters_that_ask_for_nothing_are_taken(world) -> None:
    harmless = {"priority": 0, "binary_data_output": False, "content_type": "np", "mine": 1.5, "flag": True, "sequence_id": None}
    body = {"inputs": [tensor(parameters={"content_type": "np"})], "parameters": harmless, "model_version": None}
    assert (await world.ask("POST", INFER, body))[0] == 200


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/v2/models/none", 404),
        ("GET", "/v2/models/m/versions/2", 404),
        ("GET", "/v2/models/m/versions/abc", 404),
        ("GET", "/v2/models/m/versions/99m", 404),
        ("GET", "/v2/models/m/versions/0", 404),
        ("GET", "/v2/models/m/versions/3/ready", 200),
        ("GET", "/v2/models/m/versions/v3", 200),
        ("GET", "/v2/models/%6D", 200),
        ("GET", "/v2/models/%00", 404),
        ("GET", "/v2/models/..%2fm", 404),
        ("GET", "/v2/models/M", 404),
        ("POST", "/v2/models/none/infer", 404),
        ("POST", "/v2/models/m/versions/2/infer", 404),
        ("GET", "/v1/models/m/labels/staging", 404),
        ("GET", "/v1/models/m/labels/production", 200),
        ("GET", "/v1/models/m/versions/2", 404),
        ("GET", "/v1/models/none", 404),
        ("GET", "/nothing", 404),
        ("DELETE", "/v2", 405),
        ("PUT", INFER, 405),
        ("GET", INFER, 405),
        ("HEAD", "/v2/health/live", 200),
    ],
)
async def test_paths_are_found_or_refused_in_the_right_way(world, method, target, status) -> None:
    answered, body = await world.ask(method, target, {"inputs": []} if method == "POST" else None)
    assert answered == status
    assert ("error" in body) == (status != 200)


async def test_metadata_with_and_without_version_is_the_same(world) -> None:
    plain = await world.ask("GET", "/v2/models/m")
    assert plain == await world.ask("GET", "/v2/models/m/versions/3")
    assert plain[1]["versions"] == ["3"]
    assert plain[1]["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]
    assert plain[1]["properties"]["labels"] == '["no","yes"]'


async def test_the_server_tells_what_it_is_and_every_extension_answers(world) -> None:
    status, server = await world.ask("GET", "/v2")
    assert (status, server) == await world.ask("GET", "/v2/")
    assert (server["name"], server["version"]) == ("fairlead", "1.2.3")
    assert await world.ask("GET", "/v2/models/m/stats") == (200, {"model_stats": [{"name": "m", "version": "3"}]})
    assert await world.ask("GET", "/v2/models") == (200, {"models": ["m"]})
    assert (await world.ask("GET", "/"))[1]["models"][0]["infer"] == INFER


async def test_readiness_is_honest(world) -> None:
    assert await world.ask("GET", "/v2/health/ready") == (200, {"ready": True})
    world.reason = "The server is stopping."
    assert await world.ask("GET", "/v2/health/ready") == (503, {"ready": False, "error": "The server is stopping."})
    assert await world.ask("GET", "/v2/health/live") == (200, {"live": True})


async def test_a_model_that_is_loading_is_a_503(world, fakes) -> None:
    world.table.begin_load(fakes.version("new", 1))
    for method, target in (("GET", "/v2/models/new"), ("GET", "/v2/models/new/ready"), ("POST", "/v2/models/new/infer")):
        assert (await world.ask(method, target, {"inputs": []} if method == "POST" else None))[0] == 503


@pytest.mark.parametrize(
    ("form", "rows"), [("input", [[1, 2]]), ("inputs", {"x": [[1, 2]]}), ("inputs", [[1, 2]]), ("instances", [[1, 2]])]
)
async def test_predict_takes_rows_in_each_form_and_tells_the_label(world, form, rows) -> None:
    answer = await world.ask("POST", "/predict", {form: rows})
    assert answer == (200, {"prediction": [[2.0, 4.0]], "labels": ["yes"], "model": "m", "version": 3})


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"input": [[1, 2]], "instances": [[1, 2]]},
        {"rows": [[1, 2]]},
        {"input": [1, 2]},
        {"input": []},
        {"input": None},
        [],
        {"inputs": {"z": 1}},
    ],
)
async def test_predict_refuses_other_forms(world, body) -> None:
    status, answer = await world.ask("POST", "/predict", body)
    assert (status, list(answer)) == (400, ["error"])


async def test_predict_asks_which_model_where_there_are_several(world, fakes) -> None:
    world.load("other", 1, fakes.Engine())
    status, answer = await world.ask("POST", "/predict", {"input": [[1, 2]]})
    assert status == 400
    assert "m, other" in answer["error"]


@pytest.mark.parametrize("path", ["/v1/models/m", "/v1/models/m/versions/3", "/v1/models/m/labels/production"])
async def test_tensorflow_serving_rows_and_columns(world, path) -> None:
    assert await world.ask("POST", f"{path}:predict", {"instances": [[1, 2], [3, 4]]}) == (200, {"predictions": [[2.0, 4.0], [6.0, 8.0]]})
    assert await world.ask("POST", f"{path}:predict", {"instances": [{"x": [1, 2]}]}) == (200, {"predictions": [[2.0, 4.0]]})
    assert await world.ask("POST", f"{path}:predict", {"inputs": [[1, 2]]}) == (200, {"outputs": [[2.0, 4.0]]})
    assert await world.ask("POST", f"{path}:predict", {"inputs": {"x": [[1, 2]]}}) == (200, {"outputs": [[2.0, 4.0]]})
    assert (await world.ask("GET", path))[1]["model_version_status"][0]["state"] == "AVAILABLE"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"instances": []},
        {"instances": {}},
        {"instances": [[1, 2]], "inputs": [[1, 2]]},
        {"instances": [[1, 2]], "signature_name": "other"},
        {"instances": [[1]]},
        {"instances": [[1, "b"]]},
    ],
)
async def test_tensorflow_serving_refuses_what_does_not_fit(world, body) -> None:
    status, answer = await world.ask("POST", "/v1/models/m:predict", body)
    assert (status, list(answer)) == (400, ["error"])


async def test_several_outputs_are_named_in_each_tensorflow_row(world) -> None:
    outputs = (TensorSpec("a", DType.FP32, (None, 2)), TensorSpec("b", DType.FP32, (None, 2)))
    interface = Interface(world.fakes.pair.inputs, outputs, Task.REGRESSION, Decision(DecisionKind.VALUE, "a"))
    world.load("two", 1, world.fakes.Engine(1.0, interface=interface))
    assert (await world.ask("POST", "/v1/models/two:predict", {"instances": [[1, 2]]}))[1] == {
        "predictions": [{"a": [1.0, 2.0], "b": [1.0, 2.0]}]
    }


async def test_a_mistake_of_ours_is_a_500_that_shows_nothing_and_is_reported(world, fakes) -> None:
    class Broken(fakes.Engine):
        def run(self, inputs, outputs=()):
            raise RuntimeError("/secret/path 0xdeadbeef")

    world.load("m", 4, Broken())
    status, answer = await world.ask("POST", INFER, {"inputs": [tensor()]})
    assert (status, answer) == (500, {"error": "The server failed to answer this request."})
    assert "/secret/path" in world.said[0]


async def test_every_json_route_refuses_what_is_nested_too_deep(world) -> None:
    for target in (INFER, "/predict", "/v1/models/m:predict"):
        status, answer = await world.ask("POST", target, b'{"inputs":' + b"[" * 120 + b"]" * 120 + b"}")
        assert status == 400
        assert "100 levels" in answer["error"]
