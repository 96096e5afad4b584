"""Alert rules for Prometheus: what should wake somebody about a server, and the promises of its models by multi-window burn rates. Pure.

Takes promises by model; gives the text of a rules file (https://prometheus.io/docs/prometheus/latest/configuration/alerting_rules/). It
asks for metrics that a server has and nothing else; Fairlead's own alerts (drift, quality) reach an Alertmanager from `fairlead alerts`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from fairlead.core.requirement import Requirement
from fairlead.monitor.export.promise_queries import FAILED, ShareQuery, promise_queries
from fairlead.monitor.families import (
    BROKEN_PROMISES,
    COMPARISON_FLIPS,
    COMPARISONS,
    READY,
    REQUESTS,
    RESTARTS,
    TELEMETRY_DROPPED,
)
from fairlead.monitor.quality.burn import WINDOWS, BurnWindow, factor_for

_ABOUT = "{{ $labels.model }}:{{ $labels.version }}"
_HEAD = "# Written by `fairlead alerts export --prometheus`. What each metric means: docs/reference/metrics.md.\n"


def rules_file(promises: Mapping[str, tuple[Requirement, ...]]) -> str:
    """Return the YAML of a rules file for a server and the promises of its models."""
    groups: list[dict[str, Any]] = [{"name": "fairlead", "rules": _server_rules()}]
    burns = [_burn_rule(query, window) for query in promise_queries(promises) for window in WINDOWS]
    if burns:
        groups.append({"name": "fairlead-promises", "rules": burns})
    return _HEAD + yaml.safe_dump({"groups": groups}, sort_keys=False, width=1000, allow_unicode=True)


def _rule(name: str, expression: str, severity: str, summary: str, *, wait: str = "") -> dict[str, Any]:
    rule: dict[str, Any] = {"alert": name, "expr": expression}
    if wait:
        rule["for"] = wait
    return rule | {"labels": {"severity": severity}, "annotations": {"summary": summary}}


def _server_rules() -> list[dict[str, Any]]:
    failed = f'sum by (instance, model, version) (rate({REQUESTS.full_name}{{code=~"{FAILED}"}}[5m]))'
    every = f"sum by (instance, model, version) (rate({REQUESTS.full_name}[5m]))"
    refused = f'sum by (instance, model) (rate({REQUESTS.full_name}{{code="overloaded"}}[5m]))'
    flips = f'rate({COMPARISON_FLIPS.full_name}{{kind="twin"}}[30m]) / rate({COMPARISONS.full_name}{{kind="twin"}}[30m])'
    share = "{{ $value | humanizePercentage }}"
    return [
        _rule(
            "FairleadNotReady",
            f"{READY.full_name} == 0",
            "page",
            "{{ $labels.instance }} is not ready: a model that should be served is not.",
            wait="1m",
        ),
        _rule("FairleadErrors", f"{failed} / {every} > 0.01", "page", f"{_ABOUT} fails {share} of its requests.", wait="5m"),
        _rule(
            "FairleadOverloaded",
            f"{refused} > 0",
            "ticket",
            "{{ $labels.model }} refuses {{ $value | humanize }} requests a second: more is asked than the server can answer.",
            wait="5m",
        ),
        _rule(
            "FairleadPromiseBroken",
            f"{BROKEN_PROMISES.full_name} > 0",
            "ticket",
            f"{_ABOUT} does not keep the latency that it was registered for.",
            wait="5m",
        ),
        _rule(
            "FairleadWorkersDie",
            f"increase({RESTARTS.full_name}[15m]) > 3",
            "ticket",
            f"Workers of {_ABOUT} were replaced {{{{ $value | humanize }}}} times in 15 minutes.",
        ),
        _rule(
            "FairleadCompressionFlips",
            f"{flips} > 0.02",
            "ticket",
            f"{_ABOUT} decides {share} of the compared requests otherwise than its uncompressed original.",
            wait="30m",
        ),
        _rule(
            "FairleadTelemetryDropped",
            f"increase({TELEMETRY_DROPPED.full_name}[15m]) > 0",
            "ticket",
            "{{ $labels.instance }} drops what it should write to its {{ $labels.sink }}.",
        ),
    ]


def _burn_rule(query: ShareQuery, window: BurnWindow) -> dict[str, Any]:
    fast, slow = span(window.fast_s), span(window.slow_s)
    factor = factor_for(window, query.budget)
    expression = f"{query.rate(fast)} > {factor:g} and {query.rate(slow)} > {factor:g}"
    summary = (
        f"{query.model} uses up what its promise allows ({query.promise}) {{{{ $value | humanize }}}} times as fast as it may, over {slow} "
        f"and still over {fast}."
    )
    rule = _rule(f"Fairlead{query.name}Burn", expression, "page" if window.is_urgent else "ticket", summary)
    rule["labels"] |= {"model": query.model, "window": slow, "promise": query.promise}
    if query.note:
        rule["annotations"]["note"] = query.note
    return rule


def span(seconds: float) -> str:
    """Return a time as Prometheus writes it: 5m, 6h, 3d."""
    for unit, length in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= length and seconds % length == 0:
            return f"{seconds / length:.0f}{unit}"
    return f"{seconds:.0f}s"
