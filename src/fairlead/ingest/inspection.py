"""What a model file is, what it takes and gives, and what is unsafe in it: known before any framework opens it.

Takes a path, gives an Inspection. Raises SourceError for what is no model file. Never unpickles, never imports what the file names; the
checks themselves run in the sandbox.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fairlead.core.artifact import Finding, Inspection, SourceFormat
from fairlead.core.manifest import FileEntry
from fairlead.core.ports import Sandbox, SandboxJob
from fairlead.errors import UnsafeContentError, UnsupportedError
from fairlead.ingest.answers import ReaderAnswer, parse_answer
from fairlead.ingest.reading import read, take_companions
from fairlead.ingest.sniff import sniff
from fairlead.security.pickle_check import check_pickle
from fairlead.security.skops_check import check_skops
from fairlead.security.snapshot import take_snapshot

_KERAS = (SourceFormat.KERAS_H5, SourceFormat.KERAS_ZIP)


def inspect_source(source: Path, *, sandbox: Sandbox) -> Inspection:
    """Inspect the file `source` through a private copy that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="fairlead-inspect-") as workspace:
        folder = Path(workspace)
        entry = take_snapshot(source, folder / "source", follow_link=True)
        snapshot = folder / "source" / entry.name
        source_format = sniff(snapshot, entry.name)
        try:
            answer = _ask(source, snapshot, source_format, entry, sandbox)
        except (UnsafeContentError, UnsupportedError) as error:
            finding = Finding(is_unsafe=isinstance(error, UnsafeContentError), what=error.message)
            answer = ReaderAnswer(framework="", findings=(finding,))
    return Inspection(
        source,
        source_format,
        entry.size_bytes,
        entry.digest,
        answer.framework,
        answer.interface,
        answer.facts,
        answer.findings,
        answer.notes,
    )


def _ask(source: Path, snapshot: Path, source_format: SourceFormat, entry: FileEntry, sandbox: Sandbox) -> ReaderAnswer:
    workspace = snapshot.parent.parent
    if source_format is SourceFormat.ONNX:  # data, not code: its reader is its inspection
        companions = take_companions(source, source_format, snapshot.parent, workspace, sandbox)
        return read(snapshot, source_format, [entry, *companions], workspace / "read", sandbox)
    location = "fairlead.ingest.keras_reader:inspect_in_sandbox" if source_format in _KERAS else f"{__name__}:inspect_in_sandbox"
    job = SandboxJob(location, workspace / "read", {"path": str(snapshot), "format": source_format.value}, (snapshot.parent,))
    return parse_answer(sandbox.run(job))


def inspect_in_sandbox(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the findings of an estimator file, without opening it."""
    path = Path(arguments["path"])
    findings = check_skops(path) if arguments["format"] == SourceFormat.SKLEARN_SKOPS else check_pickle(path)
    notes = [] if findings else ["what it takes and gives is known once it is opened: fairlead deploy"]
    return {"framework": "scikit-learn", "findings": [asdict(finding) for finding in findings], "notes": notes}
