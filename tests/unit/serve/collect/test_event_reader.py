"""Events in headers, in JSON and in batches; what is none is refused with what to do."""

from __future__ import annotations

import base64
import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.cloud_event import CloudEvent
from fairlead.errors import FairleadError, RequestError, TooLargeError, UnsupportedError
from fairlead.serve.collect.event_reader import BATCH_LIMIT, read_events
from fairlead.serve.http.limits import HttpLimits
from fairlead.serve.http.message import HttpRequest

LIMITS = HttpLimits(body_bytes=2**20)
TYPE = "org.kubeflow.serving.inference.request"
EVENT = {"specversion": "1.0", "id": "a", "type": TYPE, "inferenceservicename": "iris", "data": {"instances": [[1, 2]]}}
HEADERS = {b"ce-specversion": b"1.0", b"ce-id": b"a", b"ce-type": TYPE.encode(), b"content-type": b"application/json"}


def read(body: object, content_type: str = "application/cloudevents+json", **headers: str) -> list[CloudEvent | RequestError]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {b"content-type": content_type.encode(), **{key.replace("_", "-").encode(): value.encode() for key, value in headers.items()}}
    return read_events(HttpRequest(b"POST", b"/", given, raw), LIMITS)


def test_a_binary_event_is_headers_and_body() -> None:
    more = {b"ce-annotations": b"{%22a%22:%20[1]}", b"ce-endpoint": b"", b"time": b"now"}
    (event,) = read_events(HttpRequest(b"POST", b"/", HEADERS | more, b'{"instances": []}'), LIMITS)
    assert event.attributes["annotations"] == '{"a": [1]}'
    assert event.data == b'{"instances": []}'
    assert "time" not in event.attributes


def test_a_structured_event_keeps_its_data_as_they_stand() -> None:
    (event,) = read(EVENT)
    assert json.loads(event.data) == EVENT["data"]
    assert event.service == "iris"
    (event,) = read({**EVENT, "modelid": 3, "component": True, "endpoint": None}, "application/cloudevents+json; charset=utf-8")
    assert (event.node, event.component) == ("3", "true")
    assert "endpoint" not in event.attributes


def test_data_may_be_a_text_or_base64() -> None:
    without = {key: value for key, value in EVENT.items() if key != "data"}
    encoded = base64.b64encode(b"\x00\x01").decode()
    assert read({**without, "data": '{"instances": [[1]]}'})[0].data == b'{"instances": [[1]]}'
    assert read({**without, "data_base64": encoded})[0].data == b"\x00\x01"
    assert read({**without, "specversion": "0.3", "datacontentencoding": "base64", "data": encoded})[0].data == b"\x00\x01"
    assert read(without)[0].data == b""
    for wrong in ({"data_base64": "!"}, {"data_base64": "AAAA", "data": 1}, {"data_base64": 3}):
        with pytest.raises(RequestError):
            read({**without, **wrong})


def test_of_a_batch_every_event_that_is_one_is_given() -> None:
    found = read([EVENT, {"id": "b"}, {**EVENT, "id": "c"}, 3], "application/cloudevents-batch+json")
    assert [item.request_id if isinstance(item, CloudEvent) else type(item) for item in found] == ["a", RequestError, "c", RequestError]
    with pytest.raises(TooLargeError, match="limit"):
        read([EVENT] * (BATCH_LIMIT + 1), "application/cloudevents-batch+json")


@pytest.mark.parametrize(
    ("body", "content_type", "kind", "said"),
    [
        (b"{}", "application/json", RequestError, "ce-id"),
        (b"a=1", "application/x-www-form-urlencoded", RequestError, "ce-id"),
        (b"", "", RequestError, "no CloudEvent"),
        (b"x", "application/cloudevents+avro", UnsupportedError, "cloudevents\\+json"),
        (b"{", "application/cloudevents+json", RequestError, "not JSON"),
        (b"[]", "application/cloudevents+json", RequestError, "form"),
        (b"{}", "application/cloudevents-batch+json", RequestError, "form"),
        (b"[" * 200, "application/cloudevents-batch+json", RequestError, "levels deep"),
        (b'{"id": {"a": 1}}', "application/cloudevents+json", RequestError, "no text"),
        (b'{"id": "\xff"}', "application/cloudevents+json", RequestError, "no text"),
    ],
)
def test_what_is_no_event_is_refused_with_what_to_do(body: bytes, content_type: str, kind: type[FairleadError], said: str) -> None:
    with pytest.raises(kind, match=said):
        read(body, content_type)


def test_a_compressed_event_is_opened_within_the_limit_only() -> None:
    (event,) = read(gzip.compress(json.dumps(EVENT).encode()), content_encoding="gzip")
    assert event.request_id == "a"
    with pytest.raises(TooLargeError):
        read(gzip.compress(b" " * (LIMITS.body_bytes + 1)), content_encoding="gzip")
    with pytest.raises(UnsupportedError):
        read(EVENT, content_encoding="br")


@given(st.dictionaries(st.binary(max_size=12).map(lambda name: b"ce-" + name), st.binary(max_size=40)), st.binary(max_size=60))
def test_any_headers_and_any_body_are_an_event_or_refused(headers: dict[bytes, bytes], body: bytes) -> None:
    for sent in (headers, HEADERS | headers):
        try:
            (event,) = read_events(HttpRequest(b"POST", b"/", sent, body), LIMITS)
        except RequestError:
            continue
        assert event.data == body


@given(st.binary(max_size=80), st.sampled_from(["application/cloudevents+json", "application/cloudevents-batch+json"]))
def test_any_bytes_as_json_are_events_or_refused(body: bytes, content_type: str) -> None:
    try:
        found = read(body, content_type)
    except RequestError:
        return
    assert all(isinstance(item, CloudEvent | RequestError) for item in found)
