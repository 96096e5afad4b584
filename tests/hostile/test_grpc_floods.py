"""Floods and bombs against the gRPC port: each is ended in the right way, and the next call is served.

Every flood is sent twice: to a server whose limit it exceeds, and (the control) to one with a higher limit, which shows that the frames are
well-formed and that nothing but the limit ends them.
"""

from __future__ import annotations

import contextlib
import resource
import time

import http2_peer
import pytest
from http2_peer import INFER, LIVE, TIGHT, Peer, connect, framed, request, serves

from fairlead.serve.grpc import frames as h2
from fairlead.serve.grpc.limits import GrpcLimits
from fairlead.serve.grpc.schema import MESSAGES

WIDE = GrpcLimits(header_count=1000, chore_count=10**9, reset_count=10**9, header_bytes=2**20, continuation_count=10**6, stream_count=10**5)


@pytest.fixture(scope="module")
def tight():
    with http2_peer.server(grpc_limits=TIGHT) as running:
        yield running.server


@pytest.fixture(scope="module")
def wide():
    with http2_peer.server(grpc_limits=WIDE) as running:
        yield running.server


def flood(peer: Peer, frames) -> None:
    """Send until the server hangs up."""
    with contextlib.suppress(ConnectionError):
        for frame in frames:
            peer.send(frame)


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


# P19 and its relatives: frames by the thousand


def rapid_resets(peer: Peer, count: int):
    for i in range(count):
        stream = 2 * i + 1
        yield peer.head(stream, INFER) + peer.data(stream, framed(request()), end=False) + h2.rst_stream(stream, h2.CANCEL)


