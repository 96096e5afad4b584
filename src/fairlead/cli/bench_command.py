"""`fairlead bench`: how much a server answers, how fast, and whether rightly."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from fairlead.app.bench import BenchRequest
from fairlead.app.bench import bench as run_bench
from fairlead.app.wiring import build_house
from fairlead.cli.bench_text import bench_text
from fairlead.cli.printing import emit_json, home_option, json_option
from fairlead.errors import UnavailableError
from fairlead.probe.load.bench import BenchJob
from fairlead.probe.load.schedule import Arrivals

_CLEAR = "\r\x1b[K"


@click.command()
@click.argument("target")
@click.option("--model", metavar="NAME", help="Which model.  [default: the first that is ready]")
@click.option("--version", default="", metavar="N", help="Which version.  [default: the one that answers]")
@click.option("--concurrency", type=click.IntRange(1, 10_000), help="Closed loop: requests under way at once.  [default: 64]")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="Open loop: requests per second, whatever is under way.")
@click.option(
    "--arrivals", type=click.Choice([kind.value for kind in Arrivals]), default="poisson", show_default=True, help="Of an open loop."
)
@click.option("--duration", default=10.0, show_default=True, type=click.FloatRange(min=0.1), help="Seconds that count.")
@click.option("--warm-up", default=1.0, show_default=True, type=click.FloatRange(min=0), help="Seconds before, that do not.")
@click.option("--timeout", default=10.0, show_default=True, type=click.FloatRange(min=0.01), help="Seconds to wait for an answer.")
@click.option("--protocol", type=click.Choice(["http", "grpc"]), default="http", show_default=True, help="gRPC sends raw tensors.")
@click.option("--grpc", default="", metavar="HOST:PORT", help="Where TARGET speaks gRPC.")
@click.option("--payload", type=click.Choice(["json", "binary"]), default="json", show_default=True, help="Tensors over HTTP.")
@click.option("--data", type=click.Path(path_type=Path), help="Rows to send (.npz, .npy, .csv, .parquet).  [default: drawn ones]")
@click.option("--expect", type=click.Path(path_type=Path), help="Right outputs for --data (.npz).  [default: the first answers]")
@click.option("--rows", default=1, show_default=True, type=click.IntRange(1, 100_000), help="Rows in a request.")
@click.option("--processes", default=1, show_default=True, type=click.IntRange(1, 64), help="Sending processes.")
@click.option("--seed", default=0, show_default=True, help="Of drawn rows and arrivals.")
@click.option("--find-capacity", is_flag=True, help="Search the highest rate that keeps --p99-ms.")
@click.option("--p99-ms", default=20.0, show_default=True, type=click.FloatRange(min=0.01), help="The promise of --find-capacity.")
@home_option
@json_option
def bench(
    target: str,
    *,
    concurrency: int | None,
    rate: float | None,
    arrivals: str,
    duration: float,
    warm_up: float,
    timeout: float,
    find_capacity: bool,
    p99_ms: float,
    data: Path | None,
    expect: Path | None,
    rows: int,
    processes: int,
    home: str | None,
    as_json: bool,
    **plain: object,
) -> None:
    """Load TARGET and say what came of it. TARGET is the URL of a running server that speaks the Open Inference Protocol V2, or the
    name of a registered model, for which a server of its own is started.

    \b
    Examples:
      fairlead bench digits
      fairlead bench http://127.0.0.1:8080 --rate 500 --duration 30
      fairlead bench digits --find-capacity --p99-ms 20
      fairlead bench http://127.0.0.1:8080 --protocol grpc --grpc 127.0.0.1:8081
    """
    job = BenchJob(
        target,
        concurrency=concurrency or 0,
        rate=rate or 0.0,
        arrivals=Arrivals(arrivals),
        duration_s=duration,
        warm_up_s=warm_up,
        timeout_s=timeout,
        capacity_p99_ms=p99_ms if find_capacity else 0.0,
        row_count=rows,
        process_count=processes,
        **plain,  # type: ignore[arg-type]  # the options that have the same name and type
    )
    is_live = sys.stderr.isatty()

    def tell(line: str) -> None:
        dim = click.style(f"  {line}", dim=True)
        click.echo(f"{_CLEAR}{dim}" if is_live else dim, err=True, nl=not is_live)

    report = run_bench(BenchRequest(job, data, expect), lambda: build_house(home), report=tell)
    if is_live:
        click.echo(_CLEAR, err=True, nl=False)
    emit_json(report) if as_json else click.echo(bench_text(report))
    if report.result.sent_count and not report.result.right_count:
        raise UnavailableError("Not one request got the right answer.")
