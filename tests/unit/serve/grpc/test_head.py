"""Headers read by us against headers written by hpack, and the other way round."""

from __future__ import annotations

import pytest
from hpack import Decoder, Encoder
from hypothesis import given
from hypothesis import strategies as st

from fairlead.serve.grpc.head import HeadReader, field
from fairlead.serve.grpc.limits import GrpcLimits
from fairlead.serve.grpc.status import Code, Failure, trailers

BASE = [(":method", "POST"), (":scheme", "http"), (":path", "/a/B"), ("content-type", "application/grpc")]
TEXT = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=40)


def head(*extra):
    return HeadReader(GrpcLimits()).read(Encoder().encode([*BASE, *extra]))


@pytest.mark.parametrize(
    ("text", "seconds"), [("5S", 5.0), ("2H", 7200.0), ("3M", 180.0), ("250m", 0.25), ("99999999u", 99.999999), ("7n", 7e-9), ("0S", 0.0)]
)
def test_a_timeout_is_read_in_its_unit(text, seconds):
    assert head(("grpc-timeout", text)).timeout_s == pytest.approx(seconds)


def test_what_is_not_said_has_a_value_that_says_so():
    found = head()
    assert (found.timeout_s, found.content_length, found.request_id, found.trace, found.encoding, found.mistake) == (
        -1.0,
        -1,
        "",
        "",
        b"",
        "",
    )


def test_a_trace_and_a_request_id_are_kept_if_they_are_well_formed():
    trace = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    assert head(("traceparent", trace)).trace == trace
    assert head(("traceparent", "short")).trace == ""
    assert head(("x-request-id", "a" * 129)).request_id == ""


@given(st.lists(st.tuples(st.sampled_from(["x-a", "x-b", "x-request-id", "user-agent"]), TEXT), max_size=6), st.integers(0, 400))
def test_many_heads_in_a_row_are_each_read_rightly_whatever_the_table_does(extra, table_size):
    """Reading with what was remembered gives what reading afresh gives."""
    encoder, reader, plain = Encoder(), HeadReader(GrpcLimits()), Decoder()
    for number in range(8):
        if number == 5:
            encoder.header_table_size = table_size
        fields = [*BASE, *(extra if number % 3 else extra[:1])]
        block = encoder.encode(fields)
        found = reader.read(block)
        afresh = dict(plain.decode(block))
        assert found.path == b"/a/B"
        assert found.request_id == afresh.get("x-request-id", "") or len([1 for name, _ in fields if name == "x-request-id"]) > 1


@given(st.binary(min_size=1, max_size=200), st.binary(max_size=40_000))
def test_a_field_that_we_write_is_read_by_hpack(name, value):
    decoded = Decoder(max_header_list_size=10**6).decode(field(name, value), raw=True)
    assert [(bytes(key), bytes(item)) for key, item in decoded] == [(name, value)]


@given(st.text(max_size=400))
def test_a_status_s_text_is_ascii_and_bounded(text):
    fields = dict(Decoder().decode(trailers(Failure(Code.INVALID_ARGUMENT, text)), raw=True))
    assert fields[b"grpc-status"] == b"3"
    quoted = fields.get(b"grpc-message", b"")
    assert quoted.isascii()
    assert b"\n" not in quoted
    assert len(quoted) <= 3 * 1024


def test_a_failure_that_says_when_to_ask_again_says_it_to_grpc_s_retries():
    fields = dict(Decoder().decode(trailers(Failure(Code.UNAVAILABLE, "full", 2)), raw=True))
    assert fields[b"grpc-retry-pushback-ms"] == b"2000"
