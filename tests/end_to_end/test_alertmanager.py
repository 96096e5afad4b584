"""Debian's Prometheus and Alertmanager: our rules fire and resolve there, our own alerts reach it and end there, its messages are ours."""

from __future__ import annotations

import http.server
import json
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from receivers import Receiver as Listener

from fairlead.app.alert_admin import NewReceiver, add_receiver, try_out
from fairlead.app.alert_delivery import deliver
from fairlead.app.alerting import example_alert
from fairlead.app.wiring import build_house
from fairlead.core.alert import Alert, AlertPhase, Receiver, ReceiverKind, fingerprint
from fairlead.core.requirement import parse_requirements
from fairlead.monitor.alerts.forms import webhook_message
from fairlead.monitor.alerts.telling import Notice
from fairlead.monitor.export.prometheus_rules import rules_file

MANAGER, PROMETHEUS = shutil.which("prometheus-alertmanager"), shutil.which("prometheus")
pytestmark = [
    pytest.mark.skipif(MANAGER is None, reason="Alertmanager is not installed (Debian package prometheus-alertmanager)"),
    pytest.mark.skipif(PROMETHEUS is None, reason="Prometheus is not installed (Debian package prometheus)"),
]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(condition: Callable[[], bool], what: str, timeout_s: float = 60.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, f"did not happen in time: {what}"
        time.sleep(0.05)


@contextmanager
def running(command: list[str], ready: str, folder: Path) -> Iterator[None]:
    log = folder / "log"
    with log.open("wb") as sink, subprocess.Popen(command, cwd=folder, stdout=sink, stderr=sink) as child:
        try:

            def answers() -> bool:
                assert child.poll() is None, log.read_text()
                try:
                    with urllib.request.urlopen(ready, timeout=5) as response:
                        return bool(response.status == 200)
                except OSError:
                    return False

            until(answers, ready)
            yield
        finally:
            child.terminate()
            child.wait(30)


@pytest.fixture
def listener() -> Iterator[Listener]:
    listening = Listener(200)
    yield listening
    listening.close()


@pytest.fixture
def manager(listener: Listener, tmp_path: Path) -> Iterator[str]:
    """Alertmanager, which tells `listener` of everything at once."""
    folder = tmp_path / "manager"
    folder.mkdir()
    route = {
        "receiver": "hook",
        "group_by": ["alertname", "model"],
        "group_wait": "50ms",
        "group_interval": "100ms",
        "repeat_interval": "1h",
    }
    hook = {"name": "hook", "webhook_configs": [{"url": listener.url, "send_resolved": True}]}
    (folder / "config.yml").write_text(yaml.safe_dump({"route": route, "receivers": [hook]}))
    url = f"http://127.0.0.1:{free_port()}"
    command = [
        str(MANAGER),
        "--config.file=config.yml",
        "--storage.path=data",
        f"--web.listen-address={url[7:]}",
        "--cluster.listen-address=",
    ]
    with running(command, f"{url}/-/ready", folder):
        yield url


def seen(listener: Listener, name: str) -> list[tuple[str, dict[str, Any]]]:
    """Every (status, alert) of that name in the messages so far."""
    return [(one["status"], one) for message in listener.messages for one in message["alerts"] if one["labels"]["alertname"] == name]


def test_our_alerts_reach_alertmanager_and_end_there(manager: str, listener: Listener, tmp_path: Path) -> None:
    house = build_house(tmp_path / "home")
    house = replace(house, settings=replace(house.settings, allow_private_webhooks=True))
    added = add_receiver(NewReceiver(ReceiverKind.ALERTMANAGER, manager), house)
    try_out(added.id, house)
    until(lambda: bool(seen(listener, "FairleadTest")), "the test alert arrives")
    alert = drift(house.clock())
    assert [attempt.problem for attempt in deliver((alert,), house)] == [""]
    until(lambda: bool(seen(listener, "Drift")), "the alert arrives")
    status, told = seen(listener, "Drift")[0]
    assert (status, told["labels"]) == ("firing", dict(alert.labels))
    assert told["annotations"] == dict(alert.annotations)
    ended = replace(alert, phase=AlertPhase.RESOLVED, resolved_at=house.clock())
    assert [attempt.problem for attempt in deliver((ended,), house)] == [""]
    until(lambda: "resolved" in [one for one, _ in seen(listener, "Drift")], "its end arrives")


def test_our_webhook_message_has_what_alertmanagers_has(manager: str, listener: Listener) -> None:
    now = time.time()
    alert = drift(now)
    body = json.dumps([{"labels": dict(alert.labels), "annotations": dict(alert.annotations)}]).encode()
    request = urllib.request.Request(f"{manager}/api/v2/alerts", body, {"Content-Type": "application/json"})
    urllib.request.urlopen(request, timeout=30).close()
    until(lambda: bool(seen(listener, "Drift")), "the alert arrives")
    theirs = next(message for message in listener.messages if message["commonLabels"]["alertname"] == "Drift")
    ours = json.loads(webhook_message(notice(alert), Receiver("hook", ReceiverKind.WEBHOOK, "", (), "me", 0.0)))
    assert set(theirs) == set(ours)
    assert set(theirs["alerts"][0]) == set(ours["alerts"][0])
    same = ("version", "status", "receiver", "groupLabels", "commonLabels", "commonAnnotations", "truncatedAlerts", "groupKey")
    assert {name: theirs[name] for name in same} == {name: ours[name] for name in same}
    assert theirs["alerts"][0]["endsAt"] == ours["alerts"][0]["endsAt"]


def test_our_rules_fire_in_prometheus_and_resolve(manager: str, listener: Listener, tmp_path: Path) -> None:
    folder = tmp_path / "prometheus"
    folder.mkdir()
    rules = yaml.safe_load(rules_file({"digits": parse_requirements(["p99_ms<=10"])}))
    for group in rules["groups"]:
        group["interval"] = "200ms"
        for rule in group["rules"]:
            rule.pop("for", None)  # what is tested is not patience
    (folder / "rules.yml").write_text(yaml.safe_dump(rules))
    with page_server() as page:
        config = {
            "global": {"scrape_interval": "200ms", "scrape_timeout": "200ms", "evaluation_interval": "200ms"},
            "rule_files": ["rules.yml"],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [manager[7:]]}]}]},
            "scrape_configs": [{"job_name": "fairlead", "static_configs": [{"targets": [f"127.0.0.1:{page.port}"]}]}],
        }
        (folder / "config.yml").write_text(yaml.safe_dump(config))
        url = f"http://127.0.0.1:{free_port()}"
        command = [str(PROMETHEUS), "--config.file=config.yml", "--storage.tsdb.path=data", f"--web.listen-address={url[7:]}"]
        with running(command, f"{url}/-/ready", folder):
            page.text = "fairlead_ready 0\n"
            until(lambda: bool(seen(listener, "FairleadNotReady")), "the rule fires")
            assert seen(listener, "FairleadNotReady")[0][0] == "firing"
            page.text = "fairlead_ready 1\n"
            until(lambda: "resolved" in [one for one, _ in seen(listener, "FairleadNotReady")], "it resolves")


class Page:
    """A metrics page that says what it is told."""

    def __init__(self) -> None:
        self.text = "fairlead_ready 1\n"
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.end_headers()
                self.wfile.write(outer.text.encode())

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = False
        self.server.block_on_close = True
        self.port = self.server.server_port


@contextmanager
def page_server() -> Iterator[Page]:
    page = Page()
    thread = threading.Thread(target=page.server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield page
    finally:
        page.server.shutdown()
        thread.join()
        page.server.server_close()


def drift(now: float) -> Alert:
    labels = {"alertname": "Drift", "model": "digits", "severity": "warning", "subject": 'größe "x"'}
    return Alert(labels, {"summary": "age moved"}, 1.0, AlertPhase.FIRING, now, fired_at=now)


def notice(alert: Alert) -> Notice:
    labels = {"alertname": alert.labels["alertname"], "model": alert.labels["model"]}
    return Notice(fingerprint(labels), labels, (alert,), {alert.fingerprint: alert.fired_at})


def test_a_test_alert_says_that_it_is_one(tmp_path: Path) -> None:
    assert "Nothing is wrong" in example_alert(build_house(tmp_path / "home")).annotations["summary"]
