"""Promises as questions to Prometheus, asked of the metrics that a server has. Pure.

Takes requirements; gives expressions in PromQL. A promise that no metric shows has none: there is no expression rather than one that is
always silent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fairlead.core.requirement import MetricKind, Requirement
from fairlead.monitor.families import DURATION, REQUESTS
from fairlead.monitor.histogram import SECONDS
from fairlead.monitor.quality.burn import budget_of

AVAILABILITY = 0.999  # of requests are to be answered, where nobody promised another share
FAILED = "internal|unavailable|deadline"


@dataclass(frozen=True)
class ShareQuery:
    """The share of bad events: `bad` and `total` have `{window}` where the window stands. `budget` is the share that is allowed, `promise`
    what a person reads, `note` what a bucket's edge makes of the bound ("": nothing).
    """

    name: str
    model: str
    promise: str
    budget: float
    bad: str
    total: str
    note: str = ""

    def rate(self, window: str) -> str:
        """Return how fast the budget burns over a window like 5m: 1 is as fast as it may."""
        bad, total = self.bad.replace("{window}", window), self.total.replace("{window}", window)
        return f"(({bad}) / ({total}) / {self.budget:.6g})"


def availability(model: str, objective: float = AVAILABILITY) -> ShareQuery:
    """Return the share of requests that the server failed to answer."""
    chosen = _selector(model)
    failed = f'sum by (model) (rate({REQUESTS.full_name}{{{chosen},code=~"{FAILED}"}}[{{window}}]))'
    every = f"sum by (model) (rate({REQUESTS.full_name}{{{chosen}}}[{{window}}]))"
    return ShareQuery("Errors", model, f"{objective:.6g} of the requests are answered", 1.0 - objective, failed, every)


def latency(model: str, requirement: Requirement) -> ShareQuery | None:
    """Return the share of requests that take longer than a promise allows; None for what is no latency of single rows, or has no bucket."""
    budget = budget_of(requirement)
    if requirement.kind is not MetricKind.LATENCY or requirement.batch != 1 or budget is None:
        return None
    bound_s = requirement.bound / 1e3
    edge = next((edge for edge in SECONDS.tolist() if edge >= bound_s * (1 - 1e-9)), None)
    if edge is None:
        return None
    chosen = _selector(model)
    within = f'sum by (model) (rate({DURATION.full_name}_bucket{{{chosen},le="{edge!r}"}}[{{window}}]))'
    every = f"sum by (model) (rate({DURATION.full_name}_count{{{chosen}}}[{{window}}]))"
    note = "" if abs(edge - bound_s) < 1e-9 else f"counted at the next bucket of the histogram, {edge * 1e3:g} ms"
    return ShareQuery("Latency", model, str(requirement), budget, f"{every} - {within}", every, note)


def promise_queries(promises: Mapping[str, tuple[Requirement, ...]]) -> tuple[ShareQuery, ...]:
    """Return the shares to watch for each model: of failed requests, and of those that break a latency."""
    found: list[ShareQuery] = []
    for model, requirements in sorted(promises.items()):
        found.append(availability(model))
        found += [query for requirement in requirements if (query := latency(model, requirement)) is not None]
    return tuple(found)


def _selector(model: str) -> str:
    return f'model="{model}"'
