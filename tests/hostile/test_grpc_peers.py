"""Slow, silent and greedy peers of the gRPC port, and any bytes at all: nobody holds more than the limits say, or holds anybody else up."""

from __future__ import annotations

import contextlib
import gc
import socket
import struct
import threading
import time
from pathlib import Path

import http2_peer
import numpy as np
import pytest
from http2_peer import SIZES, STREAM, TIGHT, Peer, connect, framed, request, serves
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairlead.serve.grpc import frames as h2
from fairlead.serve.grpc.connection import Connection
from fairlead.serve.grpc.limits import GrpcLimits
from fairlead.serve.grpc.outbound import Outbound
from fairlead.serve.grpc.session import Session

TIMES = {"header_deadline_s": 0.5, "body_deadline_s": 0.5, "write_deadline_s": 0.5, "idle_s": 1.0, "linger_s": 0.5}
HASTY = GrpcLimits(**TIMES, **SIZES, ping_after_s=0.5, ping_deadline_s=0.5)


@pytest.fixture(scope="module")
def tight():
    with http2_peer.server(grpc_limits=TIGHT) as running:
        yield running.server


@pytest.fixture(scope="module")
def hasty():
    with http2_peer.server(grpc_limits=HASTY) as running:
        yield running.server


def parts_left() -> int:
    """How many parts of connections there are in memory."""
    return sum(isinstance(item, Connection | Session | Outbound) for item in gc.get_objects())


def test_connections_that_ended_leave_nothing_to_the_collector_of_garbage(tight):
    gc.collect()
    gc.disable()
    try:
        for begun in (b"", h2.PREFACE[:10], h2.PREFACE + h2.settings({1: 1}), h2.PREFACE + b"nonsense that is no frame at all"):
            for _ in range(4):
                with connect(tight, is_polite=False) as peer:
                    peer.send(begun)
        for _ in range(4):
            with connect(tight) as peer:
                peer.send(peer.head(1))
        assert serves(tight)  # so all that came before have been accepted
        until = time.monotonic() + 10
        while (tight._grpc.connection_count or parts_left() > 3) and time.monotonic() < until:  # the loop may still refer to the last one
            time.sleep(0.05)
        left_count = parts_left()
    finally:
        gc.enable()
    assert left_count <= 3  # as many as one connection has


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


@pytest.mark.slow
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
