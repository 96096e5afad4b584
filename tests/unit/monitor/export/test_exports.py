import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from grafana_model import problems

from fairlead.core.requirement import parse_requirement, parse_requirements
from fairlead.monitor.export.grafana_dashboard import SCHEMA_VERSION, dashboard
from fairlead.monitor.export.prometheus_rules import rules_file, span
from fairlead.monitor.export.promise_queries import latency, promise_queries
from fairlead.monitor.families import FAMILIES
from fairlead.monitor.quality.burn import WINDOWS, budget_of, burn_rates, counted, factor_for, most_urgent

PROMISES = {"digits": parse_requirements(["p99_ms<=10", "p50_ms<=3", "accuracy>=0.95"]), "fraud": ()}
NAMES = {family.full_name for family in FAMILIES} | {f"{family.name}_{part}" for family in FAMILIES for part in ("bucket", "sum", "count")}
promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool comes with Prometheus (Debian: prometheus)")


def asked(text: str) -> set[str]:
    return set(re.findall(r"(?:fairlead|process)_[a-z_]+", text))


def test_rules_and_dashboard_ask_for_metrics_that_there_are() -> None:
    rules = yaml.safe_load(rules_file(PROMISES))
    expressions = " ".join(rule["expr"] for group in rules["groups"] for rule in group["rules"])
    panels = json.loads(dashboard(PROMISES))["panels"]
    queries = " ".join(target["expr"] for panel in panels for target in panel["targets"])
    assert asked(expressions)
    assert asked(expressions) | asked(queries) <= NAMES


def test_each_promise_has_a_rule_for_each_pair_of_windows() -> None:
    rules = yaml.safe_load(rules_file(PROMISES))
    (burns,) = (group["rules"] for group in rules["groups"] if group["name"] == "fairlead-promises")
    assert len(burns) == 4 * len(WINDOWS), "errors of two models, two latencies of one"
    assert {rule["labels"]["severity"] for rule in burns} == {"page", "ticket"}


def test_a_bound_between_two_buckets_is_said_and_one_beyond_all_is_not_watched() -> None:
    exact = latency("digits", parse_requirement("p99_ms<=10"))
    between = latency("digits", parse_requirement("p99_ms<=3"))
    assert exact is not None
    assert (exact.note, 'le="0.01"' in exact.bad) == ("", True)
    assert between is not None
    assert "5 ms" in between.note
    assert latency("digits", parse_requirement("p99_ms<=60000")) is None
    assert latency("digits", parse_requirement("p99_ms@32<=10")) is None
    assert [query.name for query in promise_queries({"a": ()})] == ["Errors"]


def test_times_are_written_as_prometheus_reads_them() -> None:
    assert [span(seconds) for seconds in (300.0, 3600.0, 3 * 86_400.0, 90.0)] == ["5m", "1h", "3d", "90s"]


