"""Fields counted before a message is decoded, and answers written by hand: against protobuf's own encoder and decoder."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.errors import RequestError
from fairlead.serve.grpc.schema import MESSAGES
from fairlead.serve.grpc.wire import check_fields, element, field, varint

LARGE = 70_000  # below 64 KiB nothing is walked


def message(inputs: int = 1, parameters: int = 0) -> bytes:
    built = MESSAGES["ModelInferRequest"](model_name="m", raw_input_contents=[bytes(LARGE)])
    for index in range(inputs):
        tensor = built.inputs.add(name=str(index), shape=[1])
        for number in range(parameters):
            tensor.parameters[str(number)].bool_param = True
    return built.SerializeToString()


def test_what_is_within_the_limit_passes_and_one_more_does_not():
    check_fields(message(inputs=8), {5}, 10)
    with pytest.raises(RequestError, match="more than 10 fields"):
        check_fields(message(inputs=9), {5}, 10)


def test_fields_of_submessages_count_apart():
    check_fields(message(inputs=2, parameters=7), {5}, 9)
    with pytest.raises(RequestError, match="more than 9 fields"):
        check_fields(message(inputs=2, parameters=8), {5}, 9)


@pytest.mark.parametrize("content", [b"\x3a\xff\xff\xff\x7f", b"\x3a" + b"\xff" * 11, b"\x0b", b"\x0e", b"\xff" * 12])
def test_what_is_no_message_is_refused(content):
    with pytest.raises(RequestError):
        check_fields(content + bytes(0) if len(content) > LARGE else message() + content, {5}, 10_000)


@given(st.binary(max_size=200), st.integers(1, 50))
def test_any_bytes_pass_or_are_refused_and_nothing_else(tail, limit):
    with contextlib.suppress(RequestError):
        check_fields(message() + tail, {4, 5, 6}, limit)


@given(st.integers(0, 2**63 - 1))
def test_a_varint_is_what_protobuf_writes(number):
    wanted = MESSAGES["MemoryUsage"](byte_size=number).SerializeToString()
    assert (b"\x18" + varint(number) if number else b"") == wanted


@given(st.text(max_size=300), st.lists(st.binary(max_size=300), max_size=4))
def test_fields_and_elements_are_what_protobuf_writes(text, parts):
    wanted = MESSAGES["ModelInferResponse"](model_name=text, raw_output_contents=parts).SerializeToString()
    assert field(1, text.encode()) + b"".join(element(6, part) for part in parts) == wanted
