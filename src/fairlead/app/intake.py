"""What a model is proven with, taken in: the model's file or folder, and the rows. The first sentences of `deploy` and of `convert`.

Takes an Intake, gives an Artifact and a Dataset, and an artifact's Conversion. Raises what ingest, convert and the readers of data raise,
DataError and RequirementError where a requirement needs right answers that are not there.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fairlead.app.mlflow_source import fetch_mlflow, is_mlflow_uri
from fairlead.app.rows import bind_pair
from fairlead.app.source_options import complete_options
from fairlead.app.wiring import House
from fairlead.convert.stage import convert
from fairlead.core.artifact import Artifact, SourceOptions
from fairlead.core.conversion import Conversion, RuntimeForm
from fairlead.core.dataset import Dataset
from fairlead.core.interface import Task, with_columns, with_task
from fairlead.core.manifest import readable_size
from fairlead.core.ports import Progress
from fairlead.core.requirement import MetricKind, Requirement
from fairlead.datasets.draw import draw
from fairlead.datasets.load import load_dataset
from fairlead.datasets.mlflow_example import load_mlflow_example
from fairlead.errors import DataError, RequirementError
from fairlead.ingest.stage import ingest

DRAWN_ROWS = 64
_EXAMPLE = "mlflow-input-example.json"


@dataclass(frozen=True)
class Intake:
    """A model and what is said about it. `data` is a file, or a pair (rows, answers) that is in memory, or None: rows are drawn then."""

    model: Path
    data: Path | tuple[Any, Any] | None = None
    target_column: str | None = None
    requirements: tuple[Requirement, ...] = ()
    task: Task | None = None
    options: SourceOptions = field(default_factory=SourceOptions)
    tracking_uri: str = ""


def check_quality_has_data(request: Intake) -> None:
    """Raise RequirementError where a requirement needs right answers and no data is given at all."""
    needing = [str(item) for item in request.requirements if item.kind is MetricKind.QUALITY]
    if request.data is None and needing:
        raise RequirementError(
            f"'{needing[0]}' needs rows with right answers.",
            hint="Give them: --data rows.npz (x and y) or --data rows.csv --target column.",
        )


def take_in(request: Intake, house: House, folder: Path, progress: Progress) -> tuple[Artifact, Dataset]:
    """Read the model and the rows that it is to be proven with."""
    progress.step(f"ingest: {request.model}")
    options = complete_options(request.options, request.model, request.data, request.target_column)
    if is_mlflow_uri(str(request.model)):
        fetched = fetch_mlflow(str(request.model), folder / "fetched", tracking_uri=request.tracking_uri)
        artifact = ingest(fetched.folder, folder / "ingest", sandbox=house.sandbox, options=options)
        artifact = replace(artifact, notes=(*fetched.notes, *artifact.notes))
    else:
        artifact = ingest(request.model, folder / "ingest", sandbox=house.sandbox, options=options)
    if request.task is not None:
        artifact = replace(artifact, interface=with_task(artifact.interface, request.task))
    parameters = artifact.facts.get("parameter_count")
    counted = f", {parameters:,} parameters" if isinstance(parameters, int) else ""
    takes = ", ".join(spec.describe() for spec in artifact.interface.inputs)
    progress.done("\n".join([f"{artifact.framework} ({artifact.format.value}){counted}; takes {takes}", *artifact.notes]))
    progress.step("data")
    rows = _rows(request, artifact, house)
    if rows.columns:
        artifact = replace(artifact, interface=with_columns(artifact.interface, rows.columns))
    progress.done(rows.description)
    return artifact, rows


def _example(artifact: Artifact, house: House) -> Dataset:
    """The rows that an MLflow folder brings along; drawn ones where these do not fit the model, which is said."""
    allow_missing = bool(artifact.facts.get("accepts_missing", 0))
    try:
        return load_mlflow_example(artifact.attachments[_EXAMPLE], artifact.interface, allow_missing=allow_missing)
    except DataError as error:
        drawn = draw(artifact.interface, rows=DRAWN_ROWS, seed=house.settings.seed)
        return replace(drawn, description=f"{drawn.description}; the model's own input example does not fit: {error.message}")


def _rows(request: Intake, artifact: Artifact, house: House) -> Dataset:
    if request.data is None and _EXAMPLE in artifact.attachments:
        return _example(artifact, house)
    allow_missing = bool(artifact.facts.get("accepts_missing", 0))
    if request.data is None:
        return draw(artifact.interface, rows=DRAWN_ROWS, seed=house.settings.seed, allow_missing=allow_missing)
    if isinstance(request.data, tuple):
        rows = bind_pair(*request.data, artifact.interface, allow_missing=allow_missing)
    else:
        rows = _read(request.data, request, artifact)
    needing = [str(item) for item in request.requirements if item.kind is MetricKind.QUALITY]
    if rows.target is None and needing:
        raise DataError(
            f"'{needing[0]}' needs right answers, and the data has none.",
            hint="Add an array y to the .npz file, or name the column: --target column.",
        )
    return rows


def take_training(path: Path | None, request: Intake, artifact: Artifact) -> Dataset | None:
    """Read the rows that passes may train on; None where none were given."""
    if path is None:
        return None
    dataset = _read(path, request, artifact)
    return replace(dataset, description=f"training rows: {dataset.description}")


def _read(path: Path, request: Intake, artifact: Artifact) -> Dataset:
    """Read rows from a file; whatever is wrong with them, the error says in which file."""
    allow_missing = bool(artifact.facts.get("accepts_missing", 0))
    try:
        return load_dataset(path, artifact.interface, target=request.target_column, allow_missing=allow_missing)
    except DataError as error:
        if path.name in error.message:
            raise
        raise DataError(f"{path}: {error.message}", hint=error.hint) from error


def to_onnx(artifact: Artifact, house: House, folder: Path, progress: Progress) -> Conversion:
    """Convert to canonical ONNX, or keep the original where no route leads there."""
    progress.step("convert")
    conversion = convert(artifact, folder / "convert", sandbox=house.sandbox)
    notes = [note for step in conversion.steps for note in step.notes]
    form = "ONNX" if conversion.form is RuntimeForm.ONNX else "kept as it is"
    progress.done("\n".join([f"{form}, {readable_size(conversion.path.stat().st_size)}", *notes]))
    return conversion
