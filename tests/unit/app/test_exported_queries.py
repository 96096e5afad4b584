"""A running server's own metrics page against every query of the dashboard and the rules."""

import re
import urllib.request

from fairlead.app.observing import observing
from fairlead.app.registry_source import RegistrySource
from fairlead.core.requirement import parse_requirements
from fairlead.monitor.export.grafana_dashboard import dashboard
from fairlead.monitor.export.prometheus_rules import rules_file
from fairlead.monitor.families import FAMILIES, Kind
from fairlead.serve.server import ServeJob, ServerThread
from fairlead.settings import Settings

PROMISES = {"pets": parse_requirements(["p99_ms<=10"])}
METRIC = re.compile(r"\b((?:fairlead|process)_[a-z_]+)(?:\{([^}]*)\})?")


def test_a_running_server_shows_what_is_asked_for(stocked) -> None:
    with observing(Settings(), lambda name, number: (), lambda line: None) as observers:
        job = ServeJob(RegistrySource(stocked), port=0, sink=observers.watcher, metrics=observers.metrics, default_model="pets")
        with ServerThread(job) as server:
            body = b'{"input": [[1, 2, 3, 4]]}'
            urllib.request.urlopen(urllib.request.Request(f"{server.url}/predict", body), timeout=30).close()
            with urllib.request.urlopen(f"{server.url}/metrics", timeout=30) as answer:
                page = answer.read().decode()
    shown = {name: set(re.findall(r'([a-z_]+)="', labels)) for name, labels in METRIC.findall(page)}
    asked = {name for name, _ in METRIC.findall(dashboard(PROMISES) + rules_file(PROMISES))}
    labels = {family.name: set(family.labels) | ({"le"} if family.kind is Kind.HISTOGRAM else set()) for family in FAMILIES}
    without = set()
    for name in asked:
        base = next((known for known in sorted(labels, key=len, reverse=True) if name.startswith(known)), "")
        assert base, f"{name} is no metric of a server"
        if name in shown:
            assert shown[name] <= labels[base]
            assert shown[name] | {"le"} >= labels[base]
        else:
            without.add(base)
    nothing_yet = {"fairlead_comparisons", "fairlead_comparison_flips", "fairlead_traffic_requests", "fairlead_late_labels"}
    assert without == nothing_yet, "nothing was compared, divided or told late"
