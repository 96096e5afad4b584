"""The reference for scikit-learn models: scikit-learn itself, in the sandbox.

Takes an Artifact of form estimator-file; gives an `Engine` whose every call is a one-shot sandboxed process that opens the checked file
and predicts. Raises SandboxError, MissingExtraError, RequestError, UnavailableError. Slow by design; never used for serving, and nothing
foreign is opened in this process.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from fairlead.core.artifact import Artifact
from fairlead.core.interface import Interface
from fairlead.core.ports import Sandbox
from fairlead.engines.sandboxed_engine import SandboxedEngine, Worker, write_answers
from fairlead.engines.tensor_file import read_tensors

_ENTRY = "fairlead.engines.sklearn_engine:run_once"
_LOADER = "fairlead.security.estimator_file"  # by name: only the child loads it, and tools do not import each other


def open_reference(artifact: Artifact, scratch: Path, sandbox: Sandbox) -> SandboxedEngine:
    """Return the reference engine for `artifact` (form estimator-file), which writes only into `scratch`."""
    model = artifact.snapshot
    arguments = {"path": str(model), "format": artifact.format.value, "interface": msgspec.to_builtins(artifact.interface)}
    worker = Worker(_ENTRY, model, f"{artifact.framework} itself, in the sandbox", arguments)
    return SandboxedEngine(worker, artifact.interface, scratch, sandbox)


def run_once(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Run in the sandbox: answer the rows in arguments["inputs"] with the estimator."""
    from fairlead.engines.estimator_rows import answer_rows, select_by_position  # noqa: PLC0415 - only the child needs it

    interface = msgspec.convert(arguments["interface"], Interface)
    estimator = importlib.import_module(_LOADER).load_estimator(Path(arguments["path"]), str(arguments["format"]))
    select_by_position(estimator)
    answers = answer_rows(estimator, interface, read_tensors(Path(arguments["inputs"])))
    return write_answers(arguments["scratch"], answers)
