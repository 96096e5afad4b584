from __future__ import annotations

import base64
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import registered
from receivers import Receiver

from fairlead.app import webhook_delivery, webhooks
from fairlead.app.registry_tags import put_tag, write_note
from fairlead.app.webhook_delivery import Courier, deliver_due
from fairlead.app.webhook_records import SECRET, all_hooks, put_cursor, read_cursor
from fairlead.app.wiring import House
from fairlead.core.manifest import FileEntry, Manifest
from fairlead.core.webhook import GIVE_UP_S, LEASE_S, Cursor, headers
from fairlead.errors import ForbiddenError, NotFoundError, SpecError, StorageError
from fairlead.stores.document import dump
from memory_records import MemoryRecords

MANIFEST = Manifest((FileEntry("model.onnx", 1, "a" * 64),))
KEY = "whsec_" + base64.b64encode(b"k" * 32).decode()


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def house(tmp_path: Path, clock: Clock) -> House:
    made = registered.new_house(tmp_path / "home")
    return replace(made, records=MemoryRecords(), clock=clock, settings=replace(made.settings, allow_private_webhooks=True, user="ann"))


@pytest.fixture
def receiver():
    made: list[Receiver] = []

    def make(*statuses: int, **options: object) -> Receiver:
        made.append(Receiver(*statuses, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def add(house: House, one: Receiver, events: str = "*") -> str:
    return webhooks.add(one.url, events, house).id


def register(house: House, clock: Clock, name: str = "digits") -> None:
    house.records.add_version(name, MANIFEST, clock())


def test_what_happens_after_it_was_added_arrives_in_order_and_signed(house, clock, receiver, tmp_path):
    one = receiver()
    register(house, clock)
    secret = tmp_path / "secret"
    secret.write_text(KEY + "\n")
    added = webhooks.add(one.url, "version.created,alias.moved", house, secret_file=secret)
    assert added.secret == ""  # it was given, so it is not shown
    register(house, clock)
    house.records.move_alias("digits", "production", 2, expected=0, moved_at=clock(), reason="promote")
    assert [attempt.problem for attempt in deliver_due(house)] == ["", ""]
    assert [message["type"] for message in one.messages] == ["version.created", "alias.moved"]
    assert one.messages[1]["data"]["subject"] == "digits@production"
    assert one.messages[1]["data"]["number"] == 2
    sent, body = one.got[0]
    assert sent["webhook-signature"] == headers(sent["webhook-id"], body, KEY, clock())["webhook-signature"]
    assert deliver_due(house) == ()


def test_only_what_was_asked_for_is_sent_and_deliveries_are_no_events(house, clock, receiver):
    one, other = receiver(), receiver()
    add(house, one, "alias.moved")
    add(house, other, "*")
    register(house, clock)
    deliver_due(house)
    assert one.got == []
    assert [message["type"] for message in other.messages] == ["version.created"]


def test_a_tag_and_a_note_are_told_with_what_they_say(house, clock, receiver):
    one = receiver()
    register(house, clock)
    add(house, one)
    put_tag(house.records.version("digits", 1), "team", "vision", house)
    write_note("digits:1", "spring data", house)
    put_tag(house.records.version("digits", 1), "team", None, house)
    deliver_due(house)
    told = [(message["type"], message["data"].get("value"), message["data"]["is_removed"]) for message in one.messages]
    assert told == [("tag.changed", "vision", False), ("note.changed", "spring data", False), ("tag.changed", None, True)]


def test_a_failure_is_tried_again_under_the_same_id_and_nothing_overtakes_it(house, clock, receiver):
    one = receiver(500, 503, 200)
    add(house, one)
    register(house, clock)
    register(house, clock)
    (failed,) = deliver_due(house)
    assert "500" in failed.problem
    assert failed.next_in_s > 0
    assert deliver_due(house) == ()  # not yet
    clock.now += failed.next_in_s
    (again,) = deliver_due(house)
    clock.now += again.next_in_s
    assert [attempt.problem for attempt in deliver_due(house)] == ["", ""]
    assert len(set(one.ids[:3])) == 1
    assert one.got[0][1] == one.got[2][1]
    assert one.messages[3]["data"]["number"] == 2


def test_what_never_arrives_is_given_up_after_a_day_and_counted(house, clock, receiver):
    one = receiver(500)
    hook = add(house, one)
    register(house, clock)
    attempt = None
    while attempt is None or not attempt.is_given_up:
        (attempt,) = deliver_due(house)
        clock.now += attempt.next_in_s
    assert clock.now - 1_700_000_000.0 > GIVE_UP_S
    (row,) = webhooks.listed(house)
    assert (row.id, row.cursor.given_up, row.waiting) == (hook, 1, 0)
    assert "500" in row.cursor.error


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 404, 429])
def test_anything_but_success_is_a_failure_and_redirects_are_not_followed(house, clock, receiver, status):
    other = receiver()
    one = receiver(status, headers={"Location": other.url})
    add(house, one)
    register(house, clock)
    (attempt,) = deliver_due(house)
    assert str(status) in attempt.problem
    assert other.got == []


