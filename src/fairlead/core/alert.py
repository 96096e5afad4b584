"""Alerts: what is wrong now, since when, who is told and who is not. Pure values, their laws, and how people write matchers.

Raises SpecError for what is no matcher. Times are Unix seconds.

Laws: an alert is known by its labels alone (`fingerprint`), so whoever evaluates the same thing twice, or starts anew, speaks of the same
alert; a silence hides an alert from receivers and never changes its state.
"""

from __future__ import annotations

import enum
import fnmatch
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from fairlead.core.finding import FindingKind, Severity
from fairlead.errors import SpecError

NAME = "alertname"
_MATCHER = re.compile(r"\s*([a-zA-Z_][a-zA-Z0-9_]{0,63})\s*(!=|=)\s*(.*?)\s*", re.DOTALL)
_VALUE_LIMIT = 500


class AlertPhase(enum.StrEnum):
    """Where an alert stands."""

    PENDING = "pending"  # the condition holds, not long enough yet
    FIRING = "firing"
    RESOLVED = "resolved"


@dataclass(frozen=True)
class Matcher:
    """Says whether a label has (or, with `is_not`, has not) a value; `*` and `?` in it stand for any text and any character."""

    label: str
    value: str
    is_not: bool = False

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether it holds for these labels; a label that is not there is an empty text."""
        return fnmatch.fnmatchcase(labels.get(self.label, ""), self.value) is not self.is_not

    def __str__(self) -> str:
        return f"{self.label}{'!=' if self.is_not else '='}{self.value}"


@dataclass(frozen=True)
class AlertRule:
    """Which findings become an alert called `name`, how long they have to last (`for_s`) and how long they stay when they have gone
    (`keep_s`), so that a number that dances around its bound rings no bell each time. `labels` are added to the alert's.
    """

    name: str
    kinds: tuple[FindingKind, ...]
    least: Severity = Severity.WARNING
    subject: str = "*"
    for_s: float = 0.0
    keep_s: float = 300.0
    labels: Mapping[str, str] = field(default_factory=dict)

    def takes(self, kind: FindingKind, subject: str, severity: Severity) -> bool:
        """Whether a finding is one of its."""
        return kind in self.kinds and severity.rank >= self.least.rank and fnmatch.fnmatchcase(subject, self.subject)


@dataclass(frozen=True)
class Signal:
    """What an evaluation says of one alert now: its labels (its identity), what a person is told, the number, and the rule's patience."""

    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    value: float
    for_s: float = 0.0
    keep_s: float = 0.0


@dataclass(frozen=True)
class Alert:
    """One alert. It is pending since `since`; it fires since `fired_at` (0: never did). `cleared_at` is when its condition was found to
    have gone (0: it holds), `resolved_at` when that had lasted long enough (0: it has not). `acted` says what policies did about it.
    """

    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    value: float
    phase: AlertPhase
    since: float
    fired_at: float = 0.0
    cleared_at: float = 0.0
    resolved_at: float = 0.0
    for_s: float = 0.0
    keep_s: float = 0.0
    acted: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """What it is known by."""
        return fingerprint(self.labels)

    @property
    def name(self) -> str:
        """The rule's name."""
        return self.labels.get(NAME, "")

    @property
    def is_firing(self) -> bool:
        """Whether receivers are to be told that it is so."""
        return self.phase is AlertPhase.FIRING


@dataclass(frozen=True)
class Silence:
    """No alert that all `matchers` hold for is told of, from `since` to `until`."""

    id: str
    matchers: tuple[Matcher, ...]
    since: float
    until: float
    author: str
    comment: str = ""

    def hides(self, labels: Mapping[str, str], now: float) -> bool:
        """Whether an alert with these labels is not told of at `now`."""
        return self.since <= now < self.until and all(matcher.matches(labels) for matcher in self.matchers)


class ReceiverKind(enum.StrEnum):
    """How somebody is told."""

    WEBHOOK = "webhook"  # JSON as Alertmanager's webhooks send it, version 4
    ALERTMANAGER = "alertmanager"  # its API, version 2; it groups and tells by itself
    EMAIL = "email"
    COMMAND = "command"  # started with the same JSON on its standard input


@dataclass(frozen=True)
class Receiver:
    """Who is told of alerts that all `matchers` hold for (none: of every one). `target` is a URL, addresses divided by commas, or a
    command; of e-mail, `server` is smtp://host:port, smtps:// or smtp+starttls://, `sender` the address that it comes from, and `user` who
    logs in ("": nobody). What is grouped by `group_by` comes as one message; one that goes on is told again after `repeat_s`.
    """

    id: str
    kind: ReceiverKind
    target: str
    matchers: tuple[Matcher, ...]
    author: str
    created_at: float
    server: str = ""
    sender: str = ""
    user: str = ""
    group_by: tuple[str, ...] = (NAME, "model")
    repeat_s: float = 4 * 3600.0
    sends_resolved: bool = True

    def wants(self, labels: Mapping[str, str]) -> bool:
        """Whether it is told of an alert with these labels."""
        return all(matcher.matches(labels) for matcher in self.matchers)


class PolicyAction(enum.StrEnum):
    """What is done about an alert without asking anybody."""

    ROLL_BACK = "roll-back"  # the alias goes back to the version before
    SHADOW = "shadow"  # likewise, and the version that was live answers unseen, to be watched
    RETRAIN = "retrain"  # the user's command makes a new model, which has to prove itself


@dataclass(frozen=True)
class Policy:
    """What is done when an alert fires that all `matchers` hold for: not again for `pause_s` for the same model. `command` of a retraining
    writes a model file; the new version is proven on the rows in `data`, whose column `target` has the right answers, and takes over in
    `steps` ("": as its plan says).
    """

    id: str
    action: PolicyAction
    matchers: tuple[Matcher, ...]
    author: str
    created_at: float
    pause_s: float = 86_400.0
    command: str = ""
    steps: str = ""
    data: str = ""
    target: str = ""

    def wants(self, labels: Mapping[str, str]) -> bool:
        """Whether an alert with these labels is one of its."""
        return all(matcher.matches(labels) for matcher in self.matchers)


def fingerprint(labels: Mapping[str, str]) -> str:
    """Return 16 characters that equal labels share."""
    digest = hashlib.sha256()
    for name, value in sorted(labels.items()):
        digest.update(f"{name}\0{value}\0".encode("utf-8", "replace"))
    return digest.hexdigest()[:16]


def parse_matcher(text: str) -> Matcher:
    """Parse `label=value` or `label!=value`; raises SpecError."""
    match = _MATCHER.fullmatch(text)
    if match is None or len(match[3]) > _VALUE_LIMIT:
        raise SpecError(f"'{text[:64]}' is no matcher.", hint="Write it like model=digits, severity!=info or alertname=Drift*.")
    value = match[3]
    if len(value) > 1 and value[0] == value[-1] == '"':
        value = value[1:-1]
    return Matcher(match[1], value, match[2] == "!=")


def parse_matchers(texts: Iterable[str]) -> tuple[Matcher, ...]:
    """Parse all; raises SpecError."""
    return tuple(dict.fromkeys(map(parse_matcher, texts)))
