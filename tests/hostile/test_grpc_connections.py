"""Floods, bombs, slow and silent peers against the gRPC port: each is ended in the right way, and the next call is served.

Every flood is sent twice: to a server whose limit it exceeds, and (the control) to one with a higher limit, which shows that the frames are
well-formed and that nothing but the limit ends them.
"""

from __future__ import annotations

import contextlib
import resource
import socket
import struct
import threading
import time
from pathlib import Path

import http2_peer
import numpy as np
import pytest
from http2_peer import INFER, LIVE, STREAM, Peer, doubled, framed, request
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairlead.serve.grpc import frames as h2
from fairlead.serve.grpc.limits import GrpcLimits
from fairlead.serve.grpc.schema import MESSAGES

SIZES = {"message_bytes": 2**20, "buffered_bytes": 4 * 2**20, "pending_bytes": 2**20, "connection_count": 60}
TIGHT = GrpcLimits(**SIZES)
TIMES = {"header_deadline_s": 0.5, "body_deadline_s": 0.5, "write_deadline_s": 0.5, "idle_s": 1.0, "linger_s": 0.5}
HASTY = GrpcLimits(**TIMES, **SIZES, ping_after_s=0.5, ping_deadline_s=0.5)
WIDE = GrpcLimits(header_count=1000, chore_count=10**9, reset_count=10**9, header_bytes=2**20, continuation_count=10**6, stream_count=10**5)


@pytest.fixture(scope="module")
def tight():
    with http2_peer.server(grpc_limits=TIGHT) as running:
        yield running.server


@pytest.fixture(scope="module")
def hasty():
    with http2_peer.server(grpc_limits=HASTY) as running:
        yield running.server


@pytest.fixture(scope="module")
def wide():
    with http2_peer.server(grpc_limits=WIDE) as running:
        yield running.server


def connect(server, **options) -> Peer:
    return Peer(server.grpc_address, **options)


def serves(server) -> bool:
    with connect(server) as peer:
        return doubled(peer.call(request()).messages[0]).tolist() == [[3.0, 4.0]]


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


# R13: slow and silent peers


def closes_within(peer: Peer, limit_s: float) -> bool:
    began = time.monotonic()
    with contextlib.suppress(ConnectionError):
        while peer.frame() is not None:
            pass
    return time.monotonic() - began < limit_s


def test_a_peer_that_says_nothing_or_half_a_preface_is_cut_off(hasty):
    for begun in (b"", h2.PREFACE[:10], h2.PREFACE, h2.PREFACE + h2.settings({1: 1})[:5]):
        with connect(hasty, is_polite=False) as peer:
            peer.send(begun)
            assert closes_within(peer, 9.0)


def test_a_frame_that_drips_is_cut_off(hasty):
    with connect(hasty) as peer:
        frame = peer.head(1)
        with contextlib.suppress(ConnectionError):
            for byte in frame * 100:
                peer.send(bytes((byte,)))
                time.sleep(0.2)
                if time.monotonic() > 0 and _is_readable(peer.socket):
                    break
        assert closes_within(peer, 9.0)


def _is_readable(sock: socket.socket) -> bool:
    """Whether the server has said GOAWAY or hung up."""
    sock.setblocking(False)
    try:
        return b"in time" in sock.recv(65536, socket.MSG_PEEK) or not sock.recv(1, socket.MSG_PEEK)
    except (BlockingIOError, ConnectionError):
        return False
    finally:
        sock.settimeout(10)


def test_a_message_that_drips_is_answered_with_its_deadline_and_other_calls_go_on(hasty):
    with connect(hasty) as peer:
        stream = peer.open()
        peer.send(h2.frame(h2.DATA, 0, stream, framed(request())[:5]))
        began = time.monotonic()
        while time.monotonic() - began < 1.0:
            assert peer.call(request()).status == 0
            peer.send(h2.frame(h2.DATA, 0, stream, b"\0"))
            time.sleep(0.1)
            if any(frame.stream == stream for frame in peer.seen):
                break
        assert peer.answer(stream).status == 4


def test_an_idle_connection_is_told_to_leave_and_closed(hasty):
    with connect(hasty) as peer:
        assert peer.call(request()).status == 0
        goaway = peer.until(lambda frame: frame.kind == h2.GOAWAY)
        assert goaway.payload[4:8] == b"\0\0\0\0"
        assert closes_within(peer, 9.0)


def test_a_peer_that_is_silently_gone_is_asked_and_cut_off(hasty):
    with connect(hasty) as peer:
        peer.open(STREAM)
        peer.until(lambda frame: frame.kind == h2.PING)
        assert closes_within(peer, 9.0)


def test_a_quiet_stream_of_a_peer_that_answers_pings_stays(hasty):
    with connect(hasty) as peer:
        stream = peer.open(STREAM)
        for _ in range(2):
            ping = peer.until(lambda frame: frame.kind == h2.PING and not frame.flags)
            peer.send(h2.frame(h2.PING, h2.ACK, 0, ping.payload))
        peer.send(peer.data(stream, framed(request())))
        assert peer.answer(stream).status == 0


# R14: slow readers


LARGE = np.zeros((50_000, 2), np.float32)


