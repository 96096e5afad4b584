"""`fairlead convert`: a model in the form of another engine, compared with the original."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from fairlead.app.convert_model import Converted, ConvertRequest, convert_model
from fairlead.app.intake import Intake
from fairlead.app.source_options import parse_options
from fairlead.app.wiring import build_house
from fairlead.cli.deploy_command import checks_table
from fairlead.cli.printing import StepProgress, emit_json, home_option, json_option, source_options
from fairlead.core.interface import Task
from fairlead.core.manifest import readable_size
from fairlead.optimize.catalog import PRESETS


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--to", required=True, type=click.Choice(list(PRESETS)), help="The form to write.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="A new folder for the files.")
@click.option("--data", type=click.Path(path_type=Path), help="Rows to compare on: .npz, .npy, .csv or .parquet; drawn unless given.")
@click.option("--target", metavar="COLUMN", help="Column (or array) of the right answers.")
@click.option("--task", type=click.Choice([task.value for task in Task]), help="Where it cannot be told from the model.")
@source_options
@home_option
@json_option
def convert(*, model: Path, to: str, out: Path, home: str | None, as_json: bool, **flags: Any) -> None:
    """Bring MODEL into another form and compare it with the original. Nothing is registered.

    \b
    Examples:
      fairlead convert model.h5 --to openvino --out openvino/
      fairlead convert booster.json --to onnx --data rows.csv --out onnx/
      fairlead convert net.pt2 --to onnx-int8 --data rows.npz --out small/

    \b
    Forms: onnx onnx-optimized ort openvino tflite trees  answer as the original, or nothing is written
           onnx-fp16 openvino-fp16 onnx-int8 onnx-int8-static  are lossy: what they lose is shown
    """
    intake = Intake(
        model,
        flags["data"],
        flags["target"],
        task=Task(flags["task"]) if flags["task"] else None,
        options=parse_options(flags["model_class"], flags["model_arg"], flags["input"], flags["import_path"], flags["signature"]),
        tracking_uri=flags["tracking_uri"] or "",
    )
    command = shlex.join(["fairlead", *sys.argv[1:]])
    converted = convert_model(ConvertRequest(intake, to, out, command), build_house(home), StepProgress(is_silent=as_json))
    if as_json:
        emit_json({"to": to, "files": converted.files, "verdict": converted.verdict})
        return
    click.echo(_describe(converted))


def _describe(converted: Converted) -> str:
    verdict = converted.verdict
    (speed, *_) = verdict.speed
    files = [f"  {path}  {readable_size(path.stat().st_size)}" for path in converted.files.values()]
    measured = (
        f"{verdict.engine}: p50 {speed.p50_ms:.3g} ms, p99 {speed.p99_ms:.3g} ms at batch {speed.batch}, on {verdict.data_description}"
    )
    lossy = [] if verdict.is_green else ["This form is lossy: what it loses stands above. A deployment decides by its requirements."]
    return "\n".join(["", checks_table(verdict), "", measured, *lossy, "", click.style("Written:", bold=True), *files])
