"""An engine whose every call is one sandboxed job: how an original is run that nothing here may open.

Takes a Worker (which entry opens which file, with which limits); gives an `Engine`. Rows go in and answers come out as files of tensors
(engines.tensor_file). The entry gets `inputs` (path) and `scratch`, and writes scratch/outputs.npz by output name. Raises SandboxError and
what the entry raises, RequestError, CorruptError for answers that do not fit the interface, UnavailableError once closed.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fairlead.core.interface import Array, Interface, Tensors
from fairlead.core.ports import Sandbox, SandboxJob, SandboxLimits
from fairlead.engines.tensor_file import read_tensors, write_tensors
from fairlead.errors import CorruptError, UnavailableError

_INPUTS, _OUTPUTS = "inputs.npz", "outputs.npz"
_HINT = "The process that wrote it was stopped, or failed."


@dataclass(frozen=True)
class Worker:
    """What runs the original: `entry` with `arguments` may read `model`, and import the user's modules in `import_paths`; `description`
    names the framework and its version.
    """

    entry: str
    model: Path
    description: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    limits: SandboxLimits = field(default_factory=SandboxLimits)
    import_paths: tuple[Path, ...] = ()


class SandboxedEngine:
    """Runs one original. Safe to call from several threads: each call has a folder and a process of its own."""

    def __init__(self, worker: Worker, interface: Interface, scratch: Path, sandbox: Sandbox) -> None:
        self._worker = worker
        self._interface = interface
        self._scratch = scratch
        self._sandbox = sandbox
        self._numbers = itertools.count()
        self._is_closed = False

    @property
    def interface(self) -> Interface:
        """What the original takes and gives."""
        return self._interface

    @property
    def description(self) -> str:
        """What runs it, with version."""
        return self._worker.description

    def run(self, inputs: Tensors, outputs: Sequence[str] = ()) -> dict[str, Array]:
        """Return the named outputs (all where none are named) of one job that runs all rows."""
        if self._is_closed:
            raise UnavailableError("The reference engine was closed.")
        rows = self._interface.check_inputs(inputs)
        wanted = list(outputs) or [spec.name for spec in self._interface.outputs]
        for name in wanted:
            self._interface.output(name)
        folder = self._scratch / f"run-{next(self._numbers)}"
        folder.mkdir(parents=True)
        try:
            write_tensors(folder / _INPUTS, {spec.name: inputs[spec.name] for spec in self._interface.inputs})
            readable = (self._worker.model, folder / _INPUTS)
            arguments = {**self._worker.arguments, "inputs": str(folder / _INPUTS)}
            worker = self._worker
            self._sandbox.run(SandboxJob(worker.entry, folder / "scratch", arguments, readable, worker.limits, worker.import_paths))
            answers = read_tensors(folder / "scratch" / _OUTPUTS)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return {name: self._checked(name, answers, rows) for name in wanted}

    def _checked(self, name: str, answers: Tensors, rows: int) -> Array:
        """Return the answer called `name`; it comes from a process that opened a foreign file, so nothing about it is believed."""
        spec, answer = self._interface.output(name), answers.get(name)
        if answer is None or answer.dtype != spec.dtype.numpy or answer.ndim != len(spec.shape) or answer.shape[:1] != (rows,):
            raise CorruptError(f"The reference gave no usable '{name}'.", hint=_HINT)
        return answer

    def close(self) -> None:
        """Refuse further calls; there is no process to end. Idempotent."""
        self._is_closed = True


def write_answers(scratch: str, answers: Tensors) -> dict[str, Any]:
    """Write what an entry found, for the engine to read; return the entry's own answer."""
    write_tensors(Path(scratch) / _OUTPUTS, answers)
    return {}
