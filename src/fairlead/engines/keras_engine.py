"""The original Keras model, run by Keras itself in the sandbox: the reference that proves most.

Takes an artifact's snapshot, gives an Engine whose every `run` is one sandboxed job; opening it starts nothing. Raises MissingExtraError
where Keras or a backend is absent, and UnsupportedError from `run` where Keras cannot open this file or sees another model in it, so that
the caller can fall back to the reader's own evaluation. Foreign bytes are never opened in this process.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fairlead.core.artifact import Artifact, SourceFormat
from fairlead.core.interface import Array, Interface, Tensors
from fairlead.core.ports import Sandbox, SandboxJob, SandboxLimits
from fairlead.engines.keras_worker import INPUTS_FILE, OUTPUTS_FILE, describe_keras
from fairlead.engines.tensor_file import read_tensors, write_tensors
from fairlead.errors import CorruptError, UnavailableError, UnsupportedError

# Address space, not memory: PyTorch and JAX reserve far more than they use.
KERAS_LIMITS = SandboxLimits(memory_bytes=32 * 2**30, cpu_s=600)
_HINT = "Compare with Fairlead's own evaluation instead."


def open_reference(artifact: Artifact, scratch: Path, sandbox: Sandbox) -> KerasEngine:
    """Return an engine that runs `artifact.snapshot` by Keras. Whether Keras can open it shows at the first run."""
    description = describe_keras()
    if artifact.format is SourceFormat.KERAS_ZIP and artifact.framework.startswith("keras 2."):
        raise UnsupportedError("Keras 3 cannot open .keras files of Keras 2.", hint=_HINT)
    return KerasEngine(artifact, scratch, sandbox, description)


class KerasEngine:
    """Runs one Keras file. Safe to call from several threads: each call has a folder and a process of its own."""

    def __init__(self, artifact: Artifact, scratch: Path, sandbox: Sandbox, description: str) -> None:
        self._artifact = artifact
        self._scratch = scratch
        self._sandbox = sandbox
        self._description = description
        self._numbers = itertools.count()
        self._is_closed = False

    @property
    def interface(self) -> Interface:
        """What the model takes and gives."""
        return self._artifact.interface

    @property
    def description(self) -> str:
        """What runs it, e.g. "keras 3.15.1 (torch 2.13.0)"."""
        return self._description

    def run(self, inputs: Tensors, outputs: Sequence[str] = ()) -> dict[str, Array]:
        """Return the named outputs (all where none are named); each call starts one worker that opens the file and runs all rows."""
        if self._is_closed:
            raise UnavailableError("The Keras engine is closed.")
        rows = self.interface.check_inputs(inputs)
        folder = self._scratch / f"run-{next(self._numbers)}"
        folder.mkdir(parents=True)
        try:
            write_tensors(folder / INPUTS_FILE, {spec.name: inputs[spec.name] for spec in self.interface.inputs})
            arguments = {"path": str(self._artifact.snapshot), "inputs": str(folder / INPUTS_FILE)}
            readable = (self._artifact.snapshot.parent, folder / INPUTS_FILE)
            entry = "fairlead.engines.keras_worker:run_in_sandbox"
            self._sandbox.run(SandboxJob(entry, folder / "scratch", arguments, readable, KERAS_LIMITS))
            results = list(read_tensors(folder / "scratch" / OUTPUTS_FILE).values())
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        wanted = outputs or [spec.name for spec in self.interface.outputs]
        for name in wanted:
            self.interface.output(name)
        return {name: array for name, array in self._checked(results, rows).items() if name in wanted}

    def _checked(self, results: list[Array], rows: int) -> dict[str, Array]:
        specs = self.interface.outputs
        if len(results) != len(specs):
            raise UnsupportedError(f"Keras gives {len(results)} outputs where the file has {len(specs)}.", hint=_HINT)
        if any(array.ndim == 0 or array.shape[0] != rows for array in results):
            raise CorruptError("Keras's answer does not have the rows that were asked for.", hint=_HINT)
        return {spec.name: np.asarray(array, dtype=spec.dtype.numpy) for spec, array in zip(specs, results, strict=True)}

    def close(self) -> None:
        """Give back the scratch folder. Idempotent."""
        self._is_closed = True
        shutil.rmtree(self._scratch, ignore_errors=True)