@promtool
def test_prometheus_takes_the_rules(tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(rules_file(PROMISES))
    checked = subprocess.run(
        ["promtool", "check", "rules", tmp_path / "rules.yml"], capture_output=True, text=True, timeout=60, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "19 rules found" in checked.stdout


@promtool
def test_a_slow_model_burns_its_promise_in_prometheus_and_a_fast_one_does_not(tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(rules_file(PROMISES))
    slow = 'fairlead_request_duration_seconds_bucket{model="digits",version="1",le="0.01"}'
    scenes = [
        {"series": slow, "values": "0+50x120"},
        {"series": 'fairlead_request_duration_seconds_count{model="digits",version="1"}', "values": "0+100x120"},
        {"series": 'fairlead_requests_total{model="fraud",version="1",transport="http",code="ok"}', "values": "0+100x120"},
    ]
    summary = "digits uses up what its promise allows (p99_ms<=10) 50 times as fast as it may, over {slow} and still over {fast}."
    fired = [
        {
            "exp_labels": {"model": "digits", "severity": "page", "window": slow, "promise": "p99_ms<=10"},
            "exp_annotations": {"summary": summary.format(slow=slow, fast=fast)},
        }
        for slow, fast in (("1h", "5m"), ("6h", "30m"))
    ]
    late = {"model": "digits", "severity": "ticket", "window": "3d", "promise": "p99_ms<=10"}
    fired.append({"exp_labels": late, "exp_annotations": {"summary": summary.format(slow="3d", fast="6h")}})
    cases = [
        {"eval_time": "90m", "alertname": "FairleadLatencyBurn", "exp_alerts": fired},
        {"eval_time": "90m", "alertname": "FairleadErrorsBurn", "exp_alerts": []},
    ]
    test = {"rule_files": ["rules.yml"], "tests": [{"interval": "1m", "input_series": scenes, "alert_rule_test": cases}]}
    (tmp_path / "test.yml").write_text(yaml.safe_dump(test))
    checked = subprocess.run(["promtool", "test", "rules", tmp_path / "test.yml"], capture_output=True, text=True, timeout=60, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_dashboard_is_one_that_grafana_imports() -> None:
    model = json.loads(dashboard(PROMISES))
    assert problems(model) == []
    assert model["schemaVersion"] == SCHEMA_VERSION
    panels = model["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
    assert len(places) == len(panels)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)
    variables = {one["name"] for one in model["templating"]["list"]}
    used = set(re.findall(r"\$\{?([a-z]+)\}?", json.dumps(panels)))
    assert used <= variables | {"__rate_interval"}
    assert all(target["refId"] and target["datasource"]["uid"] == "${datasource}" for panel in panels for target in panel["targets"])
    assert panels[-1]["title"] == "Burn of promises"


def test_what_grafana_does_not_know_is_found() -> None:
    model = json.loads(dashboard(PROMISES))
    del model["panels"][0]["options"]["legend"]["calcs"]
    model["panels"][1] |= {"span": 4, "gridPos": {"x": 24, "y": 0, "w": 8, "h": 8}}
    model["templating"]["list"][0]["type"] = "datasources"
    found = problems(model)
    assert [one.split(" ")[0] for one in found] == [
        "dashboard.templating.list[0].type",
        "dashboard.panels[0].options.legend.calcs",
        "dashboard.panels[1].span",
        "dashboard.panels[1].gridPos.x",
    ]


def test_budgets_are_what_promises_leave_over() -> None:
    texts = ("p99_ms<=5", "p50_ms<=5", "accuracy>=0.95", "f1>=0.9", "accuracy_drop<=0.01")
    budgets = {text: budget_of(parse_requirement(text)) for text in texts}
    assert budgets == {
        "p99_ms<=5": 0.01,
        "p50_ms<=5": 0.5,
        "accuracy>=0.95": pytest.approx(0.05),
        "f1>=0.9": None,
        "accuracy_drop<=0.01": None,
    }


def test_a_budget_burns_when_both_windows_say_so() -> None:
    import numpy as np

    now = 100_000.0
    at = now - np.arange(0.0, 7200.0, 1.0)
    always = counted(at, at >= 0)
    over = counted(at, at < now - 1800.0)  # bad until half an hour ago
    assert most_urgent(burn_rates(always, 0.01, now)) is not None
    rates = burn_rates(over, 0.01, now)
    assert rates[0].slow > 14.4 > rates[0].fast
    assert not rates[0].is_burning
    few = counted(at[:5], at[:5] >= 0)
    assert most_urgent(burn_rates(few, 0.01, now)) is None
    assert burn_rates((), 0.01, now)[0].slow == 0.0


def test_a_budget_that_can_hardly_burn_faster_has_a_factor_that_it_can_reach() -> None:
    assert factor_for(WINDOWS[0], 0.01) == 14.4
    assert factor_for(WINDOWS[0], 0.5) == 1.5
