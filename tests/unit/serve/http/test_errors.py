"""Every way to be refused, over every route: the right status, one sentence from a fixed catalogue, nothing of the inside."""

import json
import re

import pytest

from fairlead.core.dtype import DType

INFER, RAW, V1 = "/v2/models/m/infer", "/v2/models/echo/infer", "/v1/models/m:predict"
X = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1.0, 2.0]}


def infer(**changes) -> dict:
    return {"inputs": [X | changes]}


# The catalogue: every refusal begins in one of these ways. Names and numbers of the caller's own stand where .* does.
CATALOGUE = [
    r"Input '.*' is given twice\.",
    r"Input '.*' is missing\.",
    r"Input '.*' is ragged",
    r"Input '.*' has (no data|no rows|both data and a binary_data_size|a binary_data_size)",
    r"Input '.*' has (a negative dimension|a dimension of 0) in its shape\.",
    r"Input '.*' has \d+ (elements|bytes|dimensions|rows|texts)",
    r"Input '.*' has more than 16 dimensions\.",
    r"Input '.*' has shape \[.*\]\.",
    r"Input '.*' holds (a number outside of|a fraction where|.* where) ",
    r"Input '.*' is sent as \w+(, which has no JSON form)?\.",
    r"Input '.*' has the unknown datatype '.*'\.",
    r"Input '.*' is .*, not a list\.",
    r"Input '.*': text \d+ (is not UTF-8|does not fit)",
    r"The model has no (input|output|parameter|input or column) '.*'\.",
    r"The parameter '.*' is (not offered here|reserved, .*|not a whole number from .*|not true or false)\.",
    r"The parameter '.*' would put a file into the repository\.",
    r"Output '.*': the parameter 'binary_data' is not true or false\.",
    r"An output is asked for twice\.",
    r"There is no (model|version|label|signature) '?.*'?",
    r"There is nothing at this path\.",
    r"This path takes .* only\.",
    r"The request has no body\.",
    r"The body is not JSON",
    r"The body's Content-(Type|Encoding) is not understood\.",
    r"The body (needs exactly one of|has the unknown key|has \d of)",
    r"The compressed body is (damaged|cut off)",
    r"The JSON (does not have the form that is needed|is nested more than)",
    r"The rows are not a list",
    r"'instances' is not a list of rows\.",
    r"Row \d+ ",
    r"The CSV is ",
    r"Line \d+ of the CSV",
    r"Inference-Header-Content-Length is not the length of JSON in this body of \d+ bytes\.",
    r"\d+ bytes stand behind the last raw tensor\.",
    r"Model '.*' has no label '.*' here\.",
    r"Version \d+ of model '.*' is not loaded here\.",
]
REFUSALS = [
    ("POST", INFER, body, 400)
    for body in (
        b"",
        b"{",
        b"[]",
        b"\xff",
        b'{"inputs": NaN}',
        b'{"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 1e400]}]}',
        {},
        {"inputs": []},
        {"inputs": [X, X]},
        infer(name="z"),
        infer(name="/etc/passwd"),
        infer(name="\x1b[31m\r\nx"),
        infer(shape=[-1, 2]),
        infer(shape=[0, 2], data=[]),
        infer(shape=[0, 10**30], data=[]),
        infer(shape=[1] * 17),
        infer(shape=[2, 2]),
        infer(shape=[2]),
        infer(shape=["a", 2]),
        infer(shape=[True, 2]),
        infer(shape=[1.5, 2]),
        infer(shape=None),
        infer(datatype="FP16"),
        infer(datatype="BF16"),
        infer(datatype="FP64"),
        infer(datatype="<class 'str'>"),
        infer(data=[[1.0], [2.0, 3.0]]),
        infer(data=[1.0, "2"]),
        infer(data=[1.0, 1e39]),
        infer(data=[1.0, True]),
        infer(data=[1.0]),
        infer(data=None),
        infer(parameters={"binary_data_size": 8}),
        infer(parameters={"shared_memory_region": "/dev/shm/secret"}),
        infer() | {"parameters": {"sequence_id": 5}},
        infer() | {"parameters": {"sequence_start": True}},
        infer() | {"parameters": {"headers": "x"}},
        infer() | {"parameters": {"priority": -1}},
        infer() | {"parameters": {"timeout": "soon"}},
        infer() | {"parameters": {"triton_x": 1}},
        infer() | {"parameters": {"binary_data_output": 1}},
        infer() | {"outputs": [{"name": "nope"}]},
        infer() | {"outputs": [{"name": "y"}, {"name": "y"}]},
        infer() | {"outputs": [{"name": "y", "parameters": {"classification": 1}}]},
        infer() | {"outputs": [{"name": "y", "parameters": {"binary_data": 1}}]},
    )
] + [
    ("POST", "/v2/models/none/infer", infer(), 404),
    ("POST", "/v2/models/m/versions/7/infer", infer(), 404),
    ("POST", "/v2/models/m/versions/7m/infer", infer(), 404),
    ("POST", "/v2/models/%2e%2e%2fetc/infer", infer(), 404),
    ("GET", INFER, None, 405),
    ("GET", "/v3", None, 404),
    ("POST", V1, {}, 400),
    ("POST", V1, {"instances": 5}, 400),
    ("POST", V1, {"instances": []}, 400),
    ("POST", V1, {"instances": [[1, 2]], "signature_name": "x"}, 400),
    ("POST", "/v1/models/m/labels/beta:predict", {"instances": [[1, 2]]}, 404),
    ("POST", "/predict", {"input": []}, 400),
    ("POST", "/predict", {"rows": []}, 400),
    ("POST", "/predict", {"input": "x"}, 400),
    ("POST", "/predict", {"input": [{"q": 1}]}, 400),
    ("POST", "/predict", {"input": [[1, 2], {"x": 1}]}, 400),
    ("POST", "/invocations", {}, 400),
    ("POST", "/invocations", {"inputs": [[1, 2]], "params": {"k": 1}}, 400),
    ("POST", "/invocations", {"dataframe_split": {"columns": [0, 1], "data": [[1]]}}, 400),
    ("POST", "/v2/repository/models/m/load", {"parameters": {"file:1/x": "a"}}, 400),
]


