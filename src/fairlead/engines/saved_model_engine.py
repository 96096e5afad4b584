"""The original SavedModel, run by TensorFlow itself in the sandbox: the reference that proves most.

Takes an artifact of form saved-model, gives an Engine whose every `run` is one sandboxed job; opening it starts nothing. Raises
MissingExtraError where TensorFlow is absent, UnsupportedError from `run` where it cannot open the folder.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from fairlead.core.artifact import Artifact
from fairlead.core.ports import Sandbox
from fairlead.engines.sandboxed_engine import SandboxedEngine, Worker
from fairlead.engines.tensorflow_worker import TENSORFLOW_LIMITS, describe_tensorflow


def open_reference(artifact: Artifact, scratch: Path, sandbox: Sandbox) -> SandboxedEngine:
    """Return an engine that runs the signature that ingest chose."""
    arguments = {
        "path": str(artifact.snapshot),
        "signature": str(artifact.facts["signature"]),
        "interface": msgspec.to_builtins(artifact.interface),
    }
    description = f"{describe_tensorflow()} itself, in the sandbox"
    worker = Worker("fairlead.engines.tensorflow_worker:run_in_sandbox", artifact.snapshot, description, arguments, TENSORFLOW_LIMITS)
    return SandboxedEngine(worker, artifact.interface, scratch, sandbox)
