"""`fairlead inspect`: what a file is, before anything in it is opened."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from fairlead.app.mlflow_source import fetch_mlflow, is_mlflow_uri
from fairlead.app.wiring import build_sandbox, settings_for
from fairlead.cli.printing import emit_json, json_option, mark, sections
from fairlead.core.artifact import Inspection
from fairlead.core.manifest import readable_size
from fairlead.errors import UnsafeContentError
from fairlead.ingest.inspection import inspect_source


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--tracking-uri", metavar="URI", help="MLflow server of models:/ and runs:/.  [default: MLFLOW_TRACKING_URI]")
@json_option
def inspect(model: Path, *, tracking_uri: str | None, as_json: bool) -> None:
    """Say what MODEL is, what it takes and gives, and what is unsafe in it, before anything is opened.

    Exits with 7 where the file holds something that Fairlead refuses to open.

    \b
    Example:
      fairlead inspect model.h5
    """
    sandbox = build_sandbox(settings_for(None))
    if is_mlflow_uri(str(model)):
        with tempfile.TemporaryDirectory(prefix="fairlead-fetch-") as folder:
            fetched = fetch_mlflow(str(model), Path(folder) / "model", tracking_uri=tracking_uri or "")
            inspection = inspect_source(fetched.folder, sandbox=sandbox)
    else:
        inspection = inspect_source(model, sandbox=sandbox)
    if as_json:
        emit_json(inspection)
    else:
        click.echo(_describe(inspection))
    if inspection.is_unsafe:
        raise UnsafeContentError(f"'{model.name}' is unsafe and will not be opened.", hint="Save it again without what is listed above.")


def _describe(inspection: Inspection) -> str:
    interface = inspection.interface
    facts = [
        f"{name.replace('_', ' ')}: {value:,}" if isinstance(value, int) else f"{name}: {value}" for name, value in inspection.facts.items()
    ]
    findings = [
        f"{mark(is_good=not item.is_unsafe)} {item.what}{f' ({item.where})' if item.where else ''}" for item in inspection.findings
    ] or [f"{mark(is_good=True)} nothing unsafe found"]
    parts = [
        (
            str(inspection.path),
            [
                f"{inspection.framework or inspection.format.value} ({inspection.format.value}), {readable_size(inspection.size_bytes)}",
                f"sha256:{inspection.digest}",
            ],
        ),
        ("Takes", [spec.describe() for spec in interface.inputs] if interface else ["unknown until it is opened in the sandbox"]),
        ("Gives", [spec.describe() for spec in interface.outputs] if interface else ["unknown until it is opened in the sandbox"]),
        ("Facts", facts),
        ("Safety", findings),
        ("Notes", list(inspection.notes)),
    ]
    return sections([(title, lines) for title, lines in parts if lines])
