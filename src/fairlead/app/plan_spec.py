"""What fairlead.yaml says for planning: scenario, needs, load, budget, and a strategy of the user's own. Shapes of the file only.

Gives core values: a load, a Budget, strategy overrides by key. Raises SpecError for a share that is none. Every key of a strategy is one of
core.strategy; a test compares them.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from fairlead.core.hardware import Budget
from fairlead.core.strategy import SECTIONS, ExplanationPolicy, NetworkPolicy, RolloutKind, Value
from fairlead.errors import SpecError

_Share = Annotated[float, Meta(ge=0, le=1)] | Annotated[str, Meta(pattern=r"^[0-9]{1,3}([.][0-9]+)?%$")]
_Count = Annotated[int, Meta(ge=1, le=1_000_000)]
_Seconds = Annotated[float, Meta(gt=0)]
_Names = list[Annotated[str, Meta(min_length=1, max_length=64)]]


class LoadSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The load that has to be carried."""

    rate_rps: Annotated[float, Meta(description="Requests per second, all together.", gt=0)]
    rows_per_request: Annotated[int, Meta(description="Rows in one request.", ge=1, le=65_536)] = 1
    p99_ms: Annotated[
        Annotated[float, Meta(gt=0)] | None, Meta(description="What 99 % of the requests may take, at the client; else that of `require`.")
    ] = None
    burst_ratio: Annotated[float, Meta(description="How requests clump: 1 for users of their own mind, 5 for groups of five.", ge=1)] = 1.0


class BudgetSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What the machines may cost."""

    per_month: Annotated[float, Meta(description="Money per month, all machines together.", gt=0)]
    currency: Annotated[str, Meta(description="Three letters.", pattern="^[A-Z]{3}$")] = "USD"

    def budget(self) -> Budget:
        """Return the budget as a core value."""
        return Budget(self.per_month, self.currency)


class RolloutSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """How a new version takes over."""

    kind: Annotated[RolloutKind | None, Meta(description="blue-green, canary or shadow.")] = None
    steps: Annotated[list[_Share] | None, Meta(description="Shares of the traffic, growing: [1%, 10%, 50%].")] = None
    shadow_ratio: Annotated[_Share | None, Meta(description="Share that a new version answers unseen first.")] = None
    gates: Annotated[_Names | None, Meta(description="What must not get worse: error_rate, p99_ms, disagreement, accuracy.")] = None
    alpha: Annotated[Annotated[float, Meta(gt=0, lt=0.5)] | None, Meta(description="False alarms per roll-out.")] = None
    is_automatic: Annotated[bool | None, Meta(description="Go on and back without a person.")] = None
    keep_warm_s: Annotated[Annotated[float, Meta(ge=0)] | None, Meta(description="How long the version before stays ready.")] = None


class BatchingSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """How requests are joined."""

    rows_limit: Annotated[_Count | None, Meta(description="Rows of several requests in one call; 1 for never.")] = None
    delay_ms: Annotated[Annotated[float, Meta(ge=0)] | None, Meta(description="How long a request may wait for company.")] = None


class ServingSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """How many servers there are at least."""

    replica_floor: Annotated[_Count | None, Meta(description="Replicas that run even where fewer carry the load.")] = None


class WatchSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What is watched."""

    metrics: Annotated[_Names | None, Meta(description="traffic, error_rate, latency, drift, quality, outliers.")] = None
    false_alarms_per_month: Annotated[
        Annotated[float, Meta(gt=0)] | None, Meta(description="Drift alarms without drift that are bearable, all inputs together.")
    ] = None
    fast_window_s: Annotated[_Seconds | None, Meta(description="Window of urgent alerts.")] = None
    slow_window_s: Annotated[_Seconds | None, Meta(description="Window of the others.")] = None
    observation_ratio: Annotated[_Share | None, Meta(description="Share of the requests that are kept.")] = None
    twin_ratio: Annotated[_Share | None, Meta(description="Share that the uncompressed original answers too.")] = None


class SecuritySpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What a version needs before it serves, and what protects it."""

    is_signing_required: bool | None = None
    is_approver_required: Annotated[bool | None, Meta(description="Somebody else than the publisher has to approve.")] = None
    is_encrypted_at_rest: bool | None = None
    is_encrypted_in_transit: bool | None = None
    is_audited: bool | None = None
    network: Annotated[NetworkPolicy | None, Meta(description="loopback, private or isolated.")] = None


class ExplanationsSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Which answers have to be explained."""

    policy: Annotated[ExplanationPolicy | None, Meta(description="none, on-request or every-decision.")] = None


class RetentionSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """How long things stay."""

    version_count: Annotated[_Count | None, Meta(description="Versions that are kept.")] = None
    observation_days: Annotated[_Count | None, Meta(description="Days that observations are kept.")] = None
    audit_days: Annotated[_Count | None, Meta(description="Days that the audit log is kept.")] = None


class StrategySpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What the user wants otherwise than scenario and needs bring it."""

    rollout: RolloutSpec = RolloutSpec()
    batching: BatchingSpec = BatchingSpec()
    serving: ServingSpec = ServingSpec()
    watch: WatchSpec = WatchSpec()
    security: SecuritySpec = SecuritySpec()
    explanations: ExplanationsSpec = ExplanationsSpec()
    retention: RetentionSpec = RetentionSpec()

    def overrides(self) -> dict[str, Value]:
        """Return what is set, by key ("rollout.kind"); raises SpecError."""
        found: dict[str, Value] = {}
        for section in SECTIONS:
            said = getattr(self, section)
            for name in said.__struct_fields__:
                value = getattr(said, name)
                if value is not None:
                    found[f"{section}.{name}"] = _plain(value, f"strategy.{section}.{name}")
        return found


def _plain(value: Value | list[str] | list[float | str], key: str) -> Value:
    if isinstance(value, list):
        return tuple(_share(item, key) for item in value) if key.endswith("steps") else tuple(str(item) for item in value)
    return _share(value, key) if key.endswith("_ratio") and isinstance(value, str) else value


def _share(value: float | str, key: str) -> float:
    if not isinstance(value, str):
        return float(value)
    number = float(value.removesuffix("%")) / 100
    if number > 1:
        raise SpecError(f"{key}: {value} is more than everything.", hint="Shares lie between 0% and 100%.")
    return number
