"""A snapshot, and the files beside the original that belong to it, handed to the format's reader in the sandbox.

Takes paths, gives checked answers and file entries. Raises what the reader raises, and CorruptError for an answer that no reader of ours
would give. Never opens a foreign file in this process, other than to copy it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from fairlead.core.artifact import SourceFormat, SourceOptions
from fairlead.core.manifest import FileEntry, Manifest
from fairlead.core.ports import Sandbox, SandboxJob, SandboxLimits
from fairlead.errors import CorruptError
from fairlead.ingest.answers import ReaderAnswer, parse_answer
from fairlead.ingest.catalog import COMPANIONS, INSPECTORS, READERS
from fairlead.security.snapshot import take_snapshot

_COMPANION_LIMIT = 64


# Frameworks that reserve more address space than they use, and take long to start.
_HEAVY = {
    SourceFormat.TORCH_EXPORTED,
    SourceFormat.TORCH_SCRIPT,
    SourceFormat.TORCH_STATE,
    SourceFormat.SAFETENSORS,
    SourceFormat.CATBOOST_CBM,
}
_HEAVY_LIMITS = SandboxLimits(memory_bytes=32 * 2**30, cpu_s=600)


@dataclass(frozen=True)
class ReadJob:
    """What is read: the snapshot, what it was taken from, and what the user said beside it. `scratch` is the reader's own folder."""

    snapshot: Path
    format: SourceFormat
    entries: Sequence[FileEntry]
    scratch: Path
    options: SourceOptions = field(default_factory=SourceOptions)


def read(job: ReadJob, sandbox: Sandbox) -> ReaderAnswer:
    """Run the format's reader on the snapshot in the sandbox and return its checked answer."""
    return parse_answer(sandbox.run(_sandbox_job(job, READERS.variants[job.format.value].location)))


def inspect(job: ReadJob, sandbox: Sandbox) -> ReaderAnswer:
    """Run the format's inspection, which opens less than its reader, in the sandbox and return its checked answer."""
    return parse_answer(sandbox.run(_sandbox_job(job, INSPECTORS.get(job.format) or READERS.variants[job.format.value].location)))


def _sandbox_job(job: ReadJob, entry: str) -> SandboxJob:
    options = job.options
    arguments = {
        "path": str(job.snapshot),
        "format": job.format.value,
        "companions": [item.name for item in job.entries[1:]],
        "options": msgspec.to_builtins(replace(options, import_paths=())),
    }
    limits = _HEAVY_LIMITS if job.format in _HEAVY else SandboxLimits()
    return SandboxJob(entry, job.scratch, arguments, (job.snapshot.parent,), limits, options.import_paths)


def take_companions(source: Path, source_format: SourceFormat, folder: Path, workspace: Path, sandbox: Sandbox) -> list[FileEntry]:
    """Copy the files beside `source` that its content names, into the same folder. Their names were read in the sandbox and are foreign:
    bare names only, no links of any kind.
    """
    location = COMPANIONS.get(source_format)
    if location is None:
        return []
    job = SandboxJob(location, workspace / "companions", {"path": str(folder / source.name)}, (folder,))
    names = sandbox.run(job).get("files")
    if not isinstance(names, list) or len(names) > _COMPANION_LIMIT or not all(isinstance(name, str) for name in names):
        raise CorruptError("The import worker named no files, or too many.", hint="Save the model again as one file.")
    return [_take_companion(source, name, folder) for name in sorted(set(names) - {source.name})]


def _take_companion(source: Path, name: str, folder: Path) -> FileEntry:
    if not Manifest((FileEntry(name, 0, "0" * 64),)).is_bare:
        raise CorruptError("The import worker named a file outside the model's folder.", hint="Save the model again as one file.")
    return take_snapshot(source.parent / name, folder, follow_link=False, allow_hard_link=False)
