"""RFC 9113 rule by rule, in the order of its sections: what is taken, what ends a stream, what ends the connection."""

from __future__ import annotations

import numpy as np
import pytest
from http2_peer import INFER, LIVE, Peer, doubled, framed, request, server

from fairlead.serve.grpc import frames as h2
from fairlead.serve.grpc.limits import GrpcLimits

ALL_FLAGS = h2.END_HEADERS | h2.END_STREAM


def answered(peer: Peer) -> bool:
    return doubled(peer.call(request()).messages[0]).tolist() == [[3.0, 4.0]]


def test_a_call_is_answered_with_headers_a_message_and_trailers(peer):
    found = peer.call(request(id="seven"))
    assert found.headers[":status"] == "200"
    assert found.headers["content-type"] == "application/grpc"
    assert found.status == 0
    assert doubled(found.messages[0]).tolist() == [[3.0, 4.0]]


def test_many_calls_share_a_connection_and_each_gets_its_own_answer(peer):
    streams = {peer.begin(request([[float(i), 0.0]])): i for i in range(60)}
    for stream, number in reversed(streams.items()):
        assert doubled(peer.answer(stream).messages[0])[0, 0] == 2 * number


# 3.4: the preface


@pytest.mark.parametrize("garbage", [b"\x00" * 64, b"PRI * HTTP/2.0\r\n\r\nSX\r\n\r\n" + b"\0" * 32, b"\x16\x03\x01\x02\x00\x01\x00"])
def test_what_is_not_the_preface_ends_the_connection(address, garbage):
    with Peer(address, is_polite=False) as peer:
        peer.send(garbage)
        assert peer.goaway()[0] == h2.PROTOCOL_ERROR


def test_a_client_of_http_1_is_told_what_is_spoken_here(address):
    with Peer(address, is_polite=False) as peer:
        peer.send(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        data = b""
        while b"gRPC" not in data:
            data += peer.socket.recv(4096)
        assert b"HTTP/1.1 426 Upgrade Required\r\n" in data


def test_the_preface_may_come_byte_by_byte(address):
    with Peer(address, is_polite=False) as peer:
        for byte in h2.PREFACE + h2.settings({}):
            peer.send(bytes((byte,)))
        assert answered(peer)


def test_the_first_frame_has_to_be_settings(address):
    with Peer(address, is_polite=False) as peer:
        peer.send(h2.PREFACE, h2.frame(h2.PING, 0, 0, b"12345678"))
        assert peer.goaway()[0] == h2.PROTOCOL_ERROR


# 4: frames


def test_an_unknown_frame_is_ignored(peer):
    peer.send(h2.frame(0xBE, 0xFF, 0, b"whatever"), h2.frame(0x16, 0, 1, b""))
    assert answered(peer)


def test_a_frame_above_the_size_limit_ends_the_connection(peer):
    peer.send(h2.head(h2.FRAME_LIMIT + 1, h2.DATA, 0, 1))
    assert peer.goaway()[0] == h2.FRAME_SIZE_ERROR


def test_the_reserved_bit_of_a_stream_number_is_ignored(peer):
    frame = bytearray(peer.head(1, LIVE))
    frame[5] |= 0x80
    peer.send(bytes(frame), peer.data(1, framed(b"")))
    assert peer.answer(1).status == 0


def test_headers_that_cannot_be_decompressed_end_the_connection(peer):
    peer.send(h2.frame(h2.HEADERS, ALL_FLAGS, 1, b"\xff\xff\xff\xff\xff"))
    assert peer.goaway()[0] == h2.COMPRESSION_ERROR


def test_a_table_size_beyond_what_was_agreed_ends_the_connection(peer):
    peer.send(h2.frame(h2.HEADERS, ALL_FLAGS, 1, b"\x3f\xe1\xff\x03"))
    assert peer.goaway()[0] == h2.COMPRESSION_ERROR


def test_a_header_block_that_is_interrupted_ends_the_connection(peer):
    peer.send(h2.frame(h2.HEADERS, 0, 1, b"\x82"), h2.frame(h2.PING, 0, 0, b"12345678"))
    assert peer.goaway()[0] == h2.PROTOCOL_ERROR


def test_a_header_block_may_come_in_pieces_with_padding_and_a_priority(peer):
    block = peer.encoder.encode(peer.fields(LIVE))
    first = b"\x04" + b"\x00\x00\x00\x00\x10" + block[:5] + b"\0" * 4
    peer.send(h2.frame(h2.HEADERS, h2.PADDED | h2.HAS_PRIORITY, 1, first), h2.frame(h2.CONTINUATION, 0, 1, block[5:9]))
    peer.send(h2.frame(h2.CONTINUATION, h2.END_HEADERS, 1, block[9:]), peer.data(1, framed(b"")))
    assert peer.answer(1).status == 0


# 5.1: states of streams


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (h2.frame(h2.DATA, 0, 1, b"x"), h2.PROTOCOL_ERROR),
        (h2.rst_stream(1, h2.CANCEL), h2.PROTOCOL_ERROR),
        (h2.window_update(1, 1), h2.PROTOCOL_ERROR),
        (h2.frame(h2.CONTINUATION, h2.END_HEADERS, 1, b""), h2.PROTOCOL_ERROR),
        (h2.frame(h2.PUSH_PROMISE, h2.END_HEADERS, 1, b"\0\0\0\2"), h2.PROTOCOL_ERROR),
        (h2.frame(h2.DATA, 0, 0, b"x"), h2.PROTOCOL_ERROR),
        (h2.frame(h2.HEADERS, ALL_FLAGS, 0, b"\x82"), h2.PROTOCOL_ERROR),
        (h2.frame(h2.HEADERS, ALL_FLAGS, 2, b"\x82"), h2.PROTOCOL_ERROR),
        (h2.frame(h2.RST_STREAM, 0, 0, b"\0\0\0\0"), h2.PROTOCOL_ERROR),
        (h2.frame(h2.PRIORITY, 0, 0, b"\0\0\0\0\0"), h2.PROTOCOL_ERROR),
        (h2.frame(h2.SETTINGS, 0, 1, b""), h2.PROTOCOL_ERROR),
        (h2.frame(h2.PING, 0, 1, b"12345678"), h2.PROTOCOL_ERROR),
        (h2.frame(h2.GOAWAY, 0, 1, b"\0" * 8), h2.PROTOCOL_ERROR),
    ],
)
def test_a_frame_where_it_may_not_stand_ends_the_connection(peer, frame, code):
    peer.send(frame)
    assert peer.goaway()[0] == code


