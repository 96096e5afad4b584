"""What the dashboard and the rules ask is what a server shows: each metric, with each label that a query, a legend or a sentence names."""

import json
import re
from pathlib import Path

import pytest
import yaml

from fairlead.core.requirement import parse_requirements
from fairlead.monitor.export.grafana_dashboard import dashboard
from fairlead.monitor.export.prometheus_rules import rules_file
from fairlead.monitor.families import FAMILIES, Kind

PROMISES = {"digits": parse_requirements(["p99_ms<=10", "p50_ms<=3"]), "fraud": ()}
FOUND_OUT = {"instance", "job"}  # Prometheus's own
LABELS = {family.full_name: set(family.labels) for family in FAMILIES if family.kind is not Kind.HISTOGRAM}
for family in FAMILIES:
    if family.kind is Kind.HISTOGRAM:
        LABELS |= {
            f"{family.name}_{part}": set(family.labels) | ({"le"} if part == "bucket" else set()) for part in ("bucket", "sum", "count")
        }
METRIC = re.compile(r"\b((?:fairlead|process)_[a-z_]+)(?:\{([^}]*)\})?")
MATCHER = re.compile(r'([a-z_]+)\s*(?:=~|!~|!=|=)\s*"')
BY = re.compile(r"\bby \(([a-z_, ]+)\)")


def queries() -> list[tuple[str, str]]:
    """Every expression, with the text that speaks of its labels."""
    found = [(target["expr"], target["legendFormat"]) for panel in json.loads(dashboard(PROMISES))["panels"] for target in panel["targets"]]
    for group in yaml.safe_load(rules_file(PROMISES))["groups"]:
        found += [(rule["expr"], " ".join(rule["annotations"].values()) + json.dumps(rule["labels"])) for rule in group["rules"]]
    return found


@pytest.mark.parametrize(("expression", "said"), queries())
def test_a_query_asks_for_labels_that_its_metrics_have(expression: str, said: str) -> None:
    metrics = METRIC.findall(expression)
    assert metrics
    for name, matchers in metrics:
        assert name in LABELS
        assert set(MATCHER.findall(matchers)) <= LABELS[name] | FOUND_OUT
    grouped = [{part.strip() for part in group.split(",")} for group in BY.findall(expression)]
    common = set.intersection(*(LABELS[name] for name, _ in metrics)) | FOUND_OUT
    for group in grouped:
        assert group <= common
    left = set.intersection(*grouped) if grouped else common  # what a sum leaves of the labels
    named = set(re.findall(r"\{\{\s*(?:\$labels\.)?([a-z_]+)\s*\}\}", said)) - {"value"}
    assert named <= left


def test_every_metric_that_is_asked_for_is_in_the_documentation() -> None:
    page = (Path(__file__).parents[4] / "docs" / "reference" / "metrics.md").read_text()
    rows = dict(re.findall(r"^\| `([a-z_]+)` \|[^|]*\|[^|]*\| ([^|]*) \|", page, re.MULTILINE))
    for expression, _ in queries():
        for name, _ in METRIC.findall(expression):
            base = name if name in rows else name.rpartition("_")[0]
            assert base in rows
            assert set(re.findall(r"`([a-z_]+)`", rows[base])) == LABELS[name] - {"le"}
