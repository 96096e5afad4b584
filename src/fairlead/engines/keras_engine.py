"""The original Keras model, run by Keras itself in the sandbox: the reference that proves most.

Takes an artifact's snapshot, gives an Engine whose every `run` is one sandboxed job; opening it starts nothing. Raises MissingExtraError
where Keras or a backend is absent, and UnsupportedError from `run` where Keras cannot open this file or sees another model in it, so that
the caller can fall back to the reader's own evaluation. Foreign bytes are never opened in this process.
"""

from __future__ import annotations

from pathlib import Path

from fairlead.core.artifact import Artifact, SourceFormat
from fairlead.core.ports import Sandbox, SandboxLimits
from fairlead.engines.keras_worker import describe_keras
from fairlead.engines.sandboxed_engine import SandboxedEngine, Worker
from fairlead.errors import UnsupportedError

# Address space, not memory: PyTorch and JAX reserve far more than they use.
KERAS_LIMITS = SandboxLimits(memory_bytes=32 * 2**30, cpu_s=600)


def open_reference(artifact: Artifact, scratch: Path, sandbox: Sandbox) -> SandboxedEngine:
    """Return an engine that runs `artifact.snapshot` by Keras. Whether Keras can open it shows at the first run."""
    description = describe_keras()
    if artifact.format is SourceFormat.KERAS_ZIP and artifact.framework.startswith("keras 2."):
        raise UnsupportedError("Keras 3 cannot open .keras files of Keras 2.", hint="Compare with Fairlead's own evaluation instead.")
    outputs = [[spec.name, spec.dtype.value] for spec in artifact.interface.outputs]
    arguments = {"path": str(artifact.snapshot), "outputs": outputs}
    worker = Worker("fairlead.engines.keras_worker:run_in_sandbox", artifact.snapshot, description, arguments, KERAS_LIMITS)
    return SandboxedEngine(worker, artifact.interface, scratch, sandbox)
