import gzip
import json
import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.serve.http.encoding import encoded
from fairlead.serve.http.media_type import MediaKind, content_coding, media_kind
from fairlead.serve.http.message import Reply

BIG = json.dumps([0.5] * 2000).encode()
UNPACK = {b"gzip": gzip.decompress, b"deflate": zlib.decompress}


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        (b"gzip", b"gzip"),
        (b"deflate", b"deflate"),
        (b"gzip, deflate, br, zstd", b"gzip"),
        (b"deflate;q=1.0, gzip;q=0.5", b"deflate"),
        (b"GZIP", b"gzip"),
        (b"*", b"gzip"),
        (b"gzip;q=0, *", b"deflate"),
        (b"gzip;q=0", b""),
        (b"gzip; q=0.0, deflate;q=0", b""),
        (b"identity", b""),
        (b"br", b""),
        (b"", b""),
        (b"gzip;q=x", b""),
        (b"identity;q=1, *;q=0", b""),
    ],
)
async def test_an_answer_comes_in_an_encoding_that_is_accepted(accepted, coding) -> None:
    assert content_coding(accepted) == coding
    reply = await encoded(Reply(200, BIG), accepted)
    headers = dict(line.split(b": ") for line in reply.headers)
    assert headers.get(b"content-encoding", b"") == coding
    assert (UNPACK[coding](reply.body) if coding else reply.body) == BIG
    if coding:
        assert headers[b"vary"] == b"accept-encoding"


async def test_small_answers_and_those_that_do_not_shrink_stay_as_they_are() -> None:
    for body in (b"0" * 1024, random.Random(1).randbytes(5000)):
        assert (await encoded(Reply(200, body), b"gzip")).body is body


async def test_a_large_answer_is_compressed_beside_the_loop_and_is_the_same() -> None:
    body = BIG * 100
    reply = await encoded(Reply(200, body, headers=(b"x: y",)), b"gzip")
    assert gzip.decompress(reply.body) == body
    assert b"x: y" in reply.headers


async def test_the_api_compresses_for_those_who_ask(world) -> None:
    body = {"inputs": [{"name": "x", "shape": [500, 2], "datatype": "FP32", "data": [1.0] * 1000}]}
    plain = await world.send("POST", "/v2/models/m/infer", json.dumps(body).encode())
    small = await world.send("POST", "/v2/models/m/infer", json.dumps(body).encode(), accept_encoding="gzip")
    assert gzip.decompress(small.body) == plain.body
    assert b"content-encoding: gzip" in small.headers
    assert all(not line.startswith(b"content-encoding") for line in plain.headers)
    assert (await world.send("GET", "/v2", accept_encoding="gzip")).headers == ()


@given(st.binary(max_size=60))
def test_any_header_can_be_read(value) -> None:
    assert content_coding(value) in {b"", b"gzip", b"deflate"}
    assert media_kind(value) in MediaKind