def test_a_reader_that_stops_is_cut_off_and_what_waits_for_it_is_bounded(hasty):
    """By windows that never open, and by a socket that is never read."""
    for settings_, buffer_bytes in (({}, 0), ({h2.INITIAL_WINDOW_SIZE: 2**30}, 4096)):
        with connect(hasty, settings=settings_, buffer_bytes=buffer_bytes) as peer:
            peer.send(h2.window_update(0, 2**30)) if buffer_bytes else None
            with contextlib.suppress(ConnectionError):
                for _ in range(30):
                    peer.begin(request(LARGE))
            time.sleep(1.5)
            assert closes_within(peer, 9.0)
    assert serves(hasty)


def test_a_reader_that_takes_a_byte_a_second_is_cut_off(hasty):
    with connect(hasty, settings={h2.INITIAL_WINDOW_SIZE: 1}) as peer:
        stream = peer.begin(request(LARGE))
        with contextlib.suppress(ConnectionError):
            for _ in range(40):
                peer.send(h2.window_update(stream, 1))
                time.sleep(0.1)
        assert closes_within(peer, 9.0)


def test_what_waits_for_one_connection_is_bounded_and_more_calls_are_refused(tight):
    """Answers of 400 KB that nobody reads: a few of them are kept, then calls are refused, which a client may try again."""
    with connect(tight) as peer:
        refused: list[int] = []
        for _ in range(60):
            peer.begin(request(LARGE))
            peer.ping()
            refused = [frame.stream for frame in peer.seen if frame.kind == h2.RST_STREAM]
            if refused:
                break
            time.sleep(0.05)
        assert refused


def test_unfinished_messages_of_all_connections_are_bounded_together(tight):
    """Each may be a MiB; four MiB of them are kept."""
    with contextlib.ExitStack() as stack:
        statuses = []
        part = struct.pack(">BI", 0, 2**20) + bytes(900_000)
        for _ in range(8):
            peer = stack.enter_context(connect(tight))
            stream = peer.open()
            peer.send(peer.data(stream, part, end=False))
            peer.ping()
            statuses += [frame.payload["grpc-status"] for frame in peer.seen if frame.kind == h2.HEADERS]
        assert "14" in statuses
    assert serves(tight)


def test_connections_above_the_limit_are_refused_and_others_served_again_later(tight):
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(connect(tight)) for _ in range(60)]
        peers[0].ping()
        with connect(tight) as peer:
            assert peer.goaway() == (h2.ENHANCE_YOUR_CALM, "too many connections are open")
        assert peers[0].call(request()).status == 0
    deadline = time.monotonic() + 10
    while not _is_served(tight) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert serves(tight)


def _is_served(server) -> bool:
    try:
        return serves(server)
    except (ConnectionError, KeyError, IndexError):
        return False


# Whatever comes


KINDS = st.tuples(
    st.sampled_from([*range(10), 10, 200]), st.integers(0, 255), st.sampled_from([0, 1, 1, 3, 5, 2, 2**31 - 1]), st.binary(max_size=40)
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(KINDS, st.sampled_from(["call", "open", "data", "cancel", "cut"])), max_size=12), st.integers(1, 50))
def test_any_frames_in_any_order_leave_the_server_well(fuzzed, steps, size):
    """Frames of any kind between good ones, in pieces of any size."""
    with Peer(fuzzed.grpc_address) as peer, contextlib.suppress(ConnectionError):
        stream, parts = 1, []
        for step in steps:
            if isinstance(step, tuple):
                parts.append(h2.frame(*step))
            elif step == "call":
                stream += 2
                parts.append(peer.head(stream) + peer.data(stream, framed(request())))
            elif step == "open":
                stream += 2
                parts.append(peer.head(stream, STREAM))
            elif step == "cut":
                parts.append(b"\0\0")
            else:
                parts.append(peer.data(stream, framed(request())[:20]) if step == "data" else h2.rst_stream(stream, h2.CANCEL))
        sent = b"".join(parts)
        for place in range(0, len(sent), 64 * size):
            peer.send(sent[place : place + 64 * size])
    assert not fuzzed.reports


@pytest.fixture(scope="module")
def fuzzed():
    reports: list[str] = []
    with http2_peer.server(report=reports.append, grpc_limits=GrpcLimits()) as running:
        running.server.reports = reports
        reports.clear()
        yield running.server
        assert serves(running.server)
        assert not reports


@settings(max_examples=100)
@given(st.binary(max_size=60), st.booleans())
def test_any_message_is_answered_with_a_status_and_never_a_fault_of_ours(fuzzed, content, is_prefixed):
    with Peer(fuzzed.grpc_address) as peer:
        found = peer.call((request() if is_prefixed else b"\x0a\x01m") + content)
        assert found.status in {0, 3, 5}
    assert not fuzzed.reports


def test_nothing_is_left_behind(tight):
    """No descriptor, no thread, no byte of room: after all of the above, and after a hundred calls that were cut off in the middle."""
    before = len(list(Path("/proc/self/fd").iterdir())), threading.active_count()
    for i in range(100):
        peer = connect(tight)
        peer.send(peer.head(1), peer.data(1, framed(request([[13.0, 0.0]] if i % 10 == 0 else [[1.0, 0.0]]))[:-3], end=False))
        peer.socket.close()
    deadline = time.monotonic() + 10
    port = tight._grpc
    while (port.connection_count or port._gate.buffered_bytes or tight.plane.in_flight) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert (port.connection_count, port._gate.buffered_bytes, tight.plane.in_flight) == (0, 0, 0)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before[0] + 2
    assert threading.active_count() <= before[1] + 2
