"""PyTorch at work: the reference that runs an original once in the sandbox, and the engine that serves a model which ONNX cannot hold.

Takes an artifact's snapshot, or the kept file of form `torch` (an exported program or TorchScript); gives an Engine. Raises
MissingExtraError where torch is absent, DataError for rows that the model itself refuses, and what opening a file raises. Never opens a
file in this process: torch is loaded in the sandboxed ones only.
"""

from __future__ import annotations

import importlib
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from fairlead.core.artifact import Artifact, SourceFormat
from fairlead.core.interface import Array, Interface, Tensors
from fairlead.core.ports import Sandbox, SandboxLimits
from fairlead.engines.resident_engine import RESIDENT_LIMITS, ResidentEngine
from fairlead.engines.sandboxed_engine import SandboxedEngine, Worker, write_answers
from fairlead.engines.tensor_file import read_tensors
from fairlead.engines.torch_rows import answer
from fairlead.errors import CorruptError, UnsupportedError

VERSION = metadata.version("torch")  # raises a ModuleNotFoundError where it is absent, which the catalog turns into the cure
TORCH_LIMITS = SandboxLimits(memory_bytes=32 * 2**30, cpu_s=600)  # address space, not memory: torch reserves far more than it uses
_LOADER = "fairlead.security.torch_file"  # by name: only the child loads it, and tools do not import each other
_BATCH_ROWS = 256


def open_reference(artifact: Artifact, scratch: Path, sandbox: Sandbox) -> SandboxedEngine:
    """Return the reference engine for `artifact` (form torch-file), which writes only into `scratch`."""
    worker = Worker(
        "fairlead.engines.torch_engine:run_once",
        artifact.snapshot,
        f"torch {VERSION} itself, in the sandbox",
        model_arguments(artifact),
        TORCH_LIMITS,
        artifact.options.import_paths,
    )
    return SandboxedEngine(worker, artifact.interface, scratch, sandbox)


def model_arguments(artifact: Artifact) -> dict[str, Any]:
    """Return what a sandboxed entry needs to open the artifact's snapshot: path, format, options and interface as JSON data."""
    options = replace(artifact.options, import_paths=(), inputs=artifact.interface.inputs)
    return {
        "path": str(artifact.snapshot),
        "format": artifact.format.value,
        "options": msgspec.to_builtins(options),
        "interface": msgspec.to_builtins(artifact.interface),
    }


def run_once(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Run in the sandbox: answer the rows in arguments["inputs"] with the original, some hundred at a time."""
    interface = msgspec.convert(arguments["interface"], Interface)
    scratch = Path(arguments["scratch"])
    model = importlib.import_module(_LOADER).open_model(Path(arguments["path"]), arguments["format"], arguments["options"], scratch)
    inputs = read_tensors(Path(arguments["inputs"]))
    count = len(next(iter(inputs.values())))
    pieces = [
        named_answer(model, interface, {name: tensor[start : start + _BATCH_ROWS] for name, tensor in inputs.items()})
        for start in range(0, count, _BATCH_ROWS)
    ]
    return write_answers(arguments["scratch"], {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]})


def named_answer(model: Any, interface: Interface, inputs: Tensors) -> dict[str, Array]:
    """Return the open model's answer under the interface's names: inputs and outputs are those of the interface, in its order."""
    if len(model.inputs) != len(interface.inputs):
        raise UnsupportedError(f"The model takes {len(model.inputs)} inputs, not {len(interface.inputs)}.", hint="Read the file again.")
    given = {mine.name: inputs[spec.name] for mine, spec in zip(model.inputs, interface.inputs, strict=True)}
    found = answer(model, given)
    if len(found) != len(interface.outputs):
        raise CorruptError(f"The model gives {len(found)} outputs, not {len(interface.outputs)}.", hint="Read the file again.")
    return {spec.name: tensor for spec, tensor in zip(interface.outputs, found.values(), strict=True)}


class TorchEngine(ResidentEngine):
    """Serves a kept exported program or TorchScript file in a process of its own."""

    def __init__(self, path: Path, interface: Interface, *, thread_count: int = 1, sandbox: Sandbox) -> None:
        arguments = {"path": str(path), "interface": msgspec.to_builtins(interface), "thread_count": thread_count}
        limits = replace(RESIDENT_LIMITS, memory_bytes=TORCH_LIMITS.memory_bytes)
        worker = Worker(
            "fairlead.engines.torch_engine:open_in_sandbox", path, f"torch {VERSION} in a process of its own", arguments, limits
        )
        super().__init__(worker, interface, sandbox, libraries=("torch", "numpy"))


def open_in_sandbox(arguments: Mapping[str, Any]) -> Callable[[Tensors], Tensors]:
    """Run in the sandbox: open the kept file once; what is returned answers every request."""
    path = Path(arguments["path"])
    interface = msgspec.convert(arguments["interface"], Interface)
    loader = importlib.import_module(_LOADER)
    options = {"inputs": msgspec.to_builtins(interface.inputs)}
    model = loader.open_model(path, kept_format(path), options, Path(arguments["scratch"]))
    loader.start_torch(int(arguments["thread_count"]))
    return lambda inputs: named_answer(model, interface, inputs)


def kept_format(path: Path) -> str:
    """Return which of the two kinds of kept files `path` is."""
    with zipfile.ZipFile(path) as file:
        is_program = any(name.partition("/")[2] == "models/model.json" for name in file.namelist())
    return (SourceFormat.TORCH_EXPORTED if is_program else SourceFormat.TORCH_SCRIPT).value
