"""Webhooks: which events there are, what a receiver gets and how it is signed, when a delivery is tried again and when given up. Pure.

Signed as https://www.standardwebhooks.com says: HMAC-SHA256 over `id.timestamp.body`. Raises SpecError for what is no event or secret.

Laws: events of one webhook are delivered in the order of their sequence, each at least once and always under the same id, or given up after
GIVE_UP_S, which is counted; a time that lies further ahead than any wait can take is a clock that jumped, and nobody waits for it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from fairlead.core.fact import Change
from fairlead.errors import SpecError

ALL = "*"
TEST = "webhook.test"
# event -> what it means. Facts of other kinds (cursors, the webhooks themselves) are nobody's event.
EVENTS: Mapping[str, str] = {
    "version.created": "a version was registered",
    "version.retired": "a version was taken away (fairlead gc)",
    "alias.moved": "an alias points at another version: deploy, promote, rollback",
    "release.changed": "a canary, shadow or experiment began, went on, or ended",
    "tag.changed": "a tag or stage of a version was set or removed",
    "note.changed": "a note was written",
    "approval.changed": "a version was approved, or the approval was withdrawn",
    "protection.changed": "a model was protected, or is so no longer",
}
_FACT_EVENTS = {
    "release": "release.changed",
    "tag": "tag.changed",
    "note": "note.changed",
    "approval": "approval.changed",
    "model": "protection.changed",
}
FIRST_WAIT_S, LONGEST_WAIT_S, GIVE_UP_S, LEASE_S = 5.0, 3600.0, 86_400.0, 60.0
SECRET_PREFIX = "whsec_"  # noqa: S105 - the standard's prefix, no secret
_SECRET_BYTES = range(24, 65)
_SPREAD = 0.2
_ERROR_LIMIT = 300


@dataclass(frozen=True)
class Webhook:
    """Where events go: `url` gets those in `events` (ALL: every one) as JSON. `disabled` says why nothing is sent any more ("": it is)."""

    id: str
    url: str
    events: tuple[str, ...]
    author: str
    created_at: float
    disabled: str = ""

    def wants(self, event: str) -> bool:
        """Whether the event goes there; "" is none and goes nowhere."""
        return bool(event) and not self.disabled and (ALL in self.events or event in self.events)


@dataclass(frozen=True)
class Cursor:
    """How far a webhook has come: everything up to change `sequence` is delivered, given up, or no event of its.

    `attempt` counts the failures of what comes next; it is not tried before `next_at`. `owner` is delivering until `claimed_until`, or has
    been killed. Times are Unix seconds. `error` is what the last failure was, `given_up` how many events never arrived.
    """

    sequence: int
    attempt: int = 0
    next_at: float = 0.0
    owner: str = ""
    claimed_until: float = 0.0
    delivered: int = 0
    given_up: int = 0
    last_at: float = 0.0
    error: str = ""

    def is_free(self, now: float) -> bool:
        """Whether a delivery may begin now."""
        return not _lies_ahead(self.next_at, now, LONGEST_WAIT_S * (1 + _SPREAD)) and not _lies_ahead(self.claimed_until, now, LEASE_S)

    def claim(self, owner: str, now: float) -> Cursor:
        """Return the cursor while `owner` delivers."""
        return replace(self, owner=owner, claimed_until=now + LEASE_S)

    def release(self) -> Cursor:
        """Return the cursor when nobody delivers any more."""
        return replace(self, owner="", claimed_until=0.0)

    def pass_over(self, sequence: int) -> Cursor:
        """Return the cursor after changes up to `sequence` that are no events of its."""
        return replace(self, sequence=max(self.sequence, sequence))

    def succeed(self, sequence: int, now: float) -> Cursor:
        """Return the cursor after the event `sequence` has arrived."""
        return replace(self, sequence=sequence, attempt=0, next_at=0.0, delivered=self.delivered + 1, last_at=now, error="")

    def fail(self, change: Change, now: float, error: str, *, key: str, asked_s: float = 0.0) -> Cursor:
        """Return the cursor after a failure: to be tried again, or past the event where it is too old for that."""
        said = error[:_ERROR_LIMIT]
        if self.attempt > 0 and now - change.at > GIVE_UP_S:
            return replace(self, sequence=change.sequence, attempt=0, next_at=0.0, given_up=self.given_up + 1, last_at=now, error=said)
        wait_s = max(wait(self.attempt, key), min(asked_s, LONGEST_WAIT_S))
        return replace(self, attempt=self.attempt + 1, next_at=now + wait_s, last_at=now, error=said)


def wait(attempt: int, key: str) -> float:
    """Return the seconds after failure number `attempt` (from 0): doubled each time up to an hour, spread by `key` so that many webhooks do
    not knock at the same moment.
    """
    share = zlib.crc32(f"{key}/{attempt}".encode()) / 2**32
    return min(FIRST_WAIT_S * 2.0 ** min(attempt, 20), LONGEST_WAIT_S) * (1 + _SPREAD * (2 * share - 1))


def event_of(change: Change) -> str:
    """Return which event the change is; "" for one that nobody is told of."""
    if change.kind in EVENTS:
        return change.kind
    return _FACT_EVENTS.get(change.subject.partition("/")[0], "") if change.kind == "fact.changed" else ""


def parse_events(text: str) -> tuple[str, ...]:
    """Return the events in a list like `version.created,alias.moved`, or ALL; raises SpecError that names those there are."""
    wanted = tuple(dict.fromkeys(part.strip().lower() for part in text.split(",") if part.strip()))
    unknown = [event for event in wanted if event != ALL and event not in EVENTS]
    if unknown or not wanted:
        said = f"There is no event '{unknown[0][:64]}'." if unknown else "No event is named."
        raise SpecError(said, hint=f"Events: {', '.join(EVENTS)}; or * for all of them.")
    return wanted


def message(event: str, at: float, data: Mapping[str, Any]) -> bytes:
    """Return the body of a message; `at` is Unix seconds."""
    stamp = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return json.dumps({"type": event, "timestamp": stamp, "data": dict(data)}, ensure_ascii=True, separators=(",", ":")).encode("ascii")


def message_id(webhook: Webhook, sequence: int) -> str:
    """Return the id under which a receiver meets the event, however often it is sent."""
    return f"msg_{webhook.id}_{sequence}"


def headers(identity: str, body: bytes, secret: str, now: float) -> dict[str, str]:
    """Return the headers by which a receiver knows the message as ours and as fresh."""
    stamp = str(int(now))
    signature = hmac.new(secret_key(secret), f"{identity}.{stamp}.".encode("ascii") + body, hashlib.sha256).digest()
    return {
        "Content-Type": "application/json",
        "webhook-id": identity,
        "webhook-timestamp": stamp,
        "webhook-signature": f"v1,{base64.b64encode(signature).decode()}",
    }


def new_secret(random: bytes) -> str:
    """Return the secret that 32 random bytes make."""
    return SECRET_PREFIX + base64.b64encode(random).decode()


def secret_key(secret: str) -> bytes:
    """Return the key in `secret`, which is whsec_ and 24 to 64 bytes in base64; raises SpecError, which never shows the secret."""
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(SECRET_PREFIX) or len(key) not in _SECRET_BYTES:
        raise SpecError(
            "That is not a secret for a webhook.",
            hint=f"It is {SECRET_PREFIX} and 24 to 64 random bytes in base64; leave --secret-file out and one is made.",
        )
    return key


def _lies_ahead(at: float, now: float, most_s: float) -> bool:
    return now < at <= now + most_s