def test_data_on_a_stream_that_the_peer_has_ended_is_refused(peer):
    peer.send(peer.head(1), peer.data(1, framed(request([[13.0, 0.0]]))), h2.frame(h2.DATA, 0, 1, b"more"))
    assert peer.answer(1).reset == h2.STREAM_CLOSED
    peer.next_id = 3
    assert answered(peer)


def test_headers_on_a_closed_stream_end_the_connection(peer):
    assert answered(peer)
    peer.send(peer.head(1, LIVE, end=True))
    assert peer.goaway()[0] == h2.STREAM_CLOSED


def test_a_stream_number_may_not_go_back(peer):
    peer.next_id = 7
    assert answered(peer)
    peer.send(peer.head(5, LIVE, end=True))
    assert peer.goaway()[0] == h2.STREAM_CLOSED


def test_a_stream_beyond_the_limit_is_refused_and_may_be_tried_again(peer):
    streams = [peer.open() for _ in range(101)]
    assert peer.answer(streams[100]).reset == h2.REFUSED_STREAM
    peer.send(h2.rst_stream(streams[0], h2.CANCEL))
    peer.next_id = 301
    assert answered(peer)


# 5.2 and 6.9: flow control


def test_a_small_window_is_respected_and_what_waits_goes_on_when_it_opens(address):
    with Peer(address, settings={h2.INITIAL_WINDOW_SIZE: 3}) as peer:
        stream = peer.begin(request())
        first = peer.until(lambda frame: frame.kind == h2.DATA)
        assert len(first.payload) == 3
        peer.ping()
        assert not [frame for frame in peer.seen if frame.kind == h2.DATA]
        peer.send(h2.window_update(stream, 1000))
        found = peer.answer(stream)
        assert found.status == 0
        assert doubled((first.payload + found.body)[5:]).tolist() == [[3.0, 4.0]]


def test_a_window_that_shrinks_below_zero_is_waited_for(address):
    with Peer(address, settings={h2.INITIAL_WINDOW_SIZE: 10}) as peer:
        stream = peer.begin(request())
        peer.until(lambda frame: frame.kind == h2.DATA)
        peer.send(h2.settings({h2.INITIAL_WINDOW_SIZE: 0}), h2.window_update(stream, 5))
        peer.ping()
        assert not [frame for frame in peer.seen if frame.kind == h2.DATA]
        peer.send(h2.settings({h2.INITIAL_WINDOW_SIZE: 60_000}))
        assert peer.answer(stream).status == 0


