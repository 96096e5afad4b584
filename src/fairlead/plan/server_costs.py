"""What a server costs beside its model, from loads that it was put under: the event loop's work for a request and for a round.

Takes what was counted (requests, calls of the engine, processor time) and the engine's own times; gives ServerCosts. Pure. Raises
SpecError where the loads are too alike to tell the two apart. The fit is least squares on processor time, relative to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fairlead.core.capacity import ServerCosts
from fairlead.core.interface import Array
from fairlead.core.latency_profile import LatencyProfile
from fairlead.errors import SpecError

_APART = 1.3  # requests per call have to differ by this factor


@dataclass(frozen=True)
class ObservedLoad:
    """`request_count` requests of `rows` rows were answered in `call_count` calls, for `processor_s` of the server's processor
    time; half of the requests saw at most `p50_ms`.
    """

    request_count: int
    call_count: int
    processor_s: float
    p50_ms: float
    rows: int = 1

    @property
    def requests_per_call(self) -> float:
        """How many shared a call."""
        return self.request_count / self.call_count


def fit_costs(loads: Sequence[ObservedLoad], profile: LatencyProfile, *, thread_count: int = 1, source: str = "") -> ServerCosts:
    """Return the costs that explain `loads`, the lightest of which is taken for the way to the client and back."""
    if any(load.request_count < 1 or load.call_count < 1 for load in loads):
        raise SpecError("A load in which nothing was asked tells no costs.", hint="Let it run longer.")
    per_call = [load.requests_per_call for load in loads]
    if len(loads) < 2 or max(per_call) < _APART * min(per_call):
        raise SpecError("The loads are too alike to tell what a request costs and what a round.", hint="Use 1 and 64 requests at once.")
    engine_s = np.array([_engine_s(load, profile, thread_count) for load in loads])
    spent = np.maximum(np.array([load.processor_s for load in loads]) - engine_s, 0.0)
    counts = np.array([(load.request_count, load.call_count) for load in loads], np.float64)
    scale = np.array([load.processor_s for load in loads])
    request_s, round_s = _fit(counts / scale[:, None], spent / scale)
    lightest = min(loads, key=lambda load: load.requests_per_call)
    alone_ms = (request_s + round_s) * 1e3 + _engine_s(lightest, profile, thread_count) / lightest.call_count * 1e3
    return ServerCosts(request_s * 1e3, round_s * 1e3, 0.0, max(lightest.p50_ms - alone_ms, 0.0), source)


def _engine_s(load: ObservedLoad, profile: LatencyProfile, thread_count: int) -> float:
    rows = load.requests_per_call * load.rows
    low, part = int(rows), rows - int(rows)
    mean = (1 - part) * profile.mean_ms(max(low, 1), thread_count) + part * profile.mean_ms(low + 1, thread_count)
    return load.call_count * thread_count * mean / 1e3


def _fit(counts: Array, spent: Array) -> tuple[float, float]:
    """Return the two costs, neither below 0: where one would be, the other explains all."""
    both, *_ = np.linalg.lstsq(counts, spent, rcond=None)
    if both.min() >= 0:
        return float(both[0]), float(both[1])
    alone = [max(float(column @ spent / (column @ column)), 0.0) for column in counts.T]
    errors = [float(np.square(counts[:, place] * cost - spent).sum()) for place, cost in enumerate(alone)]
    return (alone[0], 0.0) if errors[0] <= errors[1] else (0.0, alone[1])
