"""A dashboard for Grafana over the metrics of a server: traffic, latency, errors, promises, releases, memory. Pure.

Takes promises by model; gives the JSON that Grafana imports (dashboard model of schema version 39, Grafana 10.3 and later; see
https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/). It asks for metrics that a server has and
for nothing else; which Prometheus it asks is chosen in Grafana.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from fairlead.core.requirement import Requirement
from fairlead.monitor.export.promise_queries import promise_queries
from fairlead.monitor.families import (
    BROKEN_PROMISES,
    COMPARISON_FLIPS,
    COMPARISONS,
    CPU,
    DURATION,
    IN_FLIGHT,
    LATE_LABELS,
    QUEUED,
    READY,
    REQUESTS,
    RESIDENT,
    ROWS,
    TRAFFIC_REQUESTS,
    VERSION_MEMORY,
)

SCHEMA_VERSION = 39
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_WIDTH, _HEIGHT, _COLUMNS = 8, 8, 3
_OF = 'model=~"$model"'
_BY = "sum by (model, version)"
_OPTIONS = {
    "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
    "tooltip": {"mode": "multi", "sort": "desc"},
}
_OURS = ',code!~"ok|bad_request|too_large|cancelled"'  # errors that are no mistake of the caller


class Panel(NamedTuple):
    """A graph: its title, unit (Grafana's name), and (expression, legend) pairs."""

    title: str
    unit: str
    queries: Sequence[tuple[str, str]]
    description: str = ""


def dashboard(promises: Mapping[str, tuple[Requirement, ...]]) -> str:
    """Return the dashboard's JSON."""
    panels = [_panel(place, panel) for place, panel in enumerate((*_PANELS, *_promise_panels(promises)))]
    model = {
        "uid": "fairlead",
        "title": "Fairlead",
        "tags": ["fairlead"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "timezone": "browser",
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "annotations": {"list": []},
        "links": [],
        "templating": {"list": [_source_variable(), _model_variable()]},
        "panels": panels,
    }
    return json.dumps(model, indent=2) + "\n"


def _promise_panels(promises: Mapping[str, tuple[Requirement, ...]]) -> tuple[Panel, ...]:
    """Return a graph of burn rates: 1 uses a promise up just as fast as it may be."""
    queries = [(query.rate("1h"), f"{query.model}: {query.promise}") for query in promise_queries(promises)]
    about = "How fast what a promise allows is used up, over an hour: 1 is as fast as it may, 14.4 wakes somebody."
    return (Panel("Burn of promises", "none", queries, about),) if queries else ()


def _panel(place: int, panel: Panel) -> dict[str, Any]:
    targets = [
        {"refId": chr(ord("A") + number % 26) * (number // 26 + 1), "datasource": _SOURCE, "expr": expression, "legendFormat": legend}
        for number, (expression, legend) in enumerate(panel.queries)
    ]
    return {
        "id": place + 1,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.description,
        "datasource": _SOURCE,
        "gridPos": {"x": place % _COLUMNS * _WIDTH, "y": place // _COLUMNS * _HEIGHT, "w": _WIDTH, "h": _HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": _OPTIONS,
        "targets": targets,
    }


def _source_variable() -> dict[str, Any]:
    return {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "hide": 0}


def _model_variable() -> dict[str, Any]:
    return {
        "name": "model",
        "label": "Model",
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": f"label_values({REQUESTS.full_name}, model)", "refId": "models"},
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
        "sort": 1,
        "hide": 0,
    }


def _quantile(share: float) -> str:
    return f"histogram_quantile({share:g}, sum by (model, version, le) (rate({DURATION.full_name}_bucket{{{_OF}}}[$__rate_interval])))"


def _rate(name: str, more: str = "", by: str = _BY) -> str:
    return f"{by} (rate({name}{{{_OF}{more}}}[$__rate_interval]))"


_BY_KIND = "sum by (model, version, kind)"
_NAME = "{{model}}:{{version}}"
_PANELS = (
    Panel("Requests", "reqps", [(_rate(REQUESTS.full_name), _NAME)]),
    Panel("Rows", "short", [(_rate(ROWS.full_name), _NAME)], "Rows a second in answered requests."),
    Panel(
        "Requests that were not answered",
        "percentunit",
        [(f"{_rate(REQUESTS.full_name, _OURS)} / {_rate(REQUESTS.full_name)}", _NAME)],
    ),
    Panel("Median latency", "s", [(_quantile(0.5), _NAME)]),
    Panel("99th percentile of the latency", "s", [(_quantile(0.99), _NAME)]),
    Panel(
        "Requests that wait and run",
        "short",
        [(f"{QUEUED.full_name}{{{_OF}}}", f"{_NAME} waits"), (f"{IN_FLIGHT.full_name}{{{_OF}}}", _NAME)],
    ),
    Panel("Latency promises that are broken", "short", [(f"{BROKEN_PROMISES.full_name}{{{_OF}}}", _NAME)]),
    Panel("Requests by arm of a release", "reqps", [(_rate(TRAFFIC_REQUESTS.full_name, by="sum by (model, arm)"), "{{model}} {{arm}}")]),
    Panel(
        "Decisions that differ",
        "percentunit",
        [(f"{_rate(COMPARISON_FLIPS.full_name, by=_BY_KIND)} / {_rate(COMPARISONS.full_name, by=_BY_KIND)}", f"{_NAME} {{{{kind}}}}")],
        "Of requests that were answered twice: by a candidate (shadow), by the uncompressed original (twin).",
    ),
    Panel("Late labels", "short", [(_rate(LATE_LABELS.full_name, by="sum by (model, result)"), "{{model}} {{result}}")]),
    Panel("Memory of versions", "bytes", [(f"{VERSION_MEMORY.full_name}{{{_OF}}}", _NAME)]),
    Panel("Memory of the server", "bytes", [(RESIDENT.full_name, "{{instance}}")]),
    Panel("Processor", "short", [(f"rate({CPU.full_name}[$__rate_interval])", "{{instance}}")], "Cores in use."),
    Panel("Ready", "short", [(READY.full_name, "{{instance}}")]),
)
