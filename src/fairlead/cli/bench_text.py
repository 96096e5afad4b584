"""A BenchReport for a person: what was measured, the figures, a histogram, and what to think of it."""

from __future__ import annotations

import click

from fairlead.probe.load.capacity import Capacity
from fairlead.probe.load.report import BenchReport, Result, Setup

_LABEL = 12
_BAR = 40
_EIGHTHS = " ▏▎▍▌▋▊▉"


def bench_text(report: BenchReport) -> str:
    """Return the report."""
    setup, result = report.setup, report.result
    lines = [_title(setup), *_figures(setup, result), "", *_histogram(result)]
    if report.capacity is not None:
        lines = [_title(setup), *_capacity(report.capacity, setup), "", _bold("the last run at that rate"), *lines[1:]]
    notes = _notes(report)
    return "\n".join([*lines, *([""] if notes else []), *notes])


def _title(setup: Setup) -> str:
    how = (
        f"open loop, {setup.rate:,.0f} requests/s, {setup.arrivals}"
        if setup.loop == "open"
        else f"closed loop, {setup.concurrency} at once"
    )
    tensors = {"raw": "gRPC, raw tensors", "binary": "HTTP, binary tensors", "json": "HTTP, JSON"}[setup.payload]
    rows = f"{setup.rows} row{'s' if setup.rows > 1 else ''} a request"
    where = f"{setup.model}{f', version {setup.version}' if setup.version else ''} on {setup.server} at {setup.url}"
    return f"{_bold(where)}\n{tensors}, {rows}; {how}; {setup.duration_s:g} s after {setup.warm_up_s:g} s of warm-up"


def _figures(setup: Setup, result: Result) -> list[str]:
    percentiles = [f"{name} {_ms(value)}" for name, value in result.percentiles_ms.items()]
    rows = f"   {result.rows_per_s:,.0f} rows/s" if setup.rows > 1 else ""
    received = result.received_bytes / (result.measured_s or 1) / 1e6
    sent = result.sent_bytes / (result.measured_s or 1) / 1e6
    lines = [
        "",
        _line("answers", f"{_bold(f'{result.answers_per_s:,.0f}/s')}{rows}   {result.sent_count:,} requests in {result.measured_s:.1f} s"),
        _line("right", _right(result)),
        _line("latency ms", "   ".join([*percentiles, f"max {_ms(result.largest_ms)}"])),
        _line("", f"mean {_ms(result.mean_ms)}   min {_ms(result.smallest_ms)}   percentiles within 1 %"),
        _line("bytes", f"{sent:,.1f} MB/s out, {received:,.1f} MB/s in, {result.connection_count} connections"),
    ]
    lag = f", sent late by p99 {_ms(result.sender_lag_p99_ms)} ms, max {_ms(result.sender_lag_largest_ms)}" if setup.loop == "open" else ""
    return [*lines, _line("client", f"{result.client_cpu_share:.0%} of a processor{lag}")]


def _right(result: Result) -> str:
    bad = [f"{count:,} x {reason}" for reason, count in result.errors.items()]
    if result.wrong_count:
        bad.insert(0, f"{result.wrong_count:,} wrong")
    alike = f" ({result.alike_count:,} in other bytes)" if result.alike_count else ""
    if bad:
        return f"{result.right_count:,}{alike}   {click.style(', '.join(bad), fg='red')}"
    return click.style(f"all{alike}", fg="green")


def _histogram(result: Result) -> list[str]:
    largest = max((count for _, _, count in result.bars), default=0)
    total = sum(count for _, _, count in result.bars)
    return [
        f"  {_ms(low):>8} - {_ms(high):>8} ms  {_bar(count / largest):<{_BAR}} {count / total:>6.1%}  {count:,}"
        for low, high, count in result.bars
    ]


def _bar(share: float) -> str:
    eighths = round(share * _BAR * 8)
    if share > 0 and eighths == 0:
        eighths = 1
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def _capacity(capacity: Capacity, setup: Setup) -> list[str]:
    lines = ["", _line("capacity", _bold(f"{capacity.rate:,.0f} requests/s") if capacity.rate else click.style("none found", fg="red"))]
    if capacity.rate:
        runs = f"held in {capacity.kept_count} of {capacity.run_count} runs"
        sure = f"{runs}; with 95 % confidence at most {capacity.late_ratio_limit:.2%} are late"
        lines.append(_line("how sure", sure if capacity.is_sure else f"{sure}: not sure, let it run longer (--duration)"))
    if capacity.failed_rate is not None:
        lines.append(_line("above", f"{capacity.failed_rate:,.0f}/s did not hold{f': {capacity.limit}' if capacity.limit else ''}"))
    marks: dict[float, str] = {}
    for trial in capacity.trials:
        marks[trial.rate] = marks.get(trial.rate, "") + ("✓" if trial.holds else "✗")
    tried = ", ".join(f"{rate:,.0f} {kept}" for rate, kept in marks.items())
    return [*lines, _line("tried", f"{tried}   ({setup.duration_s:g} s each)")]


def _notes(report: BenchReport) -> list[str]:
    result = report.result
    notes = []
    if report.is_cut_short:
        notes.append(f"Cut short: {result.measured_s:.1f} s were measured.")
    notes += [
        f"The client was the bottleneck ({limit}): the server may do better. More --processes, or another machine."
        for limit in result.client_limits
    ]
    if result.wrong_example:
        notes.append(f"A wrong answer: {' '.join(result.wrong_example.split())}")
    return [click.style(f"  {note}", fg="yellow") for note in notes]


def _line(label: str, text: str) -> str:
    return f"  {click.style(f'{label:<{_LABEL}}', fg='cyan')}{text}"


def _ms(value: float) -> str:
    """Three figures: more would claim more than was measured."""
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def _bold(text: str) -> str:
    return click.style(text, bold=True)
