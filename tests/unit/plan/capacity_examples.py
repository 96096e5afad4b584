"""Profiles and servers that tests of capacity share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fairlead.core.capacity import ServerCosts
from fairlead.core.latency_profile import LatencyProfile, ProfilePoint

SIZES = (1, 2, 4, 8, 16, 32, 64)
COSTS = ServerCosts(request_ms=0.06, round_ms=0.1, handoff_ms=0.1, path_ms=0.15)


def profile_of(mean_ms: Callable[[int], float], *, cv: float = 0.15, drift: tuple[float, ...] = (1.0,), sizes=SIZES) -> LatencyProfile:
    """A profile whose calls take `mean_ms(rows)`, log-normally distributed."""
    spread = np.sqrt(np.log1p(cv**2))
    drawn = np.sort(np.random.default_rng(0).lognormal(0.0, spread, 200)) if cv else np.ones(200)
    drawn /= drawn.mean()
    points = []
    for rows in sizes:
        calls = drawn * mean_ms(rows)
        p50, p95, p99 = (float(np.percentile(calls, percent)) for percent in (50, 95, 99))
        points.append(ProfilePoint(rows, 1, p50, p95, p99, mean_ms(rows), cv, 200, tuple(calls.tolist())))
    return LatencyProfile(tuple(points), drift=drift)


SMALL = profile_of(lambda rows: 0.02 + 0.01 * rows)  # runs in the event loop
STEADY = profile_of(lambda rows: 5.0 * rows)  # larger calls pay nothing
SHARED = profile_of(lambda rows: 4.0 + rows)  # larger calls pay
