"""Who is to be told what, and when: alerts in groups, what is silenced left out, nothing told twice, failures tried again. Pure.

Takes alerts, silences and a receiver with what it was told before (Told); gives the Notice that is due, and Told after an attempt. Laws: a
notice says how a group stands at that moment, so nothing piles up while a receiver is away; a receiver that never heard of an alert is not
told that it has ended; what goes on is told again after the receiver's `repeat_s` (an Alertmanager's every minute: it forgets).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from fairlead.core.alert import Alert, AlertPhase, Receiver, ReceiverKind, Silence, fingerprint
from fairlead.core.webhook import LONGEST_WAIT_S, wait

ALERT_LIMIT = 100  # in one notice
_RESEND_S = 60.0  # an Alertmanager takes an alert that nobody repeats to have ended
_ERROR_LIMIT = 300


@dataclass(frozen=True)
class Told:
    """What one receiver was last told to fire in the group `key`: fingerprint -> since when. `attempt` counts failures since then; it is
    not tried before `next_at`.
    """

    receiver: str
    key: str
    fired: Mapping[str, float] = field(default_factory=dict)
    last_at: float = 0.0
    attempt: int = 0
    next_at: float = 0.0
    error: str = ""
    delivered: int = 0


@dataclass(frozen=True)
class Notice:
    """What is to be told: the alerts of a group, firing ones first; `truncated` more had no room. `fired` are all that fire."""

    key: str
    labels: Mapping[str, str]
    alerts: tuple[Alert, ...]
    fired: Mapping[str, float] = field(default_factory=dict)
    truncated: int = 0

    @property
    def is_firing(self) -> bool:
        """Whether anything in it still fires."""
        return any(alert.is_firing for alert in self.alerts)


def groups(alerts: Iterable[Alert], receiver: Receiver) -> dict[str, tuple[Mapping[str, str], tuple[Alert, ...]]]:
    """Return group key -> its labels and its alerts, of those that the receiver wants and that fire or have ended."""
    found: dict[str, tuple[Mapping[str, str], list[Alert]]] = {}
    for alert in alerts:
        if alert.phase is not AlertPhase.PENDING and receiver.wants(alert.labels):
            labels = {name: alert.labels.get(name, "") for name in receiver.group_by}
            found.setdefault(fingerprint(labels), (labels, []))[1].append(alert)
    return {key: (labels, tuple(sorted(members, key=_order))) for key, (labels, members) in found.items()}


def silenced(alert: Alert, silences: Sequence[Silence], now: float) -> Silence | None:
    """Return the silence that hides the alert; None where none does."""
    return next((silence for silence in silences if silence.hides(alert.labels, now)), None)


def due(alerts: Iterable[Alert], receiver: Receiver, told: Mapping[str, Told], silences: Sequence[Silence], now: float) -> list[Notice]:
    """Return the notices that the receiver is to get now; `told` is what it was told of each group."""
    notices = []
    for key, (labels, members) in groups(alerts, receiver).items():
        before = told.get(key, Told(receiver.id, key))
        shown = tuple(alert for alert in members if silenced(alert, silences, now) is None)
        notice = _notice(key, labels, shown, before, receiver, now)
        if notice is not None and not now < before.next_at <= now + 2 * LONGEST_WAIT_S:  # one far ahead is a clock that jumped
            notices.append(notice)
    return notices


def succeeded(before: Told, notice: Notice, now: float) -> Told:
    """Return what the receiver knows after it took a notice."""
    return replace(before, fired=notice.fired, last_at=now, attempt=0, next_at=0.0, error="", delivered=before.delivered + 1)


def failed(before: Told, error: str, now: float, *, asked_s: float = 0.0) -> Told:
    """Return what stands after an attempt that failed: it is tried again after twice the time each time, up to an hour."""
    pause = max(wait(before.attempt, f"{before.receiver}/{before.key}"), min(asked_s, LONGEST_WAIT_S))
    return replace(before, attempt=before.attempt + 1, next_at=now + pause, error=error[:_ERROR_LIMIT])


def _notice(key: str, labels: Mapping[str, str], shown: Sequence[Alert], before: Told, receiver: Receiver, now: float) -> Notice | None:
    fires = [alert for alert in shown if alert.is_firing]
    ended = [alert for alert in shown if not alert.is_firing and before.fired.get(alert.fingerprint) == alert.fired_at]
    fired = {alert.fingerprint: alert.fired_at for alert in fires}
    is_new = any(before.fired.get(one) != at for one, at in fired.items())
    repeat_s = _RESEND_S if receiver.kind is ReceiverKind.ALERTMANAGER else receiver.repeat_s
    is_old = bool(fires) and not 0 <= now - before.last_at < repeat_s
    if not (is_new or is_old or (ended and receiver.sends_resolved)):
        return None
    told = (*fires, *(ended if receiver.sends_resolved else ()))
    return Notice(key, labels, tuple(told[:ALERT_LIMIT]), fired, max(len(told) - ALERT_LIMIT, 0))


def _order(alert: Alert) -> tuple[bool, float, str]:
    return not alert.is_firing, alert.fired_at, alert.fingerprint
