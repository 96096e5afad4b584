"""The reference for models that came as ONNX: the original file, run with every graph optimization off, in the sandbox.

Takes an Artifact of form onnx-file; gives an `Engine` whose every call is a one-shot sandboxed process, so a file that crashes the
runtime ends that process and nothing else. Raises SandboxError, SourceError, RequestError. Slow by design; never used for serving.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from fairlead.core.artifact import Artifact
from fairlead.core.ports import Sandbox
from fairlead.engines.sandboxed_engine import SandboxedEngine, Worker, write_answers
from fairlead.engines.tensor_file import read_tensors
from fairlead.errors import SourceError

_ENTRY = "fairlead.engines.onnx_reference_engine:run_once"

_PIECE_ROWS = 512  # bounds what the model's inner values take; one process runs them all


def open_reference(artifact: Artifact, scratch: Path, sandbox: Sandbox) -> SandboxedEngine:
    """Return the reference engine for `artifact` (form onnx-file), which writes only into `scratch`."""
    description = f"onnxruntime {onnxruntime.__version__} on the original file, graph optimizations off"
    names = [spec.name for spec in artifact.interface.outputs]
    worker = Worker(_ENTRY, artifact.path, description, {"model": str(artifact.path), "outputs": names})
    return SandboxedEngine(worker, artifact.interface, scratch, sandbox)


def run_once(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Run in the sandbox: answer the rows in arguments["inputs"] with arguments["model"]."""
    from fairlead.engines.onnxruntime_engine import open_session  # noqa: PLC0415 - only the sandboxed child needs it

    outputs = list(arguments["outputs"])
    session = open_session(Path(arguments["model"]), thread_count=1, optimization="none")
    missing = set(outputs) - {item.name for item in session.get_outputs()}
    if missing:
        raise SourceError(f"The original has no output '{min(missing)}'.")
    inputs = read_tensors(Path(arguments["inputs"]))
    count = next(iter(inputs.values())).shape[0]
    pieces = [
        session.run(outputs, {name: tensor[start : start + _PIECE_ROWS] for name, tensor in inputs.items()})
        for start in range(0, count, _PIECE_ROWS)
    ]
    results = [np.concatenate([piece[place] for piece in pieces]) for place in range(len(outputs))]
    return write_answers(arguments["scratch"], dict(zip(outputs, results, strict=True)))