FLOODS = {
    "rapid reset": rapid_resets,
    "pings": lambda peer, count: (h2.frame(h2.PING, 0, 0, b"12345678") * 10 for _ in range(count)),
    "settings": lambda peer, count: (h2.settings({h2.MAX_FRAME_SIZE: 16384}) * 10 for _ in range(count)),
    "acknowledgements": lambda peer, count: (h2.frame(h2.SETTINGS, h2.ACK, 0) * 10 for _ in range(count)),
    "priorities": lambda peer, count: (h2.frame(h2.PRIORITY, 0, 1, b"\0\0\0\0\1") * 10 for _ in range(count)),
    "windows": lambda peer, count: (h2.window_update(0, 1) * 10 for _ in range(count)),
    "unknown frames": lambda peer, count: (h2.frame(0x77, 0, 0, b"x") * 10 for _ in range(count)),
    "empty data": lambda peer, count: (peer.head(1) if i == 0 else h2.frame(h2.DATA, 0, 1) * 10 for i in range(count)),
    "empty continuations": lambda peer, count: (
        h2.frame(h2.HEADERS, 0, 1, b"\x83") if i == 0 else h2.frame(h2.CONTINUATION, 0, 1) for i in range(count)
    ),
    "continuations": lambda peer, count: (
        h2.frame(h2.HEADERS, 0, 1, b"\x83") if i == 0 else h2.frame(h2.CONTINUATION, 0, 1, b"\x00\x01a\x01b" * 300)
        for i in range(count // 30)
    ),
    "malformed requests": lambda peer, count: (peer.head(2 * i + 1, path="") for i in range(count)),
}


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_is_ended_and_costs_little(tight, name):
    began = cpu_s()
    with connect(tight) as peer:
        flood(peer, FLOODS[name](peer, 5000))
        with contextlib.suppress(ConnectionError):
            assert peer.goaway()[0] == h2.ENHANCE_YOUR_CALM
    assert cpu_s() - began < 5.0  # of both sides, on a busy machine; unbounded it is the flood's to say
    assert serves(tight)


@pytest.mark.parametrize("name", [name for name in FLOODS if "continuations" not in name])
def test_control_the_same_frames_are_taken_where_the_limit_is_higher(wide, name):
    with connect(wide) as peer:
        for frame in FLOODS[name](peer, 150):
            peer.send(frame)
        peer.ping()


def test_control_long_headers_are_taken_where_the_limit_is_higher(wide):
    with connect(wide) as peer:
        block = peer.encoder.encode([*peer.fields(LIVE), *((f"x-{i}", "v" * 500) for i in range(60))])
        pieces = [block[i : i + 500] for i in range(0, len(block), 500)]
        peer.send(h2.frame(h2.HEADERS, 0, 1, pieces[0]), *[h2.frame(h2.CONTINUATION, 0, 1, piece) for piece in pieces[1:]])
        peer.send(h2.frame(h2.CONTINUATION, h2.END_HEADERS, 1), peer.data(1, framed(b"")))
        assert peer.answer(1).status == 0


def test_good_clients_cancel_and_ping_and_keep_their_connection(tight):
    """A third of the calls is cancelled, each has a ping and two window updates: nobody is cut off for that."""
    with connect(tight) as peer:
        for i in range(600):
            stream = peer.begin(request())
            peer.send(h2.frame(h2.PING, 0, 0, b"12345678"), h2.window_update(0, 100), h2.window_update(stream, 10))
            if i % 3 == 0:
                peer.send(h2.rst_stream(stream, h2.CANCEL))
            else:
                assert peer.answer(stream).status == 0


# Bombs


def test_a_header_list_that_grows_when_decompressed_ends_the_connection(tight):
    """One entry of 4,000 bytes in the table, then a byte for each time that it is meant."""
    with connect(tight) as peer:
        bomb = b"\x40\x01a\x7f\xa1\x1e" + b"v" * 4000 + b"\xbe" * 3000
        peer.send(h2.frame(h2.HEADERS, h2.END_HEADERS, 1, bomb))
        assert peer.goaway()[0] == h2.ENHANCE_YOUR_CALM
    assert serves(tight)


@pytest.mark.parametrize("block", [b"\x7f" + b"\xff" * 16_000, b"\x00\x7f" + b"\x80" * 16_000, b"\x3f" + b"\xff" * 16_000])
def test_an_endless_number_in_a_header_block_ends_the_connection_at_once(tight, block):
    began = time.monotonic()
    with connect(tight) as peer:
        peer.send(h2.frame(h2.HEADERS, h2.END_HEADERS, 1, block))
        assert peer.goaway()[0] == h2.COMPRESSION_ERROR
    assert time.monotonic() - began < 5.0


def test_ten_thousand_inputs_are_refused_before_they_are_decoded(tight):
    message = MESSAGES["ModelInferRequest"](model_name="m")
    for _ in range(10_000):
        message.inputs.add(name="x", datatype="FP32", shape=[1, 2])
    with connect(tight) as peer:
        found = peer.call(message.SerializeToString())
        assert (found.status, "4096" in found.text) == (3, True)
        assert peer.call(request()).status == 0


@pytest.mark.parametrize("piece", [b"\x2a\x00", b"\x32\x00", b"\x22\x00"], ids=["inputs", "outputs", "parameters"])
def test_a_message_of_empty_parts_is_refused_before_it_takes_memory(tight, piece):
    with connect(tight) as peer:
        assert peer.call(b"\x0a\x01m" + piece * 200_000).status == 3
        assert peer.call(b"\x0a\x01m" + b"\x2a\x80\x80\x18" + b"\x22\x00" * 196_608).status == 3


def test_protobuf_nested_a_thousand_deep_is_refused(tight):
    def group(depth: int) -> bytes:
        return b"\x7b" * depth + b"\x7c" * depth  # unknown groups in each other

    with connect(tight) as peer:
        for content in (group(1000), group(100_000)):
            assert peer.call(content).status in {3, 5}
        assert peer.call(request()).status == 0


def test_messages_in_large_fields_cannot_lie_about_their_size(tight):
    with connect(tight) as peer:
        assert peer.call(b"\x0a\x01m" + b"\x3a\xff\xff\xff\xff\x0f" + bytes(100_000)).status == 3
