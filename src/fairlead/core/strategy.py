"""How a model is led into production and kept there: roll-out, batching, what is watched, how it is secured. Pure values.

Law: every value has a reason, and the reason says where it comes from: a default, the scenario, a need, a requirement, the load, or the
user's own fairlead.yaml. Nothing here does anything: releases, watching and security read these values.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

Value = bool | int | float | str | tuple[str, ...] | tuple[float, ...]


class Scenario(enum.StrEnum):
    """A trade whose usual needs and habits a preset knows."""

    FINANCE = "finance"
    MEDICINE = "medicine"
    LOGISTICS = "logistics"
    MANUFACTURING = "manufacturing"


class Need(enum.StrEnum):
    """What is true of a deployment, whatever its trade. In the order in which they are applied: what is physical has the last word."""

    USER_FACING = "user-facing"  # people wait for the answers
    REGULATED = "regulated"  # somebody may ask why, years later
    OFFLINE = "offline"  # no way to the outside
    EDGE = "edge"  # runs where the data is, on a small machine


class RolloutKind(enum.StrEnum):
    """How a new version takes over."""

    BLUE_GREEN = "blue-green"  # all at once, the old one kept warm
    CANARY = "canary"  # by growing shares of the traffic, while gates hold
    SHADOW = "shadow"  # its answers are compared with the live ones and not given; then by shares, like a canary


class NetworkPolicy(enum.StrEnum):
    """Who may reach the server, and whom it may reach."""

    LOOPBACK = "loopback"  # this machine only
    PRIVATE = "private"  # the inner network; nothing outbound but what is configured
    ISOLATED = "isolated"  # the inner network; nothing outbound at all


class ExplanationPolicy(enum.StrEnum):
    """For which answers an explanation has to be there."""

    NONE = "none"
    ON_REQUEST = "on-request"  # of any answer that is asked about
    EVERY_DECISION = "every-decision"  # kept with each answer


@dataclass(frozen=True)
class Rollout:
    """`steps` are the shares of traffic of a canary, `shadow_ratio` the share that the new version answers unseen before that, 0 for none.
    `gates` are what must not get worse, tested with `alpha` false alarms per roll-out. `is_automatic`: goes on by itself while they hold.
    """

    kind: RolloutKind = RolloutKind.BLUE_GREEN
    steps: tuple[float, ...] = ()
    shadow_ratio: float = 0.0
    gates: tuple[str, ...] = ("error_rate",)
    alpha: float = 0.01
    is_automatic: bool = True
    keep_warm_s: float = 300.0


@dataclass(frozen=True)
class Batching:
    """Rows of several requests in one call of the engine, and how long a request may wait for company."""

    rows_limit: int = 64
    delay_ms: float = 2.0


@dataclass(frozen=True)
class Serving:
    """`replica_floor`: replicas that run even where fewer carry the load."""

    replica_floor: int = 1


@dataclass(frozen=True)
class Watch:
    """`metrics` to watch; at most `false_alarms_per_month` for drift, all inputs together. Alerts on a promise look at `fast_window_s` and
    `slow_window_s`. `observation_ratio` of the requests are kept, `twin_ratio` also answered by the uncompressed original.
    """

    metrics: tuple[str, ...] = ("traffic", "error_rate", "latency", "drift")
    false_alarms_per_month: float = 1.0
    fast_window_s: float = 300.0
    slow_window_s: float = 3600.0
    observation_ratio: float = 1.0
    twin_ratio: float = 0.0


@dataclass(frozen=True)
class Security:
    """What a version needs before it serves, and what protects it there."""

    is_signing_required: bool = False
    is_approver_required: bool = False
    is_encrypted_at_rest: bool = False
    is_encrypted_in_transit: bool = False
    is_audited: bool = False
    network: NetworkPolicy = NetworkPolicy.LOOPBACK


@dataclass(frozen=True)
class Explanations:
    """Which answers have to be explained."""

    policy: ExplanationPolicy = ExplanationPolicy.NONE


@dataclass(frozen=True)
class Retention:
    """How long things stay: the last `version_count` versions, observations and the audit log by days."""

    version_count: int = 10
    observation_days: int = 30
    audit_days: int = 90


@dataclass(frozen=True)
class Reason:
    """Why a value is what it is, and `origin`: "default", "scenario finance", "need regulated", "requirement p99_ms<=5", "capacity",
    "load", "fairlead.yaml".
    """

    text: str
    origin: str


@dataclass(frozen=True)
class Strategy:
    """The whole. `reasons` by key ("rollout.kind") has one for every value; `notes` are sentences for a person, warnings among them."""

    scenario: Scenario | None = None
    needs: tuple[Need, ...] = ()
    rollout: Rollout = field(default_factory=Rollout)
    batching: Batching = field(default_factory=Batching)
    serving: Serving = field(default_factory=Serving)
    watch: Watch = field(default_factory=Watch)
    security: Security = field(default_factory=Security)
    explanations: Explanations = field(default_factory=Explanations)
    retention: Retention = field(default_factory=Retention)
    reasons: Mapping[str, Reason] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def value(self, key: str) -> Value:
        """Return the value of a key such as "rollout.kind"; raises KeyError."""
        section, _, name = key.partition(".")
        if key not in KEYS:
            raise KeyError(key)
        found: Value = getattr(getattr(self, section), name)
        return found


@dataclass(frozen=True)
class StrategyRule:
    """Set `key` to `value`, because. What a preset, a need or a user's file is made of."""

    key: str
    value: Value
    because: str


@dataclass(frozen=True)
class Preset:
    """What a scenario brings: the needs that go with it, and its own rules."""

    scenario: Scenario
    sentence: str
    needs: tuple[Need, ...]
    rules: tuple[StrategyRule, ...]


SECTIONS: Mapping[str, type] = {
    "rollout": Rollout,
    "batching": Batching,
    "serving": Serving,
    "watch": Watch,
    "security": Security,
    "explanations": Explanations,
    "retention": Retention,
}
# Every key with its default.
KEYS: Mapping[str, Value] = {
    f"{section}.{item.name}": getattr(kind(), item.name) for section, kind in SECTIONS.items() for item in dataclasses.fields(kind)
}
