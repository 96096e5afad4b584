from __future__ import annotations

import base64
import hashlib
import hmac
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.core import webhook
from fairlead.core.fact import Change
from fairlead.core.webhook import GIVE_UP_S, LEASE_S, LONGEST_WAIT_S, Cursor, Webhook
from fairlead.errors import SpecError

CHANGE = Change(7, "alias.moved", "digits@production", 1000.0, {})


@pytest.mark.parametrize(
    ("secret", "identity", "at", "body", "signature"),
    [  # published examples of the standard's reference libraries
        (
            "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
            "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
            1649367553.0,
            b'{"email":"test@example.com","username":"test_user"}',
            "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
        ),
        (
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1614265330.9,
            b'{"test": 2432232314}',
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        ),
    ],
)
def test_the_signature_is_that_of_the_standard(secret, identity, at, body, signature):
    found = webhook.headers(identity, body, secret, at)
    assert found["webhook-signature"] == signature
    assert (found["webhook-id"], found["webhook-timestamp"]) == (identity, str(int(at)))


@given(st.binary(min_size=24, max_size=64), st.binary(max_size=200), st.floats(0, 4e9))
def test_a_receiver_with_the_secret_comes_to_the_same_signature(key, body, at):
    secret = "whsec_" + base64.b64encode(key).decode()
    found = webhook.headers("msg_1", body, secret, at)
    expected = hmac.new(key, b"msg_1." + found["webhook-timestamp"].encode() + b"." + body, hashlib.sha256).digest()
    assert found["webhook-signature"] == "v1," + base64.b64encode(expected).decode()


@pytest.mark.parametrize(
    "secret", ["", "whsec_", "hunter2", "whsec_aGk=", "whsec_" + "A" * 200, "whsec_%%%%", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]
)
def test_what_is_no_secret_is_refused_and_never_shown(secret):
    with pytest.raises(SpecError) as caught:
        webhook.secret_key(secret)
    assert len(secret) < 8 or secret not in str(caught.value)


def test_a_message_is_json_with_type_time_and_data():
    body = webhook.message("alias.moved", 1700000000.25, {"subject": "dïgits", "n": 1})
    assert json.loads(body) == {"type": "alias.moved", "timestamp": "2023-11-14T22:13:20.250Z", "data": {"subject": "dïgits", "n": 1}}
    assert body.isascii()


def test_the_list_of_events_is_read_and_a_wrong_one_named():
    assert webhook.parse_events(" alias.moved, version.created,alias.moved ") == ("alias.moved", "version.created")
    assert webhook.parse_events("*") == ("*",)
    for text in ("alias.mvoed", "", " , "):
        with pytest.raises(SpecError, match="event") as caught:
            webhook.parse_events(text)
        assert "version.created" in caught.value.hint


@pytest.mark.parametrize(
    ("kind", "subject", "event"),
    [
        ("version.created", "digits:1", "version.created"),
        ("alias.moved", "digits@production", "alias.moved"),
        ("fact.changed", "release/digits", "release.changed"),
        ("fact.changed", "tag/digits:3/team", "tag.changed"),
        ("fact.changed", "approval/digits:3", "approval.changed"),
        ("fact.changed", "model/digits", "protection.changed"),
        ("fact.changed", "cursor/webhook/abc", ""),  # else each delivery would be news of its own
        ("fact.changed", "webhook/abc", ""),
        ("something.new", "x", ""),
    ],
)
def test_changes_become_events_and_the_delivery_itself_is_none(kind, subject, event):
    assert webhook.event_of(Change(1, kind, subject, 0.0, {})) == event


def test_a_webhook_gets_what_it_asked_for_and_nothing_once_it_is_switched_off():
    hook = Webhook("a", "https://x/", ("alias.moved",), "ann", 0.0)
    assert hook.wants("alias.moved")
    assert not hook.wants("version.created")
    assert Webhook("a", "https://x/", ("*",), "ann", 0.0).wants("version.created")
    assert not Webhook("a", "https://x/", ("*",), "ann", 0.0).wants("")
    assert not Webhook("a", "https://x/", ("*",), "ann", 0.0, disabled="gone").wants("version.created")


@given(st.integers(0, 200), st.text(max_size=10))
def test_waits_grow_and_stay_within_an_hour_and_a_fifth(attempt, key):
    assert 0 < webhook.wait(attempt, key) <= LONGEST_WAIT_S * 1.2
    assert webhook.wait(attempt + 2, key) >= webhook.wait(attempt, key) or webhook.wait(attempt, key) > LONGEST_WAIT_S * 0.8


def test_what_fails_is_tried_again_later_and_given_up_after_a_day():
    cursor, now = Cursor(6), CHANGE.at
    for attempt in range(1000):
        after = cursor.fail(CHANGE, now, "It answered 500.", key="a")
        if after.given_up:
            break
        assert (after.sequence, after.attempt) == (6, attempt + 1)
        assert not after.is_free(now)
        assert after.is_free(after.next_at)
        cursor, now = after, after.next_at
    assert after.given_up == 1
    assert after.sequence == CHANGE.sequence
    assert after.error == "It answered 500."
    assert GIVE_UP_S < now - CHANGE.at < GIVE_UP_S + 2 * LONGEST_WAIT_S
    assert 20 < attempt < 60


def test_an_event_that_is_older_than_a_day_is_tried_once_more_before_it_is_given_up():
    after = Cursor(6).fail(CHANGE, CHANGE.at + 10 * GIVE_UP_S, "down", key="a")
    assert after.given_up == 0
    assert after.attempt == 1


def test_a_receiver_that_asks_for_time_gets_it_but_no_more_than_an_hour():
    assert Cursor(0).fail(CHANGE, CHANGE.at, "busy", key="a", asked_s=600.0).next_at == CHANGE.at + 600
    assert Cursor(0).fail(CHANGE, CHANGE.at, "busy", key="a", asked_s=1e9).next_at == CHANGE.at + LONGEST_WAIT_S


def test_success_forgets_the_failures():
    after = Cursor(6, attempt=4, next_at=9.0, error="x", delivered=2).succeed(7, 1000.0)
    assert (after.sequence, after.attempt, after.next_at, after.error, after.delivered) == (7, 0, 0.0, "", 3)


def test_one_who_claimed_is_waited_for_as_long_as_a_lease_and_a_killed_one_no_longer():
    claimed = Cursor(0).claim("me", 1000.0)
    assert not claimed.is_free(1000.0)
    assert not claimed.is_free(1000.0 + LEASE_S - 1)
    assert claimed.is_free(1000.0 + LEASE_S)
    assert claimed.release().is_free(1000.0)


def test_a_time_that_no_wait_reaches_is_a_clock_that_jumped():
    assert Cursor(0, next_at=1e12).is_free(1000.0)
    assert Cursor(0, claimed_until=1e12).is_free(1000.0)
