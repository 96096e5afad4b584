"""A benchmark's report for a person: what is wrong is said, and a capacity says how sure it is."""

from __future__ import annotations

from dataclasses import replace

import click
import pytest

from fairlead.cli.bench_text import bench_text
from fairlead.core.target import Machine
from fairlead.probe.load.capacity import Trial, conclude
from fairlead.probe.load.job import LoadJob, Tally
from fairlead.probe.load.report import BenchReport, Setup, sum_up


@pytest.fixture
def report() -> BenchReport:
    """Ten right answers of one to ten milliseconds in a second, from an open loop."""
    tally = Tally(sent_count=10, right_count=10, sent_bytes=1000, received_bytes=2000, measured_s=1.0, cpu_shares=[0.2], connection_count=2)
    for number in range(1, 11):
        tally.times.add(number / 1000)
    job = LoadJob("h", 1, is_secure=False, protocol="http", requests=(b"a",), answers=(), concurrency=4, rate=10.0)
    setup = Setup(
        "fairlead bench x",
        "http://h:1",
        "fake 1",
        "m",
        "",
        "http",
        "json",
        2,
        1,
        "d",
        "open",
        4,
        10.0,
        "poisson",
        1,
        1.0,
        1.0,
        10.0,
        0,
        0.0,
        Machine("", "", 1, 0, (), (), {}),
        {},
    )
    return BenchReport(setup, sum_up(tally, job, 2))


def test_a_clean_run_shows_its_figures(report) -> None:
    printed = click.unstyle(bench_text(report))
    assert "m on fake 1 at http://h:1" in printed
    assert "open loop, 10 requests/s, poisson" in printed
    assert "10/s   20 rows/s   10 requests in 1.0 s" in printed
    assert "right       all" in printed
    assert "max 10" in printed
    assert "100.0%" not in printed
    assert printed.count("█") > 20


def test_what_went_wrong_is_said(report) -> None:
    result = replace(
        report.result, wrong_count=2, errors={"503": 3}, wrong_example='{"y": 1}', client_limits=("it was busy",), alike_count=1
    )
    printed = click.unstyle(bench_text(replace(report, result=result, is_cut_short=True)))
    assert "10 (1 in other bytes)   2 wrong, 3 x 503" in printed
    assert "The client was the bottleneck (it was busy)" in printed
    assert 'A wrong answer: {"y": 1}' in printed
    assert "Cut short" in printed


def test_a_capacity_says_how_sure_it_is(report) -> None:
    good = [Trial(100.0, 5000, 0, 1.0)] * 4
    bad = [Trial(104.0, 5000, 900, 9.0)] * 2
    sure = click.unstyle(bench_text(replace(report, capacity=conclude([*bad, *good]))))
    assert "capacity    100 requests/s" in sure
    assert "held in 4 of 4 runs; with 95 % confidence at most 0.01% are late\n" in sure
    assert "above       104/s did not hold" in sure
    assert "tried       104 ✗✗, 100 ✓✓✓✓" in sure
    unsure = click.unstyle(bench_text(replace(report, capacity=conclude([replace(trial, sent_count=50) for trial in good]))))
    assert "not sure, let it run longer" in unsure
    nothing = click.unstyle(bench_text(replace(report, capacity=conclude(bad))))
    assert "capacity    none found" in nothing
