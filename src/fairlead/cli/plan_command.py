"""`fairlead plan`: what would be tried, on which hardware, at what cost; nothing is built or registered."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

from fairlead.app.plan_model import plan_model
from fairlead.app.plan_requests import PlanFlags, build_plan_request
from fairlead.app.requests import Flags
from fairlead.app.wiring import build_house
from fairlead.cli.plan_text import plan_text
from fairlead.cli.printing import StepProgress, emit_json, home_option, json_option, source_options
from fairlead.core.interface import Task
from fairlead.core.strategy import Need, Scenario


@click.command()
@click.argument("model", required=False, type=click.Path(path_type=Path))
@click.option("-f", "--spec", type=click.Path(path_type=Path), help="A fairlead.yaml; ./fairlead.yaml where no MODEL is given.")
@click.option("--data", type=click.Path(path_type=Path), help="Rows to measure with: .npz, .npy, .csv or .parquet.")
@click.option("--target", metavar="COLUMN", help="Column (or array) of the right answers.")
@click.option("--train", type=click.Path(path_type=Path), help="Rows that passes may train on.")
@click.option("--require", multiple=True, metavar="PROMISE", help="E.g. 'p99_ms<=5'. Repeat for more.")
@click.option("--task", type=click.Choice([task.value for task in Task]), help="Where it cannot be told from the model.")
@click.option("--cores", type=click.IntRange(1, 1024), help="CPU cores that one replica may use.  [default: 1]")
@click.option("--scenario", type=click.Choice([item.value for item in Scenario]), help="A trade whose usual needs are taken.")
@click.option("--need", multiple=True, type=click.Choice([item.value for item in Need]), help="What is true of it. Repeat for more.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="Requests per second that have to be carried.")
@click.option("--rows", type=click.IntRange(1, 65_536), help="Rows in one request.  [default: 1]")
@click.option("--p99", type=click.FloatRange(0, min_open=True), help="Milliseconds that 99 % of the requests may take, at the client.")
@click.option("--per-month", type=click.FloatRange(0, min_open=True), help="Money per month for the machines.")
@click.option("--catalogue", type=click.Path(path_type=Path), help="Your own machines and prices (YAML).")
@click.option("--measure/--no-measure", "is_measured", default=True, help="Time the model here for a few seconds.  [default: measure]")
@click.option("--all", "is_whole", is_flag=True, help="Show every value of the strategy and every machine.")
@source_options
@home_option
@json_option
def plan(*, home: str | None, as_json: bool, is_whole: bool, **flags: object) -> None:
    """Say what would be tried for MODEL, on which hardware, at what cost, and how it would be led into production. A dry run.

    \b
    Examples:
      fairlead plan model.h5 --data digits.npz --require "p99_ms<=5" --require "accuracy_drop<=0.005"
      fairlead plan model.h5 --data digits.npz --scenario finance --rate 200 --p99 20 --per-month 300
      fairlead plan                        # everything from ./fairlead.yaml
    """
    more = {name: flags.pop(name) for name in ("train", "scenario", "need", "rate", "rows", "p99", "per_month", "catalogue", "is_measured")}
    asked = Flags(command=shlex.join(["fairlead", *sys.argv[1:]]), **flags)  # type: ignore[arg-type]
    request = build_plan_request(asked, PlanFlags(**more))  # type: ignore[arg-type]
    planned = plan_model(request, build_house(home), StepProgress(is_silent=as_json))
    if as_json:
        emit_json(planned)
        return
    click.echo(plan_text(planned, is_whole=is_whole))
