"""Notices in the forms that receivers take: Alertmanager's webhook message (version 4), its API's alerts (version 2), and a letter. Pure.

Forms: https://prometheus.io/docs/alerting/latest/configuration/#webhook_config and Alertmanager's api/v2/openapi.yaml. Texts of a letter
are made printable: what a finding says may repeat what a caller sent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from fairlead.core.alert import NAME, Alert, Receiver
from fairlead.monitor.alerts.telling import Notice

_NEVER = "0001-01-01T00:00:00Z"  # Go's zero time: has not ended
_KEEP_S = 1200.0  # an API alert that nobody repeats for so long has ended: four rounds of `alerts run`


def webhook_message(notice: Notice, receiver: Receiver, *, url: str = "") -> bytes:
    """Return the JSON that Alertmanager's webhooks send; `url` is where a person looks, "" for nowhere."""
    alerts = [_webhook_alert(alert, url) for alert in notice.alerts]
    return _encoded(
        {
            "version": "4",
            "groupKey": f"{{}}:{{{', '.join(f'{name}={json.dumps(value)}' for name, value in notice.labels.items())}}}",
            "truncatedAlerts": notice.truncated,
            "status": "firing" if notice.is_firing else "resolved",
            "receiver": receiver.id,
            "groupLabels": dict(notice.labels),
            "commonLabels": _common([alert.labels for alert in notice.alerts]),
            "commonAnnotations": _common([alert.annotations for alert in notice.alerts]),
            "externalURL": url,
            "alerts": alerts,
        }
    )


def api_alerts(notice: Notice, now: float, *, url: str = "") -> bytes:
    """Return the body of POST /api/v2/alerts: one that fires ends by itself in 20 minutes unless it is sent again."""
    return _encoded(
        [
            {
                "labels": dict(alert.labels),
                "annotations": dict(alert.annotations),
                "startsAt": stamp(alert.fired_at),
                "endsAt": stamp(now + _KEEP_S if alert.is_firing else alert.resolved_at),
                **({"generatorURL": url} if url else {}),
            }
            for alert in notice.alerts
        ]
    )


def letter(notice: Notice) -> tuple[str, str]:
    """Return subject and text of a mail."""
    fires = [alert for alert in notice.alerts if alert.is_firing]
    ended = [alert for alert in notice.alerts if not alert.is_firing]
    about = " ".join(printable(value) for value in notice.labels.values() if value)
    subject = f"[{'FIRING' if fires else 'RESOLVED'}:{len(fires) + notice.truncated if fires else len(ended)}] {about}"
    parts = [_paragraph(alert) for alert in notice.alerts]
    if notice.truncated:
        parts.append(f"And {notice.truncated} more: fairlead alerts list")
    return subject[:200], "\n\n".join(parts) + "\n"


def stamp(at: float) -> str:
    """Return Unix seconds as RFC 3339."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def printable(text: str) -> str:
    """Return one line of text without control characters."""
    return "".join(character if character.isprintable() else " " for character in text)


def _webhook_alert(alert: Alert, url: str) -> dict[str, Any]:
    return {
        "status": "firing" if alert.is_firing else "resolved",
        "labels": dict(alert.labels),
        "annotations": dict(alert.annotations),
        "startsAt": stamp(alert.fired_at),
        "endsAt": _NEVER if alert.is_firing else stamp(alert.resolved_at),
        "generatorURL": url,
        "fingerprint": alert.fingerprint,
    }


def _common(parts: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Return what all have alike."""
    if not parts:
        return {}
    return {name: value for name, value in parts[0].items() if all(part.get(name) == value for part in parts)}


def _paragraph(alert: Alert) -> str:
    state = f"FIRING since {stamp(alert.fired_at)}" if alert.is_firing else f"RESOLVED at {stamp(alert.resolved_at)}"
    about = ", ".join(f"{name}={printable(value)}" for name, value in alert.labels.items() if name != NAME)
    lines = [f"{state}: {printable(alert.name)}", f"  {printable(alert.annotations.get('summary', ''))}"]
    if advice := alert.annotations.get("advice"):
        lines.append(f"  What to do: {printable(advice)}")
    return "\n".join([*lines, f"  ({about})"])


def _encoded(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False).encode("ascii")
