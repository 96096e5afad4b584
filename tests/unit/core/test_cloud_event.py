"""What an event has to say of itself, whose it is, and which other half it belongs to."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.cloud_event import ID_LIMIT, EventKind, cloud_event
from fairlead.errors import RequestError

KSERVE = {
    "specversion": "1.0",
    "id": "a1",
    "type": "org.kubeflow.serving.inference.request",
    "inferenceservicename": "iris",
    "namespace": "shop",
    "component": "predictor",
    "endpoint": "canary",
    "time": "2026-11-22T10:00:00.123456789Z",
}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("org.kubeflow.serving.inference.response", EventKind.ANSWER),
        ("io.seldon.serving.inference.request", EventKind.REQUEST),
        ("io.seldon.serving.feedback", EventKind.FEEDBACK),
    ],
)
def test_the_types_of_both_loggers_are_known(name: str, kind: EventKind) -> None:
    assert cloud_event(KSERVE | {"type": name}, b"").kind is kind


@pytest.mark.parametrize("name", ["specversion", "id", "type"])
def test_an_event_without_what_it_needs_is_refused_by_name(name: str) -> None:
    for attributes in ({key: value for key, value in KSERVE.items() if key != name}, KSERVE | {name: ""}):
        with pytest.raises(RequestError, match=f"no {name}.*ce-{name}"):
            cloud_event(attributes, b"")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"specversion": "2.0"}, "2.0 are not understood"),
        ({"type": "com.example.sold"}, "com.example.sold.* not collected"),
        ({"id": "x" * (ID_LIMIT + 1)}, f"event's id .*{ID_LIMIT} characters"),
        ({"requestid": "x" * 300}, f"event's requestid .*{ID_LIMIT} characters"),
        ({"annotations": "x" * 5000}, "event's annotations .*4096 characters"),
    ],
)
def test_what_is_not_understood_or_too_long_is_refused(change: dict[str, str], said: str) -> None:
    with pytest.raises(RequestError, match=said):
        cloud_event(KSERVE | change, b"")


def test_halves_of_one_request_are_pairs_and_those_of_two_services_are_not() -> None:
    request = cloud_event(KSERVE, b"")
    answer = cloud_event(KSERVE | {"type": "org.kubeflow.serving.inference.response", "time": "later"}, b"x")
    assert request.pair == answer.pair
    for change in (
        {"namespace": "bank"},
        {"inferenceservicename": "rose"},
        {"component": "transformer"},
        {"endpoint": "default"},
        {"id": "a2"},
    ):
        assert cloud_event(KSERVE | change, b"").pair != request.pair
    tricks = [{"namespace": "a\0b", "inferenceservicename": "c"}, {"namespace": "a", "inferenceservicename": "b\0c"}]
    assert len({cloud_event(KSERVE | trick, b"").pair for trick in tricks}) == 2


def test_halves_of_seldon_are_told_by_their_request_not_by_their_own_ids() -> None:
    one, other = (cloud_event(KSERVE | {"id": event_id, "requestid": "puid"}, b"") for event_id in ("e1", "e2"))
    assert one.pair == other.pair
    assert one.request_id == "puid"


def test_the_time_is_unix_seconds_and_nonsense_is_no_time() -> None:
    assert cloud_event(KSERVE, b"").at() == pytest.approx(1795341600.123456)
    assert cloud_event(KSERVE | {"time": "2026-11-22T10:00:00"}, b"").at() == 1795341600.0
    assert math.isnan(cloud_event(KSERVE | {"time": "yesterday"}, b"").at())
    assert math.isnan(cloud_event({key: value for key, value in KSERVE.items() if key != "time"}, b"").at())


@given(st.dictionaries(st.text(max_size=12), st.text(max_size=40)))
def test_no_attribute_breaks_what_is_read_of_an_event(attributes: dict[str, str]) -> None:
    event = cloud_event({**attributes, **KSERVE, "time": attributes.get("time", "")}, b"")
    assert len(event.pair) == 16
    assert math.isnan(event.at()) or math.isfinite(event.at())
    assert "" not in event.parts


def test_what_nobody_reads_is_not_carried() -> None:
    event = cloud_event(KSERVE | {"metadata": "x" * 100_000}, b"12345")
    assert "metadata" not in event.attributes
    assert 5 < event.size_bytes < 10_000
