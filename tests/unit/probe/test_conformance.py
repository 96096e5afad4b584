"""Every check of the conformance list passes against a server that is right, and fails against one that does exactly this wrong."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from fake_v2 import FakeV2
from spoilers import SPOILERS, TEXT_SPOILERS

from fairlead.cli.conformance_command import markdown, text
from fairlead.errors import NotFoundError, SpecError, UnavailableError
from fairlead.probe.conformance import server_checks, transport_checks
from fairlead.probe.conformance.run import CHECKS, LINES, ConformanceJob, judge, open_target
from fairlead.probe.stage import probe


@pytest.fixture(autouse=True)
def smaller_bomb(monkeypatch) -> None:
    """The servers here take 1 MiB; a bomb for real ones takes a second to make."""
    monkeypatch.setattr(transport_checks, "_BOMB_BYTES", 8 * 2**20)


REST_CHECKS = {check.name for check in CHECKS if "grpc" not in check.needs}


def test_a_server_that_is_right_passes_every_line() -> None:
    with FakeV2() as fake:
        report = probe(ConformanceJob(fake.url, may_unload=True))
    assert report.conforms
    assert [finding.check for finding in report.findings if finding.status == "fail"] == []
    assert report.counts["pass"] >= 70
    assert {finding.line for finding in report.findings} == set(LINES)


@pytest.mark.parametrize("name", SPOILERS)
def test_a_wrong_server_fails_the_check_that_looks_for_it(name) -> None:
    failed, expected = failures(SPOILERS[name], model=None)
    assert set(expected) <= failed


@pytest.mark.parametrize("name", TEXT_SPOILERS)
def test_a_wrong_server_of_texts_fails_the_check_that_looks_for_it(name) -> None:
    failed, expected = failures(TEXT_SPOILERS[name], model="texts")
    assert set(expected) <= failed


def failures(entry, *, model) -> tuple[set[str], list[str]]:
    """Return which of the checks that should fail do, each against a fresh server: the first one that fails may upset the next."""
    spoiler, expected = entry
    failed = set()
    for wanted in expected:
        check = next(check for check in CHECKS if check.name == wanted and "grpc" not in check.needs)
        spoil = spoiler() if isinstance(spoiler, type) else spoiler
        with FakeV2() as fake:
            target = open_target(ConformanceJob(fake.url, model=model, may_unload=True))
            fake.spoil = spoil
            if wanted == "no error shows the inside":
                target.http.get("/v2/nothing")
            if judge(check, target).status == "fail":
                failed.add(wanted)
    return failed, expected


def test_every_check_has_a_server_that_fails_it() -> None:
    covered = {name for table in (SPOILERS, TEXT_SPOILERS) for _, names in table.values() for name in names}
    assert REST_CHECKS - covered == {"not ready while stopping"}  # which has a test of its own


def test_a_server_that_stays_ready_while_it_stops_fails(monkeypatch) -> None:
    monkeypatch.setattr(server_checks, "_DRAIN_S", 0.2)
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(30)"
    check = next(check for check in CHECKS if check.name == "not ready while stopping")
    with FakeV2() as fake, subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        finding = judge(check, open_target(ConformanceJob(fake.url, drain_pid=process.pid)))
        process.kill()
    assert finding.status == "fail"
    assert finding.is_required


def test_an_extension_that_is_not_listed_is_not_offered_and_costs_nothing() -> None:
    with FakeV2(extensions=[]) as fake:
        report = probe(ConformanceJob(fake.url))
    assert report.conforms
    assert {finding.status for finding in report.findings if finding.line == 10} == {"not offered"}


def test_unloading_is_left_out_unless_it_is_allowed() -> None:
    with FakeV2() as fake:
        report = probe(ConformanceJob(fake.url))
        assert fake.server.loaded == {"m", "texts"}
    assert {finding.check for finding in report.findings if "--allow-unload" in finding.remark} == {
        "load of what is loaded",
        "unload and load",
    }


def test_a_given_request_is_used_instead_of_drawn_rows() -> None:
    request = {"inputs": [{"name": "s", "shape": [1, 1], "datatype": "BYTES", "data": ["ein Wort"]}]}
    with FakeV2() as fake:
        target = open_target(ConformanceJob(fake.url, model="texts", request=request))
    assert target.outputs["s"].tolist() == [["ein Wort"]]


def test_without_a_request_that_works_inference_is_skipped_with_what_came() -> None:
    with FakeV2(spoil=SPOILERS["never ready"][0]) as fake:
        request = {"inputs": [{"name": "s", "shape": [1, 1], "datatype": "BYTES", "data": ["a"]}]}
        report = probe(ConformanceJob(fake.url, model="m", request=request))
    flat = next(finding for finding in report.findings if finding.check == "flat data")
    assert flat.status == "skipped"
    assert "400" in flat.remark


def test_what_cannot_be_asked_is_refused_by_name() -> None:
    with pytest.raises(UnavailableError, match="Nothing answers"):
        probe(ConformanceJob("http://127.0.0.1:9"))
    with pytest.raises(SpecError, match="is not the URL"):
        probe(ConformanceJob("ftp://127.0.0.1"))
    with FakeV2() as fake, pytest.raises(NotFoundError, match="does not describe"):
        probe(ConformanceJob(fake.url, model="nobody"))


def test_the_matrix_has_every_line_and_says_what_is_wrong() -> None:
    with FakeV2(spoil=SPOILERS["forgets the id"][0]) as fake:
        report = probe(ConformanceJob(fake.url))
    printed, table = text(report), markdown(report)
    for number, title in LINES.items():
        assert f"{number:>2}  {title}" in printed
        assert f"| {number} | {title} |" in table
    assert "an id comes back in the answer" in printed
    assert "| id comes back | **fail** |" in table
    assert not report.conforms


def test_the_command_prints_json_and_exits_with_4_where_a_line_fails() -> None:
    command = [sys.executable, "-m", "fairlead", "conformance", "--json"]
    with FakeV2(spoil=SPOILERS["forgets the id"][0]) as fake:
        done = subprocess.run([*command, fake.url], capture_output=True, text=True, check=False)
    assert done.returncode == 4
    failed = [finding["check"] for finding in json.loads(done.stdout)["findings"] if finding["status"] == "fail"]
    assert failed == ["id comes back"]
