"""The reference for models that came as ONNX: the original file, run with every graph optimization off, in the sandbox.

Takes an Artifact of form onnx-file; gives an `Engine` whose every call is a one-shot sandboxed process, so a file that crashes the
runtime ends that process and nothing else. Raises SandboxError, SourceError, RequestError. Slow by design; never used for serving.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from fairlead.core.artifact import Artifact
from fairlead.core.interface import Array, Interface, Tensors
from fairlead.core.ports import Sandbox, SandboxJob
from fairlead.engines.tensor_file import read_tensors, write_tensors
from fairlead.errors import CorruptError, SourceError, UnavailableError

_ENTRY = "fairlead.engines.onnx_reference_engine:run_once"

_PIECE_ROWS = 512  # bounds what the model's inner values take; one process runs them all


class OnnxReferenceEngine:
    """Runs `artifact.path` as it is. Inputs and outputs travel by files in `scratch`."""

    def __init__(self, artifact: Artifact, scratch: Path, sandbox: Sandbox) -> None:
        self._artifact = artifact
        self._scratch = scratch
        self._sandbox = sandbox
        self._numbers = itertools.count()
        self._is_closed = False

    @property
    def interface(self) -> Interface:
        """What the original takes and gives."""
        return self._artifact.interface

    @property
    def description(self) -> str:
        """The runtime with its version and how it was used."""
        return f"onnxruntime {onnxruntime.__version__} on the original file, graph optimizations off"

    def run(self, inputs: Tensors, outputs: Sequence[str] = ()) -> dict[str, Array]:
        """Return the named outputs (all where none are named); see core.ports.Engine for the errors."""
        if self._is_closed:
            raise UnavailableError("The reference engine was closed.")
        self.interface.check_inputs(inputs)
        names = list(outputs) or [spec.name for spec in self.interface.outputs]
        folder = self._scratch / f"run-{next(self._numbers)}"
        folder.mkdir(parents=True)
        write_tensors(folder / "inputs.npz", inputs)
        model = self._artifact.path
        arguments = {"model": str(model), "outputs": names}
        self._sandbox.run(SandboxJob(entry=_ENTRY, scratch=folder, arguments=arguments, readable=(model,)))
        results = read_tensors(folder / "outputs.npz")
        if set(results) != set(names):
            raise CorruptError("The reference gave other outputs than it was asked for.")
        return {name: results[name] for name in names}

    def close(self) -> None:
        """Refuse further calls; there is no process to end."""
        self._is_closed = True


def open_reference(artifact: Artifact, scratch: Path, sandbox: Sandbox) -> OnnxReferenceEngine:
    """Return the reference engine for `artifact` (form onnx-file), which writes only into `scratch`."""
    return OnnxReferenceEngine(artifact, scratch, sandbox)


def run_once(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Run in the sandbox: evaluate scratch/inputs.npz with arguments["model"] and write scratch/outputs.npz."""
    from fairlead.engines.onnxruntime_engine import open_session  # noqa: PLC0415 - only the sandboxed child needs it

    scratch, outputs = Path(arguments["scratch"]), list(arguments["outputs"])
    session = open_session(Path(arguments["model"]), thread_count=1, optimization="none")
    missing = set(outputs) - {item.name for item in session.get_outputs()}
    if missing:
        raise SourceError(f"The original has no output '{min(missing)}'.")
    inputs = read_tensors(scratch / "inputs.npz")
    count = next(iter(inputs.values())).shape[0]
    pieces = [
        session.run(outputs, {name: tensor[start : start + _PIECE_ROWS] for name, tensor in inputs.items()})
        for start in range(0, count, _PIECE_ROWS)
    ]
    results = [np.concatenate([piece[place] for piece in pieces]) for place in range(len(outputs))]
    write_tensors(scratch / "outputs.npz", dict(zip(outputs, results, strict=True)))
    return {}
