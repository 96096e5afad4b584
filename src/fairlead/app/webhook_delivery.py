"""Delivering what happened to those who asked to be told: each webhook apart from the others, in order, at least once.

`deliver_due` does it now and returns what came of it; a Courier does it beside a running server. Any number of processes may do so at
once: who claims a webhook's cursor (compare-and-set) delivers, and where he is killed another goes on after LEASE_S. Raises StorageError
where the registry is away (a Courier waits until it is back). Never lets a receiver hold up another one, or whoever calls.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from fairlead.app.webhook_records import all_hooks, disable_hook, put_cursor, read_cursor, secret_of
from fairlead.app.wiring import House
from fairlead.core import webhook
from fairlead.core.fact import Change, Fact
from fairlead.core.webhook import Cursor, Webhook
from fairlead.errors import FairleadError, StorageError
from fairlead.security.outbound import Answer, check_url, post

TIMEOUT_S = 10.0
BUSY_LIMIT = 8  # receivers that are called at once
_READ_COUNT = 500
_LOOK_EVERY_S = 5.0
_GONE = 410
# What a receiver is told of a fact, besides who changed which; everything else stays here.
_TOLD: Mapping[str, tuple[str, ...]] = {
    "release": ("id", "kind", "status", "alias", "live", "candidate", "step"),
    "approval": ("approver", "publisher", "digest"),
    "model": ("aliases",),
}


@dataclass(frozen=True)
class Delivered:
    """One attempt: what was sent where, and what came of it. `problem` is "" where it arrived; `is_given_up` where it never will, `is_off`
    where nothing goes there any more.
    """

    webhook: str
    event: str
    subject: str
    sequence: int
    status: int = 0
    problem: str = ""
    is_given_up: bool = False
    next_in_s: float = 0.0
    is_off: bool = False

    @property
    def complaint(self) -> str:
        """What came in the way, and when it is tried again; "" where it arrived."""
        if not self.problem:
            return ""
        if self.is_off:
            return f"{self.problem} (gone for good: the webhook is switched off)"
        after = "given up: it is older than a day" if self.is_given_up else f"again in {self.next_in_s:.0f} s"
        return f"{self.problem} ({after})"


Say = Callable[[Delivered], None]


def deliver_due(house: House, *, limit: int = 100, only: str = "") -> tuple[Delivered, ...]:
    """Deliver what is due, at most `limit` events to each webhook (`only`: to that one), and return every attempt."""
    hooks = [hook for hook in all_hooks(house.records) if not hook.disabled and only in ("", hook.id)]
    owner = _owner()
    with ThreadPoolExecutor(BUSY_LIMIT, thread_name_prefix="webhook") as pool:
        found = pool.map(lambda hook: serve(hook, house, limit=limit, owner=owner), hooks)
        return tuple(one for attempts in found for one in attempts)


def serve(hook: Webhook, house: House, *, limit: int, owner: str) -> list[Delivered]:
    """Deliver to one webhook until nothing waits, something fails, or `limit` events have arrived."""
    cursor, fact = read_cursor(hook, house.records)
    if not cursor.is_free(house.clock()):
        return []
    change, cursor = _next(cursor, hook, house)
    if change is None or fact is None:
        if fact is None or cursor.sequence - _sequence_in(fact) > 2 * _READ_COUNT:
            put_cursor(hook, cursor, fact, house.records, at=house.clock())  # so that nobody reads the same again and again
        return []
    claimed = put_cursor(hook, cursor.claim(owner, house.clock()), fact, house.records, at=house.clock())
    attempts: list[Delivered] = []
    while claimed is not None and change is not None:
        cursor, attempt = _attempt(hook, change, cursor, house)
        attempts.append(attempt)
        change, cursor = (None, cursor) if attempt.problem or len(attempts) >= limit else _next(cursor, hook, house)
        kept = cursor.release() if change is None else cursor.claim(owner, house.clock())
        claimed = put_cursor(hook, kept, claimed, house.records, at=house.clock())
    return attempts


def send(hook: Webhook, identity: str, body: bytes, house: House) -> Answer:
    """Send one message; raises SpecError, ForbiddenError, UnavailableError, DeadlineError."""
    fields = webhook.headers(identity, body, secret_of(hook, house.records), house.clock())
    allow_private = house.settings.allow_private_webhooks
    return post(check_url(hook.url), body, fields, allow_private=allow_private, timeout_s=TIMEOUT_S)


def refusal(answer: Answer) -> str:
    """Return why an answer is no success; "" where it is one."""
    if 200 <= answer.status < 300:
        return ""
    if 300 <= answer.status < 400:
        return f"It answered {answer.status}: redirects are not followed. Give the address that it leads to."
    return f"It answered {answer.status}."


def waiting(hook: Webhook, cursor: Cursor, house: House, *, most: int = 1000) -> int:
    """Return how many events have not arrived yet, `most` at most."""
    count, since = 0, cursor.sequence
    while count < most and (changes := house.records.changes(since, _READ_COUNT)):
        count += sum(hook.wants(webhook.event_of(change)) for change in changes)
        since = changes[-1].sequence
    return min(count, most)


class Courier:
    """Delivers beside a running server, in threads of its own. `say` is told of every attempt that failed; it must not block."""

    def __init__(self, house: House, say: Say | None = None) -> None:
        self._house, self._say = house, say
        self._owner = _owner()
        self._wake = threading.Event()
        self._is_closed = False
        self._seen, self._looked_at = -1, 0.0
        self._busy: dict[str, threading.Thread] = {}
        self._turn: dict[str, int] = {}
        self._thread = threading.Thread(target=self._run, name="webhooks", daemon=True)
        self._thread.start()

    def tick(self) -> None:
        """Look whether something is due. Returns at once."""
        self._wake.set()

    def close(self, *, wait_s: float = 1.0) -> None:
        """End. What is being delivered is waited for no longer than `wait_s`: another server sends it again, or this one later."""
        self._is_closed = True
        self._wake.set()
        until = time.monotonic() + wait_s
        for thread in (self._thread, *self._busy.values()):
            thread.join(max(0.0, until - time.monotonic()))

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            if self._is_closed:
                return
            with contextlib.suppress(StorageError):  # the registry is away: it is looked at again with the next tick
                self._look()

    def _look(self) -> None:
        """Start a thread for every webhook that may have something to deliver and has none."""
        sequence, now = self._house.records.sequence(), time.monotonic()
        if sequence == self._seen and now - self._looked_at < _LOOK_EVERY_S:
            return
        hooks = [hook for hook in all_hooks(self._house.records) if not hook.disabled]
        self._busy = {key: thread for key, thread in self._busy.items() if thread.is_alive()}
        free = sorted((hook for hook in hooks if hook.id not in self._busy), key=lambda hook: self._turn.get(hook.id, 0))
        started = free[: BUSY_LIMIT - len(self._busy)]  # those that were served longest ago: nobody starves behind the slow
        for hook in started:
            self._turn[hook.id] = max(self._turn.values(), default=0) + 1
            self._busy[hook.id] = threading.Thread(target=self._serve, args=(hook,), name=f"webhook-{hook.id}", daemon=True)
            self._busy[hook.id].start()
        if len(started) == len(hooks):
            self._seen, self._looked_at = sequence, now

    def _serve(self, hook: Webhook) -> None:
        try:
            for attempt in serve(hook, self._house, limit=_READ_COUNT, owner=self._owner):
                if attempt.problem and self._say is not None:
                    self._say(attempt)
        except FairleadError as error:
            if self._say is not None:
                self._say(Delivered(hook.id, "", "", 0, problem=str(error)))


def _attempt(hook: Webhook, change: Change, cursor: Cursor, house: House) -> tuple[Cursor, Delivered]:
    """Send one event, and return where the cursor stands after that."""
    event, status, asked_s = webhook.event_of(change), 0, 0.0
    try:
        body = webhook.message(event, change.at, _data(change, house))
        answer = send(hook, webhook.message_id(hook, change.sequence), body, house)
        status, asked_s, problem = answer.status, answer.retry_after_s, refusal(answer)
    except StorageError:
        raise
    except FairleadError as error:
        problem = str(error)
    now = house.clock()
    if not problem:
        return cursor.succeed(change.sequence, now), Delivered(hook.id, event, change.subject, change.sequence, status)
    after = cursor.fail(change, now, problem, key=hook.id, asked_s=asked_s)
    if status == _GONE:
        disable_hook(hook, "It answered 410: gone for good.", house.records, at=now, author=hook.author)
    is_given_up = after.given_up > cursor.given_up
    next_in_s = 0.0 if is_given_up or status == _GONE else after.next_at - now
    return after, Delivered(hook.id, event, change.subject, change.sequence, status, problem, is_given_up, next_in_s, status == _GONE)


def _next(cursor: Cursor, hook: Webhook, house: House) -> tuple[Change | None, Cursor]:
    """Return the next change that is an event of the webhook's, and the cursor past those before it that are none."""
    while changes := house.records.changes(cursor.sequence, _READ_COUNT):
        for change in changes:
            if hook.wants(webhook.event_of(change)):
                return change, cursor
            cursor = cursor.pass_over(change.sequence)
    return None, cursor


def _data(change: Change, house: House) -> dict[str, Any]:
    """Return what a receiver is told: what happened to what, and of a fact what it says now."""
    told: dict[str, Any] = {"sequence": change.sequence, "subject": change.subject, **change.detail}
    if change.kind != "fact.changed" or told.get("is_removed"):
        return told
    kind, key, revision = str(told["kind"]), str(told["key"]), told["revision"]
    newest = house.records.fact(kind, key)
    past = (newest,) if newest is not None and newest.revision == revision else house.records.fact_history(kind, key)
    body = next((fact.body for fact in past if fact.revision == revision), None)
    value = json.loads(body) if body is not None else None
    if isinstance(value, dict):
        return told | {name: value[name] for name in _TOLD.get(kind, ()) if name in value}
    return told | {"value": value}


def _sequence_in(fact: Fact) -> int:
    return int(json.loads(fact.body or "{}").get("sequence", 0))


def _owner() -> str:
    return f"{os.getpid()}-{secrets.token_hex(4)}"
