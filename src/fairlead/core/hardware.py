"""Machines that can be had, what each costs, and which of them keeps a promise for how much. Pure values.

Law: what was not measured on the machine itself is a prediction, and says so (`is_predicted`); a price that nobody looked up at its
seller is an estimate, and says so (`price_is_estimate`).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from fairlead.core.capacity import CapacityPlan

HOURS_PER_YEAR = 8766.0  # 365.25 days
HOURS_PER_MONTH = HOURS_PER_YEAR / 12


class Obstacle(enum.StrEnum):
    """What speaks against an offer."""

    PLACE = "place"  # a need rules it out
    CURRENCY = "currency"
    TYPE = "type"  # it does not compute what the model computes
    SPEED = "speed"
    ROOM = "room"  # cores or memory
    BUDGET = "budget"


class HardwareKind(enum.StrEnum):
    """What computes."""

    CPU = "cpu"
    GPU = "gpu"
    TPU = "tpu"
    EDGE = "edge"  # a device that stands where the data is; bought, not rented


@dataclass(frozen=True)
class HardwareOffer:
    """A machine and its price. `core_count` are the processors that the system shows (of a cloud: vCPUs), `memory_bytes` is where the model
    lies (of an accelerator: its own memory).

    `peak_flops_per_s` by element type ("FP32", "FP16", "INT8") is what the seller states for the whole machine, `bandwidth_bytes_per_s`
    likewise. `call_ms` and `operator_ms` are what one call and each operator of it cost beside arithmetic, transfers and kernel launches
    (0 for a CPU: what this machine's own calls cost is taken). `is_runnable`: an engine of Fairlead computes there. `price_per_hour` is in
    `currency`; `dated` (ISO 8601) says when it was seen, `source` where. `notes` are sentences for a person.
    """

    name: str
    kind: HardwareKind
    provider: str
    region: str
    processor: str
    core_count: int
    memory_bytes: int
    price_per_hour: float
    currency: str
    dated: str
    price_is_estimate: bool
    peak_flops_per_s: Mapping[str, float]
    bandwidth_bytes_per_s: float
    call_ms: float = 0.0
    operator_ms: float = 0.0
    is_runnable: bool = True
    source: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class HardwareCatalogue:
    """Offers in the order in which they stand in the file `name`, dated `dated`."""

    name: str
    dated: str
    offers: tuple[HardwareOffer, ...]


@dataclass(frozen=True)
class Budget:
    """At most `per_month` of `currency` for the machines, all replicas together."""

    per_month: float
    currency: str = "USD"


@dataclass(frozen=True)
class Cost:
    """`machine_count` machines that hold `replica_count` replicas, `replicas_per_machine` on each at most.

    `per_million` is the price of a million predictions (rows) at the load that was asked for, `per_million_at_limit` at the highest load
    that the same machines answer within the promise.
    """

    machine_count: int
    replica_count: int
    replicas_per_machine: int
    per_hour: float
    per_month: float
    per_million: float
    per_million_at_limit: float
    currency: str
    price_is_estimate: bool


@dataclass(frozen=True)
class HardwareOption:
    """What an offer would mean. `refused` is the first thing that speaks against it ("" where it fits), `obstacle` of which kind.
    `is_predicted` says that its latency was computed and not measured. Without a capacity there is no cost.
    """

    offer: HardwareOffer
    capacity: CapacityPlan | None = None
    cost: Cost | None = None
    refused: str = ""
    obstacle: Obstacle | None = None
    is_predicted: bool = True

    @property
    def p99_ms(self) -> float | None:
        """The 99th percentile of a request at the load that was asked for; None where it is not known."""
        return None if self.capacity is None else self.capacity.at_load.p99_ms


@dataclass(frozen=True)
class HardwareChoice:
    """`chosen` is the name of the offer to take ("" where none fits), `reason` why; `options` are all, the cheapest that fits first."""

    options: tuple[HardwareOption, ...]
    chosen: str = ""
    reason: str = ""
    notes: tuple[str, ...] = field(default=())
