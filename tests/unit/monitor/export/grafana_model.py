"""Grafana's dashboard model as it is documented, as far as our dashboard uses it: which fields there are, of which kind, and which must be.

Facts from github.com/grafana/grafana: kinds/dashboard/dashboard_kind.cue (dashboard, panels, grid, field configuration, variables), the
panel kind of public/app/plugins/panel/timeseries/panelcfg.cue with VizLegendOptions and VizTooltipOptions of packages/grafana-schema, and
public/app/plugins/datasource/prometheus/dataquery.cue. `problems` says what a model has that they do not know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

Check = Callable[[Any, str], Iterator[str]]


class Field(NamedTuple):
    check: Check
    is_needed: bool = False


def text(value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, str):
        yield f"{path} is no text"


def flag(value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, bool):
        yield f"{path} is no flag"


def number(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        yield f"{path} is no number"


def whole(least: int = 0, most: int = 2**32 - 1) -> Check:
    def check(value: Any, path: str) -> Iterator[str]:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            yield f"{path} is {value!r}, no whole number from {least} to {most}"

    return check


def one_of(*values: Any) -> Check:
    def check(value: Any, path: str) -> Iterator[str]:
        if value not in values or isinstance(value, bool):
            yield f"{path} is {value!r}, none of {values}"

    return check


def every(check: Check) -> Check:
    def checked(value: Any, path: str) -> Iterator[str]:
        if not isinstance(value, list):
            yield f"{path} is no list"
            return
        for place, item in enumerate(value):
            yield from check(item, f"{path}[{place}]")

    return checked


def made_of(fields: Mapping[str, Field]) -> Check:
    def check(value: Any, path: str) -> Iterator[str]:
        if not isinstance(value, dict):
            yield f"{path} is no object"
            return
        for name in value.keys() - fields.keys():
            yield f"{path}.{name} is not in the model"
        for name, field in fields.items():
            if name in value:
                yield from field.check(value[name], f"{path}.{name}")
            elif field.is_needed:
                yield f"{path}.{name} is missing"

    return check


def query(value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, str):
        yield from made_of({"query": Field(text, True), "refId": Field(text, True)})(value, path)


SOURCE = made_of({"type": Field(text), "uid": Field(text)})
TARGET = made_of(
    {
        "refId": Field(text, True),
        "expr": Field(text, True),
        "datasource": Field(SOURCE),
        "legendFormat": Field(text),
        "instant": Field(flag),
        "range": Field(flag),
        "format": Field(one_of("time_series", "table", "heatmap")),
        "hide": Field(flag),
    }
)
LEGEND = made_of(
    {
        "displayMode": Field(one_of("list", "table", "hidden"), True),
        "placement": Field(one_of("bottom", "right"), True),
        "showLegend": Field(flag, True),
        "calcs": Field(every(text), True),
    }
)
TOOLTIP = made_of({"mode": Field(one_of("single", "multi", "none"), True), "sort": Field(one_of("asc", "desc", "none"), True)})
DEFAULTS = made_of({"unit": Field(text), "min": Field(number), "max": Field(number), "decimals": Field(number), "noValue": Field(text)})
PANEL = made_of(
    {
        "id": Field(whole(1)),
        "type": Field(one_of("timeseries"), True),
        "title": Field(text),
        "description": Field(text),
        "datasource": Field(SOURCE),
        "gridPos": Field(
            made_of({"x": Field(whole(0, 23), True), "y": Field(whole(), True), "w": Field(whole(1, 24), True), "h": Field(whole(1), True)})
        ),
        "fieldConfig": Field(made_of({"defaults": Field(DEFAULTS, True), "overrides": Field(every(flag), True)}), True),
        "options": Field(made_of({"legend": Field(LEGEND, True), "tooltip": Field(TOOLTIP, True)}), True),
        "targets": Field(every(TARGET)),
        "transparent": Field(flag),
    }
)
VARIABLE = made_of(
    {
        "name": Field(text, True),
        "type": Field(one_of("query", "adhoc", "constant", "datasource", "interval", "textbox", "custom", "system"), True),
        "label": Field(text),
        "hide": Field(one_of(0, 1, 2)),
        "query": Field(query),
        "datasource": Field(SOURCE),
        "current": Field(made_of({"text": Field(text, True), "value": Field(text, True)})),
        "refresh": Field(one_of(0, 1, 2)),
        "includeAll": Field(flag),
        "multi": Field(flag),
        "allValue": Field(text),
        "sort": Field(whole(0, 8)),
    }
)
DASHBOARD = made_of(
    {
        "uid": Field(text),
        "title": Field(text, True),
        "description": Field(text),
        "tags": Field(every(text)),
        "schemaVersion": Field(whole(36, 41), True),
        "version": Field(whole()),
        "editable": Field(flag),
        "graphTooltip": Field(one_of(0, 1, 2)),
        "timezone": Field(text),
        "refresh": Field(text),
        "time": Field(made_of({"from": Field(text, True), "to": Field(text, True)})),
        "annotations": Field(made_of({"list": Field(every(flag))})),
        "links": Field(every(flag)),
        "templating": Field(made_of({"list": Field(every(VARIABLE))})),
        "panels": Field(every(PANEL)),
    }
)


def problems(model: object) -> list[str]:
    """Return what is not as Grafana's model has it."""
    return list(DASHBOARD(model, "dashboard"))
