"""`fairlead deploy`: prove, register, release."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

from fairlead.app.deploy import Deployed
from fairlead.app.deploy import deploy as run_deploy
from fairlead.app.requests import Flags, build_request
from fairlead.app.wiring import House, build_house
from fairlead.cli.printing import Duration, StepProgress, check_mark, emit_json, home_option, json_option, source_options, table
from fairlead.core.interface import Task
from fairlead.core.search import Objective
from fairlead.core.strategy import Need, Scenario
from fairlead.core.verdict import Verdict
from fairlead.core.version import PRODUCTION
from fairlead.errors import SpecError

_BY_STEPS = 'fairlead promote {label} --canary "1%,10%,50%"'


@click.command()
@click.argument("model", required=False, type=click.Path(path_type=Path))
@click.option("-f", "--spec", type=click.Path(path_type=Path), help="A fairlead.yaml; ./fairlead.yaml where no MODEL is given.")
@click.option("--name", help="Name to register it under; the file's name unless given.")
@click.option("--data", type=click.Path(path_type=Path), help="Rows to prove it with: .npz, .npy, .csv or .parquet.")
@click.option("--target", metavar="COLUMN", help="Column (or array) of the right answers.")
@click.option("--require", multiple=True, metavar="PROMISE", help="E.g. 'accuracy>=0.95'. Repeat for more.")
@click.option("--task", type=click.Choice([task.value for task in Task]), help="Where it cannot be told from the model.")
@click.option("--cores", type=click.IntRange(1, 1024), help="CPU cores that one replica may use.  [default: 1]")
@click.option("--engine", metavar="NAME", help="Run it by this engine only; the fastest here unless given. See fairlead doctor.")
@source_options
@click.option("--rename", multiple=True, metavar="OWN=PUBLIC", help="What clients call a tensor, e.g. dense_3=scores. Repeat for more.")
@click.option("--train", type=click.Path(path_type=Path), help="Rows with right answers that passes may train on; none of --data's.")
@click.option("--budget", type=Duration(), help="Time for finding a compressed model: 90s, 10m; 0: do not look for one.")
@click.option("--objective", type=click.Choice([one.value for one in Objective]), help="What a compressed model should have little of.")
@click.option(
    "--scenario", type=click.Choice([item.value for item in Scenario]), help="A trade whose usual needs are taken; see fairlead plan."
)
@click.option("--need", multiple=True, type=click.Choice([item.value for item in Need]), help="What is true of it. Repeat for more.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="Requests per second that have to be carried.")
@click.option("--alias", help="Alias to point at the new version.  [default: production]")
@click.option("--no-release", "is_registered_only", is_flag=True, help="Register it only: no alias moves. See fairlead promote.")
@click.option("--report", type=click.Path(path_type=Path), help="Also write the HTML report here, green or red.")
@click.option("--serve", "stays", is_flag=True, help="Stay and serve it.")
@home_option
@json_option
def deploy(*, stays: bool, home: str | None, as_json: bool, **flags: object) -> None:
    """Prove MODEL, register it, and point @production at it.

    Without --data, rows are drawn from the interface: shapes, speed and agreement with the original are proven then, quality is not.

    Where the converted model does not keep the promise and a requirement says what may be lost (accuracy_drop<=0.005), a compressed one is
    looked for; with --train, --budget or --objective always.

    \b
    Examples:
      fairlead deploy model.h5 --name digits --data digits.npz \\
          --require "accuracy>=0.95" --require "accuracy_drop<=0.005" --require "p99_ms<=10"
      fairlead deploy model.h5 --data digits.npz --train train.npz \\
          --require "p99_ms<=1" --require "size_mb<=0.1" --require "accuracy_drop<=0.005"
      fairlead deploy churn.joblib --data churn.csv --target churned --require "f1>=0.8"
      fairlead deploy net.pt --model-class net:Net --data rows.npz
      fairlead deploy                      # everything from ./fairlead.yaml

    \b
    Promises: accuracy f1 auc ece rmse mae (also accuracy_drop, rmse_rise: against the original)
              p50_ms p95_ms p99_ms throughput_rps (also at a batch: p99_ms@32) size_mb memory_mb cores
              decision_flips max_abs_diff explanation_agreement, or your own: package.module:function
    """
    if stays and flags["is_registered_only"]:
        raise SpecError("--serve serves what is live, and --no-release makes nothing live.", hint="Leave one of them out.")
    request = build_request(Flags(command=shlex.join(["fairlead", *sys.argv[1:]]), **flags))  # type: ignore[arg-type]
    house = build_house(home)
    progress = StepProgress(is_silent=as_json)
    deployed = run_deploy(request, house, progress)
    if as_json:
        emit_json(
            {"version": deployed.version.label, "digest": deployed.version.digest, "alias": deployed.alias, "verdict": deployed.verdict}
        )
    else:
        click.echo(_describe(deployed))
    if stays:
        _stay(deployed, house)


def _describe(deployed: Deployed) -> str:
    label, name, planned = deployed.version.label, deployed.version.name, deployed.planned
    options = "" if planned is None else planned.options
    look = ("look at it", f"fairlead report {label} --open")
    if deployed.alias:
        said = f"{label} is in @{deployed.alias}."
        follow = "" if deployed.alias == PRODUCTION else f" --alias {deployed.alias}"
        commands = [("serve it", f"fairlead serve {name}{follow}"), look]
        if deployed.previous:  # from the first one there is no way back
            commands.append(("take it back", f"fairlead rollback {name}{follow}"))
    else:
        said = f"{label} is registered; no alias was moved."
        commands = [
            look,
            ("take it live", f"fairlead promote {label}"),
            ("as planned", f"fairlead promote {label} --as-planned") if options else ("step by step", _BY_STEPS.format(label=label)),
        ]
    if options and deployed.alias:
        commands.append(
            ("planned was", f"{options}; this went at once. Next time --no-release, then fairlead promote {name}:N --as-planned")
        )
    lines = [f"  {what + ':':<14} {command}" for what, command in commands]
    return "\n".join(["", checks_table(deployed.verdict), "", click.style(said, bold=True), *lines])


def checks_table(verdict: Verdict) -> str:
    """Return the checks as a text table."""
    rows = [(check_mark(check), check.name, f"{check.measured:.6g}", check.bound, check.detail) for check in verdict.checks]
    return table(rows, ("", "CHECK", "MEASURED", "BOUND", ""))


def _stay(deployed: Deployed, house: House) -> None:
    # The server is only loaded where it is asked for.
    from fairlead.app.serving import ServeRequest  # noqa: PLC0415
    from fairlead.cli.serve_command import serve_until_stopped  # noqa: PLC0415

    serve_until_stopped(house, ServeRequest((deployed.version.name,), alias=deployed.alias))
