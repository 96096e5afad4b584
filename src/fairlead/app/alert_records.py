"""Where alerts stand in the registry, so that who starts anew goes on and several who watch agree.

An alert is a fact (kind "alert", key `model/fingerprint`) whose revisions are its history; receivers, silences and policies are facts, what
a receiver was told is one for each of its groups (compare-and-set: of two who watch, one tells), secrets are reports, because facts keep
their past, and so is when a model was last looked at. Takes a RecordStore; gives and keeps core values. Raises NotFoundError, SpecError for
an id that is not one, ConflictError.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from fairlead.core.alert import Alert, Policy, Receiver, ReceiverKind, Silence
from fairlead.core.fact import Fact
from fairlead.core.ports import RecordStore
from fairlead.errors import ConflictError, CorruptError, NotFoundError, SpecError
from fairlead.monitor.alerts.telling import Told
from fairlead.stores.document import dump, load

ALERT, RECEIVER, SILENCE, POLICY, TOLD, ACTION, SECRET, LOOK = (
    "alert",
    "alert-receiver",
    "alert-silence",
    "alert-policy",
    "alert-told",
    "alert-action",
    "alert-secret",
    "alert-look",
)
_LATE_S, _LATE_ONCE_S = 900.0, 86_400.0
Named = TypeVar("Named", Receiver, Silence, Policy)
_NAMES: Mapping[type, tuple[str, str]] = {
    Receiver: (RECEIVER, "receiver"),
    Silence: (SILENCE, "silence"),
    Policy: (POLICY, "policy"),
}


@dataclass(frozen=True)
class KeptAlert:
    """An alert and the revision of its fact."""

    alert: Alert
    revision: int


@dataclass(frozen=True)
class LastLook:
    """When somebody last looked for alerts of a model (Unix seconds), and every how many seconds that is done (0: nobody said)."""

    model: str
    at: float
    every_s: float = 0.0

    def is_overdue(self, now: float) -> bool:
        """Whether the next look should have been long ago: nobody looks any more."""
        return now - self.at > (max(3 * self.every_s, _LATE_S) if self.every_s else _LATE_ONCE_S)


def put_look(look: LastLook, records: RecordStore) -> None:
    """Keep that a model was looked at."""
    records.put_report(LOOK, look.model, dump(look).decode(), look.at)


def last_looks(records: RecordStore) -> dict[str, LastLook]:
    """Return model -> when it was last looked at; what cannot be read is left out."""
    found = {}
    for report in records.reports(LOOK):
        with suppress(CorruptError):
            found[report.key] = load(report.body.encode(), LastLook)
    return found


def kept_alerts(records: RecordStore, model: str = "") -> dict[str, KeptAlert]:
    """Return fingerprint -> alert, of one model or of all; what cannot be read is left out."""
    found = {}
    for fact in records.facts(ALERT, f"{model}/" if model else ""):
        try:
            alert = load((fact.body or "").encode(), Alert)
        except CorruptError:
            continue
        found[alert.fingerprint] = KeptAlert(alert, fact.revision)
    return found


def put_alert(alert: Alert, records: RecordStore, *, at: float, author: str) -> bool:
    """Keep an alert in place of the one before; False where somebody else was faster."""
    return _put(ALERT, _alert_key(alert), dump(alert).decode(), records, at=at, author=author)


def swap_alert(alert: Alert, revision: int, records: RecordStore, *, at: float, author: str) -> bool:
    """Keep an alert if revision `revision` is the newest; False where it is not."""
    return _swap(ALERT, _alert_key(alert), dump(alert).decode(), revision, records, at=at, author=author)


def drop_alert(alert: Alert, records: RecordStore, *, at: float, author: str) -> None:
    """Forget an alert that nobody needs to know of any more."""
    _put(ALERT, _alert_key(alert), None, records, at=at, author=author)


def everything(kind: type[Named], records: RecordStore) -> tuple[Named, ...]:
    """Return all receivers, silences or policies, oldest first."""
    found = [load(fact.body.encode(), kind) for fact in records.facts(_NAMES[kind][0]) if fact.body is not None]
    return tuple(sorted(found, key=lambda one: (one.since if isinstance(one, Silence) else one.created_at, one.id)))


def find(kind: type[Named], identity: str, records: RecordStore) -> Named:
    """Return the one whose id begins so; raises NotFoundError, SpecError where several do."""
    name = _NAMES[kind][1]
    found = [one for one in everything(kind, records) if one.id.startswith(identity.lower())] if identity else []
    if len(found) > 1:
        raise SpecError(f"'{identity[:64]}' begins the ids of {len(found)}.", hint=f"Write more of it: {found[0].id}.")
    if not found:
        raise NotFoundError(f"There is no {name} '{identity[:64]}'.", hint="See: fairlead alerts list")
    return found[0]


def keep(value: Receiver | Silence | Policy, records: RecordStore, *, at: float, author: str) -> None:
    """Keep a new receiver, silence or policy, or a changed one; raises ConflictError where somebody else changed it meanwhile."""
    kind, name = _NAMES[type(value)]
    if not _put(kind, value.id, dump(value).decode(), records, at=at, author=author):
        raise ConflictError(f"Somebody else changed {name} {value.id} at this moment.", hint="Look at it and try again.")


def drop(value: Receiver | Silence | Policy, records: RecordStore, *, at: float, author: str) -> None:
    """Forget one, its secret, and what it was told."""
    _put(_NAMES[type(value)][0], value.id, None, records, at=at, author=author)
    if isinstance(value, Receiver):
        records.drop_report(SECRET, value.id)
        for fact in records.facts(TOLD, f"{value.id}/"):
            records.put_fact(TOLD, fact.key, None, expected=fact.revision, at=at, author=author)
        for report in records.reports(TOLD, f"{value.id}/"):
            records.drop_report(TOLD, report.key)


def put_secret(identity: str, secret: str, records: RecordStore, *, at: float) -> None:
    """Keep the password that a mail server asks for."""
    records.put_report(SECRET, identity, dump(secret).decode(), at)


def secret_of(identity: str, records: RecordStore) -> str:
    """Return the password; "" where there is none."""
    found = [report for report in records.reports(SECRET, identity) if report.key == identity]
    return load(found[0].body.encode(), str) if found else ""


def told_of(receiver: Receiver, records: RecordStore) -> dict[str, tuple[Told, int]]:
    """Return group key -> what the receiver was told of it, and the revision of that."""
    prefix = f"{receiver.id}/"
    if _forgets(receiver):
        told = [load(report.body.encode(), Told) for report in records.reports(TOLD, prefix)]
        return {one.key: (one, 0) for one in told}
    facts = [(load(fact.body.encode(), Told), fact.revision) for fact in records.facts(TOLD, prefix) if fact.body is not None]
    return {told.key: (told, revision) for told, revision in facts}


def put_told(receiver: Receiver, told: Told, revision: int, records: RecordStore, *, at: float) -> int | None:
    """Keep what a receiver was told if revision `revision` is the newest, and return the new one; None where somebody else was faster."""
    key = f"{receiver.id}/{told.key}"
    body = dump(told).decode()
    if _forgets(receiver):
        records.put_report(TOLD, key, body, at)
        return 0
    try:
        return records.put_fact(TOLD, key, body, expected=revision, at=at, author=receiver.author).revision
    except ConflictError:
        return None


def claim_action(key: str, body: str, before: Fact | None, records: RecordStore, *, at: float, author: str) -> Fact | None:
    """Keep that a policy acts; None where somebody else was faster."""
    try:
        return records.put_fact(ACTION, key, body, expected=0 if before is None else before.revision, at=at, author=author)
    except ConflictError:
        return None


def _forgets(receiver: Receiver) -> bool:
    """Whether it is told again every minute, and twice does no harm: such notes are not kept for ever."""
    return receiver.kind is ReceiverKind.ALERTMANAGER


def _alert_key(alert: Alert) -> str:
    return f"{alert.labels.get('model', '-')}/{alert.fingerprint}"


def _put(kind: str, key: str, body: str | None, records: RecordStore, *, at: float, author: str) -> bool:
    before = records.fact(kind, key)
    return _swap(kind, key, body, 0 if before is None else before.revision, records, at=at, author=author)


def _swap(kind: str, key: str, body: str | None, revision: int, records: RecordStore, *, at: float, author: str) -> bool:
    try:
        records.put_fact(kind, key, body, expected=revision, at=at, author=author)
    except ConflictError:
        return False
    return True
