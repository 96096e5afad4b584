"""A source as the user gave it, a file or a folder -> a private copy with its digests, and the format that its content tells.

Takes the user's path; gives a Taken whose files lie in the workspace. Raises SourceError, UnsupportedError for a folder that is no model.
Never follows a link inside a folder, and never opens a foreign file other than to copy it and to look at its first bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fairlead.core.artifact import SourceFormat
from fairlead.core.manifest import FileEntry, Manifest
from fairlead.core.ports import Sandbox
from fairlead.errors import UnsupportedError
from fairlead.ingest.mlflow_folder import MLMODEL
from fairlead.ingest.mlflow_reader import MlflowSource, take_mlflow
from fairlead.ingest.reading import take_companions
from fairlead.ingest.sniff import sniff
from fairlead.security.folder_snapshot import take_folder_snapshot
from fairlead.security.snapshot import take_snapshot

SAVED_MODEL_FILE = "saved_model.pb"


@dataclass(frozen=True)
class Taken:
    """`snapshot` is the copy of the file or folder; `entries` list every file with its digest, the main one first.

    `mlflow` is set where the source is an MLflow folder: `snapshot` is then the part of it that is read.
    """

    snapshot: Path
    format: SourceFormat
    entries: tuple[FileEntry, ...]
    mlflow: MlflowSource | None = None

    @property
    def read_entries(self) -> tuple[FileEntry, ...]:
        """The files that belong to `snapshot`, the main one first, by their names as seen from it."""
        return self.entries if self.mlflow is None else self.mlflow.entries

    @property
    def manifest(self) -> Manifest:
        """The files in order of name."""
        return Manifest(tuple(sorted(self.entries, key=lambda item: item.name)))


def take_source(source: Path, folder: Path, workspace: Path, sandbox: Sandbox) -> Taken:
    """Copy `source` into `folder` (made for it) while its digest is taken, and tell its format."""
    if source.is_dir():
        return _take_folder(source, folder, workspace, sandbox)
    entry = take_snapshot(source, folder, follow_link=True)
    snapshot = folder / entry.name
    source_format = sniff(snapshot, entry.name)
    return Taken(snapshot, source_format, (entry, *take_companions(source, source_format, folder, workspace, sandbox)))


def _take_folder(source: Path, folder: Path, workspace: Path, sandbox: Sandbox) -> Taken:
    snapshot = folder / "model"
    entries = take_folder_snapshot(source, snapshot)
    if any(entry.name == MLMODEL for entry in entries):
        mlflow = take_mlflow(snapshot, entries, workspace, sandbox)
        return Taken(mlflow.snapshot, mlflow.format, tuple(sorted(entries, key=lambda item: item.name != MLMODEL)), mlflow)
    if not any(entry.name == SAVED_MODEL_FILE for entry in entries):
        raise UnsupportedError(
            f"The folder '{source.name}' holds no {SAVED_MODEL_FILE}.",
            hint="Fairlead reads folders of TensorFlow (SavedModel) and MLflow (MLmodel); otherwise give the model file in it.",
        )
    return Taken(snapshot, SourceFormat.TF_SAVED_MODEL, tuple(sorted(entries, key=lambda item: item.name != SAVED_MODEL_FILE)))
