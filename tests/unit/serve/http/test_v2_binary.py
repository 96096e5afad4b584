import json
import re
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, TensorSpec
from fairlead.errors import RequestError
from fairlead.serve.http.body import BodyForm, read_body
from fairlead.serve.http.limits import HttpLimits
from fairlead.serve.http.v2_request import decode_request, read_inputs

INFER = "/v2/models/m/infer"
X = np.array([[1.5, -2.0]], "<f4")


def raw(array, name="x", datatype="FP32", **changes) -> dict:
    size = len(array) if isinstance(array, bytes) else array.nbytes
    shape = [] if isinstance(array, bytes) else list(array.shape)
    return {"name": name, "shape": shape, "datatype": datatype, "parameters": {"binary_data_size": size}} | changes


def flat(**changes) -> dict:
    return {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1.5, -2.0]} | changes


async def test_a_raw_input_gets_the_answer_that_the_same_numbers_get_as_json(world) -> None:
    plain = await world.ask("POST", INFER, {"inputs": [flat()]})
    status, answer, rest = await world.ask_raw(INFER, {"inputs": [raw(X)]}, X.tobytes())
    assert (status, rest) == (200, b"")
    assert (status, answer) == plain


@pytest.mark.parametrize(
    ("wish", "is_raw"),
    [
        ({"parameters": {"binary_data_output": True}}, True),
        ({"parameters": {"binary_data_output": False}}, False),
        ({"outputs": [{"name": "y", "parameters": {"binary_data": True}}]}, True),
        ({"outputs": [{"name": "y"}]}, False),
        ({"outputs": [{"name": "y"}], "parameters": {"binary_data_output": True}}, True),
        ({"outputs": [{"name": "y", "parameters": {"binary_data": False}}], "parameters": {"binary_data_output": True}}, False),
    ],
)
async def test_outputs_are_raw_where_that_is_asked_for(world, wish, is_raw) -> None:
    for body, parts in (({"inputs": [raw(X)]}, (X.tobytes(),)), ({"inputs": [flat()]}, ())):
        status, answer, rest = await world.ask_raw(INFER, {"id": "i", **body, **wish}, *parts)
        (output,) = answer["outputs"]
        assert (status, answer["id"], output["shape"]) == (200, "i", [1, 2])
        assert (rest == (2 * X).tobytes()) == is_raw
        assert output.get("parameters") == ({"binary_data_size": 8} if is_raw else None)
        assert output.get("data") == (None if is_raw else [3.0, -4.0])


async def test_raw_and_json_tensors_can_be_mixed_both_ways(world) -> None:
    types = [DType.INT64, DType.BYTES, DType.FP16, DType.BOOL]
    world.load("echo", 1, world.Echo(types))
    half, truth = np.array([[1, 2]], "<f2"), np.array([[True, False]])
    inputs = [
        {"name": "int64", "shape": [1, 2], "datatype": "INT64", "data": [2**63 - 1, -(2**63)]},
        raw(half, "fp16", "FP16"),
        {"name": "bytes", "shape": [1, 2], "datatype": "BYTES", "data": ["a", "é"]},
        raw(truth, "bool", "BOOL"),
    ]
    outputs = [{"name": f"{dtype.value.lower()}_out", "parameters": {"binary_data": dtype is not DType.INT64}} for dtype in types]
    target = "/v2/models/echo/infer"
    status, answer, rest = await world.ask_raw(target, {"inputs": inputs, "outputs": outputs}, half.tobytes(), truth.tobytes())
    assert status == 200
    place, got = 0, {}
    for output in answer["outputs"]:
        size = output.get("parameters", {}).get("binary_data_size")
        got[output["name"]] = output["data"] if size is None else rest[place : place + size]
        place += size or 0
    assert place == len(rest)
    assert got == {
        "int64_out": [2**63 - 1, -(2**63)],
        "bytes_out": struct.pack("<I1sI2s", 1, b"a", 2, "é".encode()),
        "fp16_out": half.tobytes(),
        "bool_out": truth.tobytes(),
    }


async def test_a_body_that_is_nothing_but_the_tensor_is_one_row(world) -> None:
    reply = await world.send("POST", INFER, X.tobytes(), inference_header_content_length="0", content_type="application/octet-stream")
    assert reply.status == 200
    assert reply.content_type == b"application/octet-stream"
    assert reply.body.endswith((2 * X).tobytes())
    assert (await world.send("POST", INFER, X.tobytes() * 2, inference_header_content_length="0")).status == 400
    assert (await world.send("POST", INFER, b"", inference_header_content_length="0")).status == 400


@pytest.mark.parametrize(
    ("shape", "dtype", "body", "expected"),
    [
        ((None, None), DType.INT16, bytes(8), [1, 4]),
        ((None, 2, None, 3), DType.UINT8, bytes(24), [1, 2, 4, 3]),
        ((None, 2, None, 3), DType.UINT8, bytes(25), None),
        ((None, None, None), DType.UINT8, bytes(4), None),
        ((2, 2), DType.UINT8, bytes(4), [2, 2]),
        ((None,), DType.BYTES, "☃".encode(), [1]),
        ((None, 1), DType.BYTES, b"a", [1, 1]),
        ((None, 2), DType.BYTES, b"a", None),
        ((None, 1), DType.BYTES, b"\xff", None),
    ],
)
async def test_the_only_free_dimension_of_a_raw_row_is_as_long_as_its_bytes_say(world, shape, dtype, body, expected) -> None:
    engine = world.Echo([dtype])
    name = dtype.value.lower()
    engine.interface = Interface((TensorSpec(name, dtype, shape),), (TensorSpec(f"{name}_out", dtype, shape),))
    world.load("raw", 1, engine)
    reply = await world.send("POST", "/v2/models/raw/infer", body, inference_header_content_length="0")
    if expected is None:
        assert (reply.status, list(json.loads(reply.body))) == (400, ["error"])
    else:
        assert reply.status == 200
        assert f'"shape":{json.dumps(expected, separators=(",", ":"))}'.encode() in reply.body


