"""The state of alerts: from what an evaluation found to what fires, with patience in both directions. Pure.

Takes the alerts as they stand, the signals of an evaluation and the time; gives the alerts as they stand then. Laws: the same signals at
the same time change nothing a second time; an alert fires only after its condition has held for `for_s` without a gap, and resolves only
after it has been gone for `keep_s`; what could not be evaluated changes nothing; a clock that was set back makes nothing wait longer than
its patience from now, one that jumped ahead fires nothing that was not seen twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from fairlead.core.alert import Alert, AlertPhase, Signal, fingerprint

FORGET_S = 86_400.0  # resolved alerts are shown for a day
_ONE_LOOK_S = 3 * 3600.0  # a first look and the next lie closer together than that, or a clock has jumped


def step(
    alerts: Mapping[str, Alert], signals: Iterable[Signal], now: float, *, is_known: Callable[[Alert], bool] = lambda _: True
) -> dict[str, Alert]:
    """Return fingerprint -> alert after an evaluation. `is_known` says whether an alert's condition could be evaluated at all."""
    found = {fingerprint(signal.labels): signal for signal in signals}
    after: dict[str, Alert] = {}
    for key, signal in found.items():
        after[key] = _holds(alerts.get(key), signal, now)
    for key, alert in alerts.items():
        if key in found:
            continue
        moved = _gone(alert, now) if is_known(alert) else alert
        if moved is not None:
            after[key] = moved
    return after


def changed(before: Mapping[str, Alert], after: Mapping[str, Alert]) -> tuple[Alert, ...]:
    """Return the alerts whose phase is another one than before, or that are new."""
    return tuple(alert for key, alert in after.items() if key not in before or before[key].phase is not alert.phase)


def to_keep(before: Alert | None, after: Alert) -> bool:
    """Whether the difference is to outlive a restart: what an alert is about and where it stands, not the last digit of its number."""
    if before is None:
        return True
    return replace(before, value=0.0, annotations={}) != replace(after, value=0.0, annotations={})


def firing(alerts: Iterable[Alert]) -> Sequence[Alert]:
    """Return those that fire, the oldest first."""
    return sorted((alert for alert in alerts if alert.is_firing), key=lambda alert: (alert.fired_at, alert.fingerprint))


def _holds(alert: Alert | None, signal: Signal, now: float) -> Alert:
    """The condition holds."""
    if alert is None or alert.phase is AlertPhase.RESOLVED:
        begun = Alert(signal.labels, signal.annotations, signal.value, AlertPhase.PENDING, now, for_s=signal.for_s, keep_s=signal.keep_s)
        return begun if signal.for_s > 0 else replace(begun, phase=AlertPhase.FIRING, fired_at=now)
    told = replace(alert, annotations=signal.annotations, value=signal.value, cleared_at=0.0, for_s=signal.for_s, keep_s=signal.keep_s)
    if alert.phase is AlertPhase.FIRING:
        return told
    if now < alert.since or (now - alert.since > max(_ONE_LOOK_S, 2 * signal.for_s)):
        return replace(told, since=now)  # a clock jumped, or nobody has looked for long: count anew
    return replace(told, phase=AlertPhase.FIRING, fired_at=now) if now - alert.since >= signal.for_s else told


def _gone(alert: Alert, now: float) -> Alert | None:
    """The condition does not hold; None for an alert that nobody needs to know of any more."""
    if alert.phase is AlertPhase.PENDING:
        return None
    if alert.phase is AlertPhase.RESOLVED:
        alert = replace(alert, resolved_at=min(alert.resolved_at, now))  # a clock was set back
        return alert if now - alert.resolved_at < FORGET_S else None
    if not alert.cleared_at or now < alert.cleared_at:
        alert = replace(alert, cleared_at=now)
    if now - alert.cleared_at >= alert.keep_s:
        return replace(alert, phase=AlertPhase.RESOLVED, resolved_at=now)
    return alert