def test_a_receiver_that_asks_for_time_is_left_alone(house, clock, receiver):
    add(house, receiver(503, headers={"Retry-After": "600"}))
    register(house, clock)
    (attempt,) = deliver_due(house)
    assert attempt.next_in_s == 600


def test_a_receiver_that_is_gone_is_switched_off_and_that_is_said(house, clock, receiver):
    one = receiver(410)
    add(house, one)
    register(house, clock)
    (attempt,) = deliver_due(house)
    assert attempt.complaint == "It answered 410. (gone for good: the webhook is switched off)"
    clock.now += 86_400
    assert deliver_due(house) == ()
    (row,) = webhooks.listed(house)
    assert "410" in row.disabled
    assert len(one.got) == 1


def test_one_who_cannot_be_reached_holds_up_no_other(house, clock, receiver, monkeypatch):
    monkeypatch.setattr(webhook_delivery, "TIMEOUT_S", 0.3)
    slow, quick = receiver(), receiver()
    slow.hold.set()
    add(house, slow)
    add(house, quick)
    register(house, clock)
    attempts = deliver_due(house)
    assert len(quick.got) == 1
    assert sorted(bool(attempt.problem) for attempt in attempts) == [False, True]


def test_two_who_deliver_at_once_send_each_event_once(house, clock, receiver):
    one = receiver()
    add(house, one)
    for _ in range(5):
        register(house, clock)
    threads = [threading.Thread(target=deliver_due, args=(house,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [message["data"]["number"] for message in one.messages] == [1, 2, 3, 4, 5]


def test_one_who_was_killed_while_delivering_is_taken_over_and_the_event_keeps_its_id(house, clock, receiver):
    one = receiver()
    add(house, one)
    register(house, clock)
    (hook,) = all_hooks(house.records)
    cursor, fact = read_cursor(hook, house.records)
    put_cursor(hook, cursor.claim("killed", clock()), fact, house.records, at=clock())
    assert deliver_due(house) == ()
    clock.now += LEASE_S
    deliver_due(house)
    assert one.ids == [f"msg_{hook.id}_{one.messages[0]['data']['sequence']}"]


def test_a_registry_that_goes_away_after_the_call_lets_the_event_be_sent_again_under_its_id(house, clock, receiver):
    one = receiver()
    add(house, one)
    register(house, clock)
    put_fact, calls = house.records.put_fact, []

    def failing(*arguments: object, **options: object) -> object:
        calls.append(1)
        if len(calls) == 2:  # the claim stands, what came of it cannot be written
            raise StorageError("The registry is away.")
        return put_fact(*arguments, **options)

    house.records.put_fact = failing
    with pytest.raises(StorageError):
        deliver_due(house)
    clock.now += LEASE_S
    deliver_due(house)
    assert len(one.got) == 2
    assert len(set(one.ids)) == 1


def test_thousands_of_changes_that_are_no_events_are_not_read_for_ever(house, clock, receiver):
    add(house, receiver(), "version.retired")
    register(house, clock)
    version = house.records.version("digits", 1)
    for number in range(1100):
        put_tag(version, "n", float(number), house)
    deliver_due(house)
    (hook,) = all_hooks(house.records)
    assert read_cursor(hook, house.records)[0].sequence > 1000


def test_the_list_hides_what_stands_in_the_query_and_shows_no_secret(house, clock, receiver):
    one = receiver()
    added = webhooks.add(one.url, "*", house)
    register(house, clock)
    (row,) = webhooks.listed(house)
    assert "hidden" not in str(row)
    assert added.secret.removeprefix("whsec_") not in f"{row} {added} {house.records.reports('webhook-secret')}"
    assert dump(added).count(added.secret.encode()) == 1  # what --json prints, this once
    assert row.waiting == 1
    assert row.author == "ann"
    facts = [fact.body for kind in ("webhook", "cursor") for fact in house.records.facts(kind)]
    assert not any(added.secret in str(body) for body in facts)  # facts keep their past: a secret has no place there


def test_a_removed_webhook_gets_nothing_and_its_secret_is_gone(house, clock, receiver):
    one = receiver()
    hook = add(house, one)
    register(house, clock)
    assert webhooks.remove(hook[:4], house) == hook
    assert deliver_due(house) == ()
    assert one.got == []
    assert house.records.reports(SECRET) == ()
    with pytest.raises(NotFoundError, match="no webhook"):
        webhooks.remove(hook, house)


def test_a_test_event_is_sent_at_once_and_the_answer_told(house, clock, receiver):
    good, bad = receiver(204), receiver(500)
    ids = [add(house, one, "alias.moved") for one in (good, bad)]
    register(house, clock)
    assert (webhooks.try_out(ids[0], house).status, webhooks.try_out(ids[0], house).problem) == (204, "")
    assert good.messages[0]["type"] == "webhook.test"
    assert "500" in webhooks.try_out(ids[1], house).problem


def test_what_may_not_be_called_is_refused_when_it_is_added_and_again_when_it_is_called(house, clock, receiver):
    one = receiver()
    guarded = replace(house, settings=replace(house.settings, allow_private_webhooks=False))
    with pytest.raises(ForbiddenError, match=r"127\.0\.0\.1"):
        webhooks.add(one.url, "*", guarded)
    assert webhooks.listed(house) == ()
    add(house, one)  # by somebody who may
    register(house, clock)
    (attempt,) = deliver_due(guarded)
    assert "not a public address" in attempt.problem
    assert one.got == []


@pytest.mark.parametrize(
    ("url", "events", "secret"),
    [
        ("ftp://x/", "*", None),
        ("https://x.example/", "no.such", None),
        ("https://x.example/", "*", "hunter2"),
        ("https://x.example/", "*", b"\xff"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_written(house, tmp_path, url, events, secret):
    path = None
    if secret is not None:
        path = tmp_path / "secret"
        path.write_bytes(secret if isinstance(secret, bytes) else secret.encode())
    with pytest.raises(SpecError) as caught:
        webhooks.add(url, events, house, secret_file=path)
    assert "hunter2" not in str(caught.value)
    assert house.records.sequence() == 0
    assert house.records.reports(SECRET) == ()


def test_a_name_that_nobody_knows_yet_is_added_with_a_warning(house, monkeypatch):
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: (_ for _ in ()).throw(OSError("no such name")))
    assert "cannot be resolved" in webhooks.add("https://hooks.example.com/", "*", house).warning


def until(condition: Callable[[], bool]) -> None:
    registered.wait_until(condition)


def test_a_second_webhook_to_the_same_address_is_added_with_a_warning(house, receiver):
    one = receiver()
    first = add(house, one)
    assert f"{first} goes to the same address" in webhooks.add(one.url, "alias.moved", house).warning
    for row in webhooks.listed(house):
        webhooks.remove(row.id, house)
    assert webhooks.add(one.url, "alias.moved", house).warning == ""


def test_a_courier_delivers_beside_a_server_and_its_tick_waits_for_nobody(house, clock, receiver):
    slow, quick = receiver(), receiver()
    slow.hold.set()
    add(house, slow)
    add(house, quick)
    courier = Courier(house)
    try:
        register(house, clock)
        courier.tick()
        until(lambda: len(quick.got) == 1 and len(slow.got) == 1)
        register(house, clock)
        until(lambda: courier.tick() is None and len(quick.got) == 2)
        assert len(slow.got) == 1  # still hanging in the first
        slow.hold.clear()
        slow.let_go.set()
        until(lambda: courier.tick() is None and len(slow.got) == 2)
    finally:
        courier.close(wait_s=30.0)
    assert [one.name for one in threading.enumerate() if one.name.startswith("webhook")] == []


def test_a_courier_says_what_failed_and_outlives_a_registry_that_is_away(house, clock, receiver):
    one = receiver(500)
    add(house, one)
    said = []
    courier = Courier(house, said.append)
    try:
        sequence = house.records.sequence
        house.records.sequence = lambda: (_ for _ in ()).throw(StorageError("away"))
        register(house, clock)
        courier.tick()
        house.records.sequence = sequence
        until(lambda: courier.tick() is None and len(said) > 0)
    finally:
        courier.close(wait_s=30.0)
    assert "500" in said[0].problem


def test_with_more_webhooks_than_are_called_at_once_every_one_gets_its_turn(house, clock, receiver, monkeypatch):
    monkeypatch.setattr(webhook_delivery, "BUSY_LIMIT", 2)
    ones = [receiver() for _ in range(5)]
    for one in ones:
        add(house, one)
    courier = Courier(house)
    try:
        register(house, clock)
        until(lambda: courier.tick() is None and all(len(one.got) == 1 for one in ones))
    finally:
        courier.close(wait_s=30.0)


def test_a_webhook_whose_cursor_is_missing_begins_now(house, clock, receiver):
    one = receiver()
    hook_id = add(house, one)
    fact = house.records.fact("cursor", f"webhook/{hook_id}")
    house.records.put_fact("cursor", fact.key, None, expected=fact.revision, at=clock(), author="x")
    register(house, clock)
    assert deliver_due(house) == ()
    register(house, clock)
    deliver_due(house)
    assert [message["data"]["number"] for message in one.messages] == [2]
    assert isinstance(read_cursor(all_hooks(house.records)[0], house.records)[0], Cursor)