async def test_a_model_with_several_inputs_cannot_be_asked_with_one_raw_tensor(world) -> None:
    world.load("echo", 1, world.Echo([DType.INT8, DType.INT16]))
    status, answer = await world.ask("POST", "/v2/models/echo/infer", b"ab", inference_header_content_length="0")
    assert (status, "2 inputs" in answer["error"]) == (400, True)


@pytest.mark.parametrize("value", ["99999999999", "99999999999999999999999", "-1", "1e3", "", " ", "0x10", "1.0", "١", "5,5", "31"])
async def test_a_header_length_that_does_not_divide_the_body_is_refused(world, value) -> None:
    status, answer = await world.ask("POST", INFER, b'{"inputs": []}' + bytes(16), inference_header_content_length=value)
    assert (status, list(answer)) == (400, ["error"])
    assert world.said == []


@pytest.mark.parametrize(
    ("head", "parts", "said"),
    [
        ({"inputs": [raw(X)]}, [X.tobytes()[:-1]], "not a part of the 7 bytes"),
        ({"inputs": [raw(X)]}, [X.tobytes() + b"x"], "1 bytes stand behind"),
        ({"inputs": [flat()]}, [b"x"], "1 bytes stand behind"),
        ({"inputs": [raw(X, parameters={"binary_data_size": 4})]}, [X.tobytes()], "has 4 bytes; FP32 of shape [1, 2] needs 8"),
        ({"inputs": [raw(X, parameters={"binary_data_size": -1})]}, [X.tobytes()], "not a part"),
        ({"inputs": [raw(X, parameters={"binary_data_size": 2**70})]}, [X.tobytes()], "not a part"),
        ({"inputs": [raw(X, parameters={"binary_data_size": "8"})]}, [X.tobytes()], "not a part"),
        ({"inputs": [raw(X, parameters={"binary_data_size": 8.0})]}, [X.tobytes()], "not a part"),
        ({"inputs": [raw(X, parameters={"binary_data_size": True})]}, [X.tobytes()], "not a part"),
        ({"inputs": [raw(X, parameters={})]}, [X.tobytes()], "no data"),
        ({"inputs": [raw(X, data=[1.0, 2.0])]}, [X.tobytes()], "both data and"),
        ({"inputs": [raw(X, shape=[-1, 2])]}, [X.tobytes()], "negative"),
        ({"inputs": [raw(X, shape=[0, 2])]}, [X.tobytes()], "dimension of 0"),
        ({"inputs": [raw(X, shape=[10**30, 2])]}, [X.tobytes()], "needs 8000"),
        ({"inputs": [raw(X, datatype="FP64")]}, [X.tobytes()], "FP64"),
        ({"inputs": [raw(X, datatype="FP16")]}, [X.tobytes()], "FP16"),
        ({"inputs": [raw(X), raw(X)]}, [X.tobytes() * 2], "twice"),
        ({"inputs": [raw(X, name="z")]}, [X.tobytes()], "no input 'z'"),
        ({"inputs": [raw(X)], "parameters": {"binary_data_output": "yes"}}, [X.tobytes()], "true or false"),
        ({"inputs": [raw(X)], "outputs": [{"name": "y", "parameters": {"binary_data": 1}}]}, [X.tobytes()], "true or false"),
        ({"inputs": [raw(X)], "outputs": [{"name": "y", "parameters": {"classification": 2}}]}, [X.tobytes()], "classification"),
        ({"inputs": [raw(X, parameters={"binary_data_size": 8, "shared_memory_region": "r"})]}, [X.tobytes()], "shared_memory_region"),
    ],
)
async def test_raw_tensors_that_do_not_fit_are_refused_with_what_was_expected_and_what_came(world, head, parts, said) -> None:
    status, answer, _ = await world.ask_raw(INFER, head, *parts)
    assert (status, list(answer)) == (400, ["error"])
    assert said in answer["error"]
    assert not re.search(r"/\w|0x|Traceback|fairlead\.|\.py|<class", answer["error"])
    assert world.said == []


SPECS = Interface(
    (TensorSpec("x", DType.FP32, (None, 2)), TensorSpec("n", DType.INT8, (None,)), TensorSpec("t", DType.BYTES, (None, 1))),
    (TensorSpec("y", DType.FP32, (None,)),),
)
tensors = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["x", "n", "t", "z"]),
        "shape": st.lists(st.integers(-1, 3), max_size=3),
        "datatype": st.sampled_from(["FP32", "INT8", "BYTES", "BF16"]),
    },
    optional={
        "data": st.lists(st.one_of(st.integers(-200, 200), st.text(max_size=3), st.none()), max_size=4),
        "parameters": st.fixed_dictionaries({"binary_data_size": st.integers(-1, 20)}),
    },
)


@given(st.lists(tensors, max_size=4), st.binary(max_size=40))
def test_any_mixture_is_read_whole_or_refused(inputs, rest) -> None:
    text = json.dumps({"inputs": inputs}).encode()
    body = read_body(BodyForm(json_bytes=len(text)), text + rest, HttpLimits())
    try:
        read = read_inputs(SPECS, decode_request(SPECS, body.text, is_raw=True), body.binary)
    except RequestError:
        return
    assert sum(item.get("parameters", {}).get("binary_data_size", 0) for item in inputs) == len(rest)
    assert {item["name"]: tuple(item["shape"]) for item in inputs} == {name: array.shape for name, array in read.items()}