def test_an_answer_larger_than_all_windows_comes_whole(address):
    rows = np.arange(40_000, dtype=np.float32).reshape(-1, 2)
    with Peer(address) as peer:
        stream = peer.begin(request(rows))
        body, window = b"", 65_535
        while True:
            frame = peer.until(lambda frame: frame.stream == stream)
            if frame.kind == h2.DATA:
                assert len(frame.payload) <= min(window, h2.FRAME_LIMIT)
                body += frame.payload
                peer.send(h2.window_update(0, len(frame.payload)), h2.window_update(stream, len(frame.payload)))
            if frame.flags & h2.END_STREAM:
                break
        np.testing.assert_array_equal(doubled(body[5:]), rows * 2)


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (h2.window_update(0, 0), h2.PROTOCOL_ERROR),
        (h2.window_update(0, h2.MAX_WINDOW), h2.FLOW_CONTROL_ERROR),
        (h2.frame(h2.WINDOW_UPDATE, 0, 0, b"\0\0\1"), h2.FRAME_SIZE_ERROR),
        (h2.settings({h2.INITIAL_WINDOW_SIZE: 2**31}), h2.FLOW_CONTROL_ERROR),
    ],
)
def test_a_window_that_cannot_be_ends_the_connection(peer, frame, code):
    peer.send(frame)
    assert peer.goaway()[0] == code


@pytest.mark.parametrize(("size", "code"), [(0, h2.PROTOCOL_ERROR), (h2.MAX_WINDOW, h2.FLOW_CONTROL_ERROR)])
def test_a_stream_s_window_that_cannot_be_ends_the_stream_only(peer, size, code):
    stream = peer.open()
    peer.send(h2.window_update(stream, size))
    assert peer.answer(stream).reset == code
    assert answered(peer)


def test_settings_that_open_a_stream_s_window_too_far_end_the_connection(peer):
    stream = peer.open()
    peer.send(h2.window_update(stream, h2.MAX_WINDOW - 65_535), h2.settings({h2.INITIAL_WINDOW_SIZE: 65_536}))
    assert peer.goaway()[0] == h2.FLOW_CONTROL_ERROR


def test_more_than_the_stream_s_window_ends_the_stream():
    limits = GrpcLimits(stream_window_bytes=1000, connection_window_bytes=70_000)
    with server(grpc_limits=limits) as running, Peer(running.server.grpc_address) as peer:
        assert peer.answer(peer.begin(bytes(2000))).reset == h2.FLOW_CONTROL_ERROR
        assert answered(peer)


# 6: frames of the connection


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (h2.frame(h2.SETTINGS, h2.ACK, 0, b"\0" * 6), h2.FRAME_SIZE_ERROR),
        (h2.frame(h2.SETTINGS, 0, 0, b"\0" * 5), h2.FRAME_SIZE_ERROR),
        (h2.settings({h2.ENABLE_PUSH: 2}), h2.PROTOCOL_ERROR),
        (h2.settings({h2.MAX_FRAME_SIZE: 16_383}), h2.PROTOCOL_ERROR),
        (h2.settings({h2.MAX_FRAME_SIZE: 2**24}), h2.PROTOCOL_ERROR),
        (h2.frame(h2.PING, 0, 0, b"1234567"), h2.FRAME_SIZE_ERROR),
    ],
)
def test_malformed_frames_of_the_connection_end_it(peer, frame, code):
    peer.send(frame)
    assert peer.goaway()[0] == code


def test_settings_are_acknowledged_and_unknown_ones_ignored(peer):
    peer.send(h2.settings({0xABC: 1, h2.MAX_FRAME_SIZE: 100_000, h2.HEADER_TABLE_SIZE: 0}))
    for _ in range(2):
        peer.until(lambda frame: frame.kind == h2.SETTINGS and frame.flags == h2.ACK)
    assert answered(peer)


def test_a_larger_frame_size_of_the_peer_is_used(address):
    rows = np.zeros((5_000, 2), np.float32)
    with Peer(address, settings={h2.MAX_FRAME_SIZE: 60_000}) as peer:
        peer.begin(request(rows))
        assert len(peer.until(lambda frame: frame.kind == h2.DATA).payload) > h2.FRAME_LIMIT


def test_a_ping_comes_back_as_it_was(peer):
    peer.ping()


def test_a_priority_of_a_wrong_size_ends_the_stream_and_a_right_one_is_ignored(peer):
    stream = peer.open()
    peer.send(h2.frame(h2.PRIORITY, 0, stream, b"\0\0\0\0\x10"), h2.frame(h2.PRIORITY, 0, 99, b"\0\0\0\0\x10"))
    peer.send(h2.frame(h2.PRIORITY, 0, stream, b"\0\0\0\0"))
    assert peer.answer(stream).reset == h2.FRAME_SIZE_ERROR


