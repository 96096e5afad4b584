"""Bodies that no good client sends, over a socket: too large on the wire, unpacked, or once decoded; divided wrongly; nested; in pieces."""

from __future__ import annotations

import gzip
import json
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from raw_http import BODY, OneModel, ask, chunked, connect, post, read_reply, resident_bytes

from fairlead.serve.http.limits import HttpLimits
from fairlead.serve.server import ServeJob, ServerThread

MIB = 2**20
ROUTES = ("/v2/models/m/infer", "/predict", "/invocations", "/v1/models/m:predict", "/v2/repository/index", "/v2/repository/models/m/load")


@pytest.fixture(scope="module")
def server():
    said = []
    with ServerThread(ServeJob(OneModel(), port=0, limits=HttpLimits(body_bytes=MIB), report=said.append)) as running:
        yield running
    assert [line for line in said if "failed" in line] == []


@pytest.fixture(autouse=True)
def still_serving(server):
    """After each test the next request is answered, and rightly."""
    yield
    assert ask(server, post(BODY))[1]["outputs"][0]["data"] == [3.0, 4.0]


def raw(size: int, *more: str) -> bytes:
    """A request with a raw tensor, `size` bytes in all."""
    rows = (size - 200) // 8
    head = {"inputs": [{"name": "x", "shape": [rows, 2], "datatype": "FP32", "parameters": {"binary_data_size": rows * 8}}]}
    text = json.dumps(head).encode()
    text += b" " * (size - rows * 8 - len(text))
    return post(text + bytes(rows * 8), f"Inference-Header-Content-Length: {len(text)}", *more)


@pytest.mark.parametrize(("size", "status"), [(MIB, 200), (MIB + 1, 413)])
def test_the_limit_of_a_raw_tensor_holds_to_the_byte(server, size, status) -> None:
    wanted = b'{"outputs": [{"name": "y", "parameters": {"binary_data": true}}], ' if status == 200 else b""
    assert wanted == b"" or len(wanted) < 200
    with connect(server) as link, link.makefile("rb") as stream:
        link.sendall(raw(size))
        assert read_reply(stream)[0] == status


@pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
@pytest.mark.parametrize(("size", "status"), [(MIB, 200), (MIB + 1, 413), (64 * MIB, 413)])
def test_the_limit_holds_once_unpacked(server, coding, pack, size, status) -> None:
    got, answer = ask(server, post(pack(BODY + b" " * (size - len(BODY))), f"Content-Encoding: {coding}"))
    assert got == status
    if status == 413:
        assert "1048576" in answer["error"]
        assert "decompressed" in answer["error"]


EXPANDING = {
    "numbers of one digit": b"[" + b"1," * 400_000 + b"1]",
    "empty objects": b"[" + b"{}," * 200_000 + b"{}]",
    "empty lists": b"[" + b"[]," * 200_000 + b"[]]",
    "empty texts": b"[" + b'"",' * 200_000 + b'""]',
    "nested twos": b"[" + b"[1,2]," * 150_000 + b"[1,2]]",
}


@pytest.mark.parametrize("data", EXPANDING.values(), ids=EXPANDING)
@pytest.mark.parametrize("target", ROUTES)
def test_json_that_grows_when_it_is_decoded_is_refused_before_it_is(server, target, data) -> None:
    body = b'{"inputs": ' + data + b"}"
    assert len(body) < MIB
    before = resident_bytes()
    got, answer = ask(server, post(body, target=target))
    assert got == 413
    assert "when decoded" in answer["error"]
    assert resident_bytes() - before < 8 * MIB


def test_that_such_json_grows() -> None:
    tracemalloc.start()
    grown = json.loads(EXPANDING["empty objects"])
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(grown) == 200_001
    assert taken > 12 * MIB


