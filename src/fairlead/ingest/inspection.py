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

from fairlead.core.artifact import Finding, Inspection, SourceFormat, SourceOptions
from fairlead.core.ports import Sandbox
from fairlead.errors import UnsafeContentError, UnsupportedError
from fairlead.ingest.answers import ReaderAnswer
from fairlead.ingest.reading import ReadJob, inspect
from fairlead.ingest.taking import take_source
from fairlead.security.pickle_check import check_pickle
from fairlead.security.skops_check import check_skops


def inspect_source(source: Path, *, sandbox: Sandbox, options: SourceOptions | None = None) -> Inspection:
    """Inspect the file or folder `source` through a private copy that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="fairlead-inspect-") as workspace:
        folder = Path(workspace)
        taken = take_source(source, folder / "source", folder, sandbox)
        job = ReadJob(taken.snapshot, taken.format, taken.read_entries, folder / "read", options or SourceOptions())
        try:
            answer = inspect(job, sandbox)
        except (UnsafeContentError, UnsupportedError) as error:
            finding = Finding(is_unsafe=isinstance(error, UnsafeContentError), what=error.message)
            answer = ReaderAnswer(framework="", findings=(finding,))
    interface, told = answer.interface, taken.mlflow.notes if taken.mlflow is not None else ()
    if taken.mlflow is not None and interface is not None:
        interface, told = taken.mlflow.describe(interface)
    return Inspection(
        source,
        taken.format,
        taken.manifest.size_bytes,
        taken.entries[0].digest if len(taken.entries) == 1 else taken.manifest.digest,
        answer.framework,
        interface,
        answer.facts,
        answer.findings,
        (*told, *answer.notes),
    )


def inspect_in_sandbox(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the findings of an estimator file, without opening it."""
    path = Path(arguments["path"])
    findings = check_skops(path) if arguments["format"] == SourceFormat.SKLEARN_SKOPS else check_pickle(path)
    notes = [] if findings else ["what it takes and gives is known once it is opened: fairlead deploy"]
    return {"framework": "scikit-learn", "findings": [asdict(finding) for finding in findings], "notes": notes}
