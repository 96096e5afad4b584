"""A snapshot, and the files beside the original that belong to it, handed to the format's reader in the sandbox.

Takes paths, gives checked answers and file entries. Raises what the reader raises, and CorruptError for an answer that no reader of ours
would give. Never opens a foreign file in this process, other than to copy it.
"""

from __future__ import annotations

from pathlib import Path

from fairlead.core.artifact import SourceFormat
from fairlead.core.manifest import FileEntry, Manifest
from fairlead.core.ports import Sandbox, SandboxJob
from fairlead.errors import CorruptError
from fairlead.ingest.answers import ReaderAnswer, parse_answer
from fairlead.ingest.catalog import COMPANIONS, READERS
from fairlead.security.snapshot import take_snapshot

_COMPANION_LIMIT = 64


def read(snapshot: Path, source_format: SourceFormat, entries: list[FileEntry], scratch: Path, sandbox: Sandbox) -> ReaderAnswer:
    """Run the format's reader on the snapshot in the sandbox and return its checked answer."""
    job = SandboxJob(
        READERS.variants[source_format.value].location,
        scratch,
        {"path": str(snapshot), "format": source_format.value, "companions": [item.name for item in entries[1:]]},
        (snapshot.parent,),
    )
    return parse_answer(sandbox.run(job))


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