def test_numbers_that_fill_the_limit_once_they_are_typed_are_taken(server) -> None:
    rows = MIB // 8 // 2 - 100  # FP64 elements would fill the limit
    body = {"inputs": [{"name": "x", "shape": [rows, 2], "datatype": "FP32", "data": [1] * rows * 2}]}
    assert ask(server, post(json.dumps(body, separators=(",", ":")).encode()))[0] == 200


def test_text_is_not_taken_for_structure(server) -> None:
    body = {"id": "[{,}]" * 100_000, "inputs": json.loads(BODY)["inputs"]}
    got, answer = ask(server, post(json.dumps(body).encode()))
    assert got == 200
    assert len(answer["id"]) == 500_000


@pytest.mark.parametrize("target", ROUTES)
@pytest.mark.parametrize("depth", [120, 250_000])
def test_json_that_is_nested_too_deep_is_refused_on_every_route(server, target, depth) -> None:
    got, answer = ask(server, post(b'{"inputs":' + b"[" * depth + b"]" * depth + b"}", target=target))
    assert got == 400
    assert "100 levels" in answer["error"]


@pytest.mark.parametrize("value", ["99999999999", "-1", "1e3", "", "0x1", "1.0", "5 5", "\xb2"])
def test_a_header_length_that_divides_nothing_is_refused(server, value) -> None:
    got, answer = ask(server, post(BODY, f"Inference-Header-Content-Length: {value}"))
    assert (got, list(answer)) == (400, ["error"])


def test_two_header_lengths_are_refused(server) -> None:
    assert ask(server, post(BODY, "Inference-Header-Content-Length: 5", "Inference-Header-Content-Length: 6"))[0] == 400


def test_texts_that_claim_more_than_they_have_are_refused_without_room_for_them(server) -> None:
    head = {"inputs": [{"name": "x", "shape": [2**40, 2], "datatype": "FP32", "parameters": {"binary_data_size": 4}}]}
    text = json.dumps(head).encode()
    before = resident_bytes()
    got, answer = ask(server, post(text + struct.pack("<I", 2**32 - 1), f"Inference-Header-Content-Length: {len(text)}"))
    assert got == 400
    assert "needs 8796093022208" in answer["error"]
    assert resident_bytes() - before < 8 * MIB


@pytest.mark.slow
def test_a_million_chunks_over_and_over_leave_no_memory_behind(server) -> None:
    bad = post(b"", "Transfer-Encoding: chunked", length=False) + b"1\r\n \r\n" * 1_000_000 + b"0\r\n\r\n"
    for _ in range(3):
        assert send_all(server, bad) == 413
    before = resident_bytes()
    for _ in range(20):
        assert send_all(server, bad) == 413
    assert resident_bytes() - before <= MIB


def send_all(server, data: bytes) -> int:
    """Send everything, however early the answer comes."""
    with connect(server) as link, link.makefile("rb") as stream:
        try:
            link.sendall(data)
        except ConnectionError:
            return 413  # cut off while it sent on after the refusal; the first rounds have seen the answer
        return read_reply(stream)[0]


def test_a_body_in_small_chunks_is_the_same_body(server) -> None:
    got, answer = ask(
        server, post(b"", "Transfer-Encoding: chunked", length=False) + chunked([BODY[i : i + 3] for i in range(0, len(BODY), 3)])
    )
    assert (got, answer["outputs"][0]["data"]) == (200, [3.0, 4.0])


def test_a_raw_tensor_in_chunks_and_compressed_is_the_same_tensor(server) -> None:
    x = np.array([[1.5, 2.0]], "<f4")
    head = json.dumps({"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "parameters": {"binary_data_size": 8}}]}).encode()
    packed = gzip.compress(head + x.tobytes())
    length = f"Inference-Header-Content-Length: {len(head)}"
    request = post(b"", "Transfer-Encoding: chunked", "Content-Encoding: gzip", length, length=False)
    got, answer = ask(server, request + chunked([packed[i : i + 7] for i in range(0, len(packed), 7)]))
    assert (got, answer["outputs"][0]["data"]) == (200, [3.0, 4.0])
