"""`fairlead conformance`: whether a server keeps to the Open Inference Protocol V2, line by line."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from fairlead.app.conformance import conformance as run_conformance
from fairlead.cli.printing import emit_json, json_option
from fairlead.errors import RejectedError
from fairlead.probe.conformance.run import LINES, ConformanceReport, Finding, kind_of

_CLEAR = "\r\x1b[K"
_MARKS = {
    "pass": click.style("✓", fg="green"),
    "fail": click.style("✗", fg="red", bold=True),
    "advice": click.style("!", fg="yellow"),
    "not offered": click.style("-", dim=True),
    "skipped": click.style("·", dim=True),
}
_WORDS = {"pass": "pass", "fail": "**fail**", "advice": "fail (advice)", "not offered": "not offered", "skipped": "skipped"}


@click.command()
@click.argument("url")
@click.option("--grpc", default="", metavar="HOST:PORT", help="Where the server speaks gRPC; without it, those lines are skipped.")
@click.option("--model", metavar="NAME", help="Which model to ask.  [default: the first that is ready]")
@click.option("--request", type=click.Path(path_type=Path), help="A JSON request that works, where drawn rows do not.")
@click.option("--allow-unload", is_flag=True, help="Also unload and load the model.")
@click.option("--drain-pid", type=click.IntRange(1), default=None, metavar="PID", help="Also stop the server, this process, at the end.")
@click.option("--all", "is_full", is_flag=True, help="List the checks that passed, too.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print a table for documents.")
@json_option
def conformance(
    url: str,
    *,
    grpc: str,
    model: str | None,
    request: Path | None,
    allow_unload: bool,
    drain_pid: int | None,
    is_full: bool,
    as_markdown: bool,
    as_json: bool,
) -> None:
    """Ask the server at URL everything that the Open Inference Protocol V2 promises, and a few things that it should survive.

    Works with any server of the protocol. Each check passes, fails, is not offered (the server does not list the extension) or is skipped
    with the reason. A fail marked ! is advice: the protocol leaves it open, but real clients rely on it. Exits with 4 where a required
    check fails.

    \b
    Examples:
      fairlead conformance http://127.0.0.1:8080
      fairlead conformance http://127.0.0.1:8080 --grpc 127.0.0.1:8081 --allow-unload
      fairlead conformance http://127.0.0.1:8000 --model digits --markdown
    """
    is_live = sys.stderr.isatty()

    def tell(line: str) -> None:
        if is_live:
            click.echo(f"{_CLEAR}  {click.style(line, dim=True)}", err=True, nl=False)

    report = run_conformance(url, model=model, grpc=grpc, request=request, may_unload=allow_unload, drain_pid=drain_pid or 0, report=tell)
    if is_live:
        click.echo(_CLEAR, err=True, nl=False)
    if as_json:
        emit_json(report)
    else:
        click.echo(markdown(report) if as_markdown else text(report, is_full=is_full))
    if not report.conforms:
        raise RejectedError(
            f"{report.counts['fail']} required checks fail.", hint="Each says what was sent, what came and what was expected."
        )


def text(report: ConformanceReport, *, is_full: bool = False) -> str:
    """Return the matrix: a line for each line of the list, and below it what is not simply right."""
    lines = [click.style(f"{report.model} on {report.server} at {report.url}", bold=True), ""]
    for number, title in LINES.items():
        findings = [finding for finding in report.findings if finding.line == number]
        row = "".join(_MARKS[kind_of(finding)] for finding in findings)
        lines.append(f"  {number:>2}  {title:<34} {row}")
        lines += _grouped(findings, is_full=is_full)
    return "\n".join([*lines, "", _summary(report)])


def _grouped(findings: Sequence[Finding], *, is_full: bool) -> list[str]:
    """Return what is to be said about the checks of one line; those that share a reason share a sentence."""
    lines: list[str] = []
    silent: dict[tuple[str, str], list[str]] = {}
    for finding in findings:
        kind = kind_of(finding)
        if kind in {"not offered", "skipped"}:
            silent.setdefault((kind, finding.remark), []).append(finding.check)
        elif kind != "pass":
            lines += _problem(finding)
        elif is_full or finding.remark:
            remark = click.style(f"  {finding.remark}", dim=True) if finding.remark else ""
            lines.append(f"        {_MARKS[kind]} {finding.check}{remark}")
    for (kind, remark), checks in silent.items():
        names = ", ".join(checks) if len(checks) < len(findings) else "all"
        lines.append(click.style(f"        {kind}: {names} - {remark}", dim=True))
    return lines


def _problem(finding: Finding) -> list[str]:
    parts = (("sent", finding.sent), ("came", finding.came), ("says", finding.says))
    shown = [f"            {click.style(label, dim=True)}  {_shorter(value)}" for label, value in parts]
    return [f"        {_MARKS[kind_of(finding)]} {finding.check}", *shown]


def _shorter(value: str, limit: int = 160) -> str:
    """Leave out the middle: a request begins with where it goes, and often ends with what is wrong in it."""
    return value if len(value) <= limit else f"{value[: limit // 2]} ... {value[-limit // 2 + 5 :]}"


def _summary(report: ConformanceReport) -> str:
    counts = report.counts
    parts = [f"{counts.get(kind, 0)} {kind}" for kind in ("pass", "fail", "advice", "not offered", "skipped")]
    verdict = click.style("conforms", fg="green", bold=True) if report.conforms else click.style("does not conform", fg="red", bold=True)
    return f"{verdict}: {', '.join(parts)}"


def markdown(report: ConformanceReport) -> str:
    """Return the matrix as a table, every check in it."""
    head = f"`{report.model}` on {report.server}: {click.unstyle(_summary(report))}"
    rows = ["| line | | check | result | |", "|---|---|---|---|---|"]
    before = 0
    for finding in report.findings:
        said = finding.remark if finding.status != "fail" else f"came {_shorter(finding.came, 80)}; should: {finding.says}"
        number = f"{finding.line} | {LINES[finding.line]}" if finding.line != before else " | "
        before = finding.line
        rows.append(f"| {number} | {finding.check} | {_WORDS[kind_of(finding)]} | {_cell(said)} |")
    return "\n".join([head, "", *rows])


def _cell(value: str) -> str:
    return value.replace("|", "\\|").replace("\n", " ")