def test_padding_is_taken_off_and_more_padding_than_payload_ends_the_connection(peer):
    stream = peer.open(LIVE)
    peer.send(h2.frame(h2.DATA, h2.PADDED | h2.END_STREAM, stream, b"\x03" + framed(b"") + b"\0\0\0"))
    assert peer.answer(stream).status == 0
    stream = peer.open(LIVE)
    peer.send(h2.frame(h2.DATA, h2.PADDED, stream, b"\x05abcd"))
    assert peer.goaway()[0] == h2.PROTOCOL_ERROR


def test_a_peer_that_leaves_is_answered_first(peer):
    stream = peer.begin(request([[13.0, 1.0]]))
    peer.send(h2.goaway(0, h2.NO_ERROR))
    assert peer.answer(stream).status == 0
    assert peer.frame() is None


# 8: requests


@pytest.mark.parametrize(
    "changed",
    [
        {"method": None},
        {"scheme": None},
        {"path": None},
        {"path": ""},
        {"te": "gzip"},
        {"connection": "close"},
        {"transfer_encoding": "chunked"},
        {"extra": [("X-Upper", "a")]},
        {"extra": [(":path", "/again")]},
        {"extra": [(":status", "200")]},
        {"extra": [("x-text", "line\nline")]},
        {"extra": [("x-text", " led by a space")]},
        {"extra": [("", "nameless")]},
        {"content_length": "x"},
        {"content_length": "-5"},
    ],
    ids=str,
)
def test_a_malformed_request_ends_its_stream_only(peer, changed):
    assert peer.answer(peer.open(**changed)).reset == h2.PROTOCOL_ERROR
    assert answered(peer)


def test_a_pseudo_header_behind_others_is_malformed(peer):
    fields = peer.fields()
    block = peer.encoder.encode(fields[1:] + fields[:1])
    peer.send(h2.frame(h2.HEADERS, ALL_FLAGS, 1, block))
    assert peer.answer(1).reset == h2.PROTOCOL_ERROR


def test_a_content_length_that_is_wrong_is_malformed_and_a_right_one_is_taken(peer):
    message = request()
    assert peer.answer(peer.begin(message, content_length=str(len(message)))).reset == h2.PROTOCOL_ERROR
    assert peer.answer(peer.begin(message, content_length=str(len(message) + 5))).status == 0


def test_trailers_end_a_request(peer):
    stream = peer.open()
    block = peer.encoder.encode([("x-checksum", "1")])
    peer.send(peer.data(stream, framed(request()), end=False), h2.frame(h2.HEADERS, ALL_FLAGS, stream, block))
    assert peer.answer(stream).status == 0


def test_trailers_that_end_nothing_or_hold_pseudo_headers_are_malformed(peer):
    stream = peer.open()
    peer.send(h2.frame(h2.HEADERS, h2.END_HEADERS, stream, peer.encoder.encode([("x-checksum", "1")])))
    assert peer.answer(stream).reset == h2.PROTOCOL_ERROR
    stream = peer.open()
    peer.send(h2.frame(h2.HEADERS, ALL_FLAGS, stream, peer.encoder.encode([(":path", "/")])))
    assert peer.answer(stream).reset == h2.PROTOCOL_ERROR


def test_headers_are_understood_however_they_are_compressed(address):
    """The same bytes mean something else once the table has changed: what was read before must be forgotten then."""
    with Peer(address) as peer:
        for path, status in ((INFER, 0), ("/nothing", 12), (LIVE, 0), (INFER, 0), ("/else", 12)) * 3:
            peer.encoder.header_table_size = 4096 if status else 100
            found = peer.call(request(), path, extra=[("x-request-id", f"of-{path.strip('/')[:20]}")])
            assert (found.status, found.headers["x-request-id"]) == (status, f"of-{path.strip('/')[:20]}")


def test_a_request_that_is_not_grpc_is_refused_by_its_http_status(peer):
    for changed, status in (({"method": "GET"}, "405"), ({"content_type": "application/json"}, "415"), ({"content_type": None}, "415")):
        assert peer.answer(peer.open(end=True, **changed)).headers[":status"] == status
    assert answered(peer)


def test_more_headers_than_are_allowed_are_refused_by_their_number(peer):
    found = peer.answer(peer.open(extra=[(f"x-{i}", "v") for i in range(70)]))
    assert found.headers[":status"] == "431"
    assert answered(peer)