@pytest.mark.parametrize(("method", "target", "body", "wanted"), REFUSALS)
async def test_every_refusal_has_its_status_and_a_text_from_the_catalogue(world, method, target, body, wanted) -> None:
    check(*await world.ask(method, target, body), wanted)
    assert world.said == []


@pytest.mark.parametrize(
    ("headers", "body", "wanted"),
    [
        ({"content_type": "text/plain"}, b"{}", 415),
        ({"content_type": "multipart/form-data"}, b"{}", 415),
        ({"content_type": "application/x-pickle"}, b"\x80\x04.", 415),
        ({"content_type": "application/octet-stream"}, b"\x93NUMPY\x01\x00", 400),
        ({"origin": "https://example.org"}, b"{}", 415),
        ({"content_encoding": "br"}, b"{}", 415),
        ({"content_encoding": "gzip, gzip"}, b"{}", 415),
        ({"content_encoding": "gzip"}, b"{}", 400),
        ({"inference_header_content_length": "7"}, b"{}", 400),
        ({"inference_header_content_length": "2"}, b"{}x", 400),
        ({"inference_header_content_length": "0"}, b"12345", 400),
    ],
)
async def test_every_refusal_of_a_body_has_its_status_and_a_text_from_the_catalogue(world, headers, body, wanted) -> None:
    check(*await world.ask("POST", INFER, body, **headers), wanted)
    assert world.said == []


EDGES = [
    (DType.UINT8, [256, 0]),
    (DType.UINT8, [-1, 0]),
    (DType.INT8, [128, 0]),
    (DType.UINT16, [65536, 0]),
    (DType.INT16, [-32769, 0]),
    (DType.UINT32, [2**32, 0]),
    (DType.INT32, [2**31, 0]),
    (DType.UINT64, [2**64, 0]),
    (DType.UINT64, [-1, 0]),
    (DType.INT64, [2**63, 0]),
    (DType.INT64, [-(2**63) - 1, 0]),
    (DType.INT64, [0.5, 0]),
    (DType.INT32, [None, 0]),
    (DType.FP32, [1e39, 0]),
    (DType.FP32, [-1e39, 0]),
    (DType.FP64, [10**400, 0]),
    (DType.BOOL, [2, 0]),
    (DType.BOOL, [1, 0]),
    (DType.BOOL, [None, True]),
    (DType.BYTES, [1, 2]),
    (DType.BYTES, [None, "a"]),
]


@pytest.mark.parametrize(("dtype", "data"), EDGES, ids=[f"{dtype}-{str(data[0])[:12]}" for dtype, data in EDGES])
async def test_a_value_beyond_its_type_is_refused_and_never_wrapped(world, dtype, data) -> None:
    world.load("echo", 1, world.Echo([dtype]))
    tensor = {"name": dtype.value.lower(), "shape": [1, 2], "datatype": dtype.value, "data": data}
    text = json.dumps({"inputs": [tensor]})
    status, answer = await world.ask("POST", RAW, text.encode())
    assert status == 400
    assert_shows_nothing(answer["error"])


def check(status: int, answer: dict, wanted: int) -> None:
    assert (status, list(answer)) == (wanted, ["error"])
    assert any(re.match(entry, answer["error"]) for entry in CATALOGUE), answer["error"]
    assert_shows_nothing(answer["error"])


def assert_shows_nothing(text: str) -> None:
    assert text.isprintable()
    own = re.sub(r"'[^']*'|GET / |application/json|text/csv", "", text)  # what the caller sent, quoted, and media types
    assert not re.search(r"/|0x[0-9a-f]|Traceback|fairlead\.|numpy|msgspec|\.py\b|<class|object at", own), text
