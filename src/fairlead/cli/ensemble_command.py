"""`fairlead compose`: several registered models as one version."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

from fairlead.app.deploy import name_from
from fairlead.app.ensemble import ComposeRequest
from fairlead.app.ensemble import compose as run_compose
from fairlead.app.ensemble_spec import read_ensemble_spec
from fairlead.app.wiring import build_house
from fairlead.cli.deploy_command import checks_table
from fairlead.cli.printing import StepProgress, emit_json, home_option, json_option
from fairlead.core.requirement import parse_requirements
from fairlead.core.version import PRODUCTION


@click.command()
@click.argument("spec", type=click.Path(path_type=Path))
@click.option("--name", help="Name to register it under; the file's name unless given.")
@click.option("--data", type=click.Path(path_type=Path), help="Rows to prove it with: .npz, .npy, .csv or .parquet.")
@click.option("--target", metavar="COLUMN", help="Column (or array) of the right answers.")
@click.option("--require", multiple=True, metavar="PROMISE", help="E.g. 'accuracy>=0.95'. Repeat for more.")
@click.option("--alias", default=PRODUCTION, show_default=True, help="Alias to point at the new version.")
@click.option("--report", type=click.Path(path_type=Path), help="Also write the HTML report here, green or red.")
@home_option
@json_option
def compose(
    spec: Path,
    *,
    name: str | None,
    data: Path | None,
    target: str | None,
    require: tuple[str, ...],
    alias: str,
    report: Path | None,
    home: str | None,
    as_json: bool,
) -> None:
    """Make one version of several registered models: an ensemble, declared in SPEC (ensemble.yaml).

    Members are pinned as they are now. The ensemble is compared with its members, asked one by one, before it is registered.

    \b
    Examples:
      fairlead compose pets.yaml --data rows.npz
      fairlead schema ensemble          # what the file may say

    \b
    pets.yaml:
      steps:
        scale: {model: scaler@production, inputs: {x: input.x}}
        left:  {model: net-a:3, inputs: {x: scale.y}}
        right: {model: net-b, inputs: {x: scale.y}}
        blend: {average: [left.scores, right.scores], weights: [2, 1]}
      outputs: {scores: blend}
    """
    said = read_ensemble_spec(spec)
    request = ComposeRequest(
        spec=said,
        name=name or said.name or name_from(Path(spec.stem)),
        source=spec,
        data=data or (spec.parent / said.data if said.data else None),
        target=target or said.target,
        requirements=parse_requirements(require) if require else said.requirements(),
        alias=alias,
        report=report,
        command=shlex.join(["fairlead", *sys.argv[1:]]),
    )
    deployed = run_compose(request, build_house(home), StepProgress(is_silent=as_json))
    version = deployed.version
    if as_json:
        emit_json({"version": version.label, "digest": version.digest, "alias": deployed.alias, "verdict": deployed.verdict})
        return
    click.echo("\n".join(["", checks_table(deployed.verdict), "", click.style(f"{version.label} is in @{deployed.alias}.", bold=True)]))
