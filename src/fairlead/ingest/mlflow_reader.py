"""Reads MLflow model folders: what is in one, and which of its files goes on to the reader of its own format.

`take_mlflow` takes the private copy of a folder; its MLmodel is read in the sandbox (`describe_in_sandbox`), and the answer is checked
here. Gives an MlflowSource. Raises SourceError, UnsafeContentError and UnsupportedError as `mlflow_folder` and `mlflow_signature` do.
Never imports code that the folder brings, never opens a file that the folder does not hold.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from fairlead.core.artifact import SourceFormat
from fairlead.core.interface import Interface, shorten
from fairlead.core.manifest import FileEntry
from fairlead.core.ports import Sandbox, SandboxJob
from fairlead.errors import CorruptError, UnsupportedError
from fairlead.ingest.answers import check_interface, written_path
from fairlead.ingest.mlflow_folder import FLAVORS, MLMODEL, choose, code_paths, example_path
from fairlead.ingest.mlflow_signature import Signature, apply_signature, parse_signature
from fairlead.ingest.mlflow_yaml import parse_yaml
from fairlead.ingest.sniff import has_suffix_of, sniff_among

DESCRIPTION, EXAMPLE, PARSED = "mlflow-MLmodel.yaml", "mlflow-input-example.json", "mlflow-model.json"
_EXAMPLE_LIMIT_BYTES = 64 * 2**20
_SUFFIXES = {SourceFormat.CATBOOST_CBM: ".cbm", SourceFormat.XGBOOST_UBJ: ".ubj", SourceFormat.XGBOOST_JSON: ".json"}


class Described(msgspec.Struct, frozen=True):
    """What `describe_in_sandbox` answers. `path` is the flavor's file or folder, `example` that of the input example ("": none)."""

    flavor: str
    path: str
    is_folder: bool
    example: str = ""
    signature: Signature | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class MlflowSource:
    """The part of a folder that is read: `snapshot` with its `entries` (its main file first, names as seen from it), and what the folder
    says about it. `attachments` are kept with the version.
    """

    flavor: str
    snapshot: Path
    format: SourceFormat
    entries: tuple[FileEntry, ...]
    signature: Signature | None
    attachments: Mapping[str, Path]
    notes: tuple[str, ...]

    def describe(self, interface: Interface) -> tuple[Interface, tuple[str, ...]]:
        """Return `interface` with what the folder's signature adds, and the notes on the folder."""
        if self.signature is None:
            return interface, self.notes
        described, said = apply_signature(interface, self.signature)
        check_interface(described)
        return described, (*self.notes, *said)


def describe_in_sandbox(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return a Described as JSON data for the folder `arguments["path"]` that holds `files`; writes the parsed MLmodel into scratch."""
    files = frozenset(arguments["files"])
    described = parse_yaml(Path(arguments["path"], MLMODEL).read_bytes())
    choice = choose(described, files)
    signature = parse_signature(described.get("signature"))
    (Path(arguments["scratch"]) / PARSED).write_text(json.dumps(described, sort_keys=True, default=str), encoding="utf-8")
    return {
        "flavor": choice.flavor.name,
        "path": choice.path,
        "is_folder": choice.is_folder,
        "example": example_path(described, files),
        "signature": None if signature is None else asdict(signature),
        "notes": _notes(described, choice.flavor.name, choice.path, code_paths(described, files)),
    }


def _notes(described: Mapping[str, Any], flavor: str, path: str, code: tuple[str, ...]) -> list[str]:
    by = f", saved by MLflow {described['mlflow_version']}" if described.get("mlflow_version") else ""
    notes = [f"MLflow folder, flavor {flavor} ({path}){by}"]
    if described.get("run_id"):
        notes.append(f"MLflow run {described['run_id']}")
    if code:
        notes.append(f"the folder brings Python code ({', '.join(code[:5])}), which is left aside: Fairlead never imports it")
    return notes


def take_mlflow(folder: Path, files: Sequence[FileEntry], workspace: Path, sandbox: Sandbox) -> MlflowSource:
    """Return what is read of the folder snapshot `folder`, which holds `files`."""
    names = [entry.name for entry in files]
    scratch = workspace / "mlflow"
    job = SandboxJob("fairlead.ingest.mlflow_reader:describe_in_sandbox", scratch, {"path": str(folder), "files": names}, (folder,))
    answer = _parse(sandbox.run(job), names)
    path, entries = folder / answer.path, _entries(answer, files)
    if answer.is_folder:
        source_format = SourceFormat.TF_SAVED_MODEL
    else:
        flavor = next(item for item in FLAVORS if item.name == answer.flavor)
        source_format = sniff_among(path, answer.path, flavor.formats)
        _refuse_wrapped(answer, source_format)
        path = _with_suffix(path, source_format)
    attachments = {DESCRIPTION: folder / MLMODEL, PARSED: written_path(scratch, PARSED)}
    if answer.example and (folder / answer.example).stat().st_size <= _EXAMPLE_LIMIT_BYTES:
        attachments[EXAMPLE] = folder / answer.example
    notes = tuple(shorten(note, 500) for note in answer.notes[:20])
    return MlflowSource(answer.flavor, path, source_format, entries, answer.signature, attachments, notes)


def _parse(answer: dict[str, Any], names: list[str]) -> Described:
    try:
        parsed = msgspec.convert(answer, Described)
    except (msgspec.ValidationError, ValueError, RecursionError) as error:
        raise CorruptError(f"The import worker's answer is not sound: {shorten(str(error), 200)}.", hint="Save the model again.") from None
    main = f"{parsed.path}/saved_model.pb".removeprefix("./") if parsed.is_folder else parsed.path
    is_known = parsed.flavor in {flavor.name for flavor in FLAVORS}
    if not is_known or main not in names or (parsed.example and parsed.example not in names):
        raise CorruptError("The import worker named a file that the folder does not hold.", hint="Save the model again.")
    return parsed


def _entries(answer: Described, files: Sequence[FileEntry]) -> tuple[FileEntry, ...]:
    """The files beside and below the main one, named as seen from it."""
    main = PurePosixPath(answer.path)
    base = main if answer.is_folder else main.parent
    first = "saved_model.pb" if answer.is_folder else main.name
    inside = [entry for entry in files if PurePosixPath(entry.name).is_relative_to(base)]
    renamed = [replace(entry, name=PurePosixPath(entry.name).relative_to(base).as_posix()) for entry in inside]
    return tuple(sorted(renamed, key=lambda entry: entry.name != first))


def _refuse_wrapped(answer: Described, source_format: SourceFormat) -> None:
    """Refuse by name what only the library's own Python class could restore."""
    if answer.flavor == "pytorch" and source_format is SourceFormat.TORCH_STATE:
        raise UnsupportedError(
            f"'{shorten(answer.path)}' is a pickled nn.Module: opening it would run the code that it names.",
            hint="Log it as a program of torch.export: mlflow.pytorch.log_model(..., serialization_format='pt2', input_example=x).",
        )


def _with_suffix(path: Path, source_format: SourceFormat) -> Path:
    """Give our copy the suffix by which the libraries know the format, where MLflow uses another (CatBoost's model.cb)."""
    if has_suffix_of(path.name, source_format) or source_format not in _SUFFIXES:
        return path
    target = path.with_name(f"model-by-content{_SUFFIXES[source_format]}")
    path.rename(target)
    return target
