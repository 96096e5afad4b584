"""What a capacity costs on an offer: machines, money per hour and month, money per million predictions. Pure.

Takes a core CapacityPlan and a HardwareOffer; gives a core Cost. Raises RequirementError where one replica does not fit the machine.
Network, storage and the people who look after it are not in the price.
"""

from __future__ import annotations

import math

from fairlead.core.capacity import CapacityPlan
from fairlead.core.hardware import HOURS_PER_MONTH, Cost, HardwareKind, HardwareOffer
from fairlead.errors import RequirementError

_SYSTEM_BYTES = 500_000_000  # what the operating system keeps for itself: left free on every machine
_SECONDS_PER_HOUR = 3600.0
_MILLION = 1e6


def cost_of(capacity: CapacityPlan, offer: HardwareOffer, replica_bytes: int, machine_floor: int = 1) -> Cost:
    """Return what `capacity` costs on machines like `offer`, where one replica takes `replica_bytes` of memory and `machine_floor` machines
    run in any case.

    per million = price per hour / (predictions per hour) * 10^6, predictions being rows.
    """
    per_machine = replicas_per_machine(capacity, offer, replica_bytes)
    machines = max(math.ceil(capacity.replica_count / per_machine), machine_floor)
    per_hour = machines * offer.price_per_hour
    rows = capacity.demand.rows_per_request
    return Cost(
        machine_count=machines,
        replica_count=max(capacity.replica_count, machine_floor),
        replicas_per_machine=per_machine,
        per_hour=per_hour,
        per_month=per_hour * HOURS_PER_MONTH,
        per_million=per_million(per_hour, capacity.demand.rate_rps * rows),
        per_million_at_limit=per_million(per_hour, capacity.max_rate_rps * rows),
        currency=offer.currency,
        price_is_estimate=offer.price_is_estimate,
    )


def per_million(per_hour: float, rows_per_s: float) -> float:
    """Return the price of a million rows at `rows_per_s`."""
    return per_hour / (rows_per_s * _SECONDS_PER_HOUR) * _MILLION


def replicas_per_machine(capacity: CapacityPlan, offer: HardwareOffer, replica_bytes: int) -> int:
    """Return how many replicas one machine holds, by cores and by memory; raises RequirementError where not even one."""
    # One accelerator computes one call at a time: its replicas share nothing but the wait.
    by_cores = 1 if offer.kind in (HardwareKind.GPU, HardwareKind.TPU) else offer.core_count // capacity.shape.core_count
    if by_cores < 1:
        raise RequirementError(
            f"One replica computes on {capacity.shape.core_count} cores, and {offer.name} has {offer.core_count}.",
            hint="Take a larger machine, or bound the cores: cores<=n.",
        )
    left = offer.memory_bytes - (_SYSTEM_BYTES if offer.kind in (HardwareKind.CPU, HardwareKind.EDGE) else 0)
    by_memory = left // max(replica_bytes, 1)
    if by_memory < 1:
        raise RequirementError(
            f"One replica takes {replica_bytes / 1e6:,.0f} MB, and {offer.name} has {max(left, 0) / 1e6:,.0f} MB for it.",
            hint="Take a machine with more memory, or a smaller form of the model.",
        )
    return int(min(by_cores, by_memory))
