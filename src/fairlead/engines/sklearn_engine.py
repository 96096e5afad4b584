"""The reference for scikit-learn models: scikit-learn itself, in the sandbox.

Takes an Artifact of form estimator-file; gives an `Engine` whose every call is a one-shot sandboxed process that opens the checked file
and predicts. Raises SandboxError, MissingExtraError, RequestError, UnavailableError. Slow by design; never used for serving, and nothing
foreign is opened in this process.
"""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from fairlead.core.artifact import Artifact
from fairlead.core.interface import Array, Interface, Tensors, shorten
from fairlead.core.ports import Sandbox, SandboxJob
from fairlead.engines.tensor_file import read_tensors, write_tensors
from fairlead.errors import CorruptError, DataError, UnavailableError

_ENTRY = "fairlead.engines.sklearn_engine:run_once"
_LOADER = "fairlead.security.estimator_file"  # by name: only the child loads it, and tools do not import each other
_INPUTS, _OUTPUTS = "inputs.npz", "outputs.npz"


class SklearnReferenceEngine:
    """Asks the estimator in `artifact.snapshot`. Inputs and outputs travel by files in `scratch`."""

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
        """The library with its version."""
        return f"{self._artifact.framework} itself, in the sandbox"

    def run(self, inputs: Tensors, outputs: Sequence[str] = ()) -> dict[str, Array]:
        """Return the named outputs (all where none are named); see core.ports.Engine for the errors."""
        if self._is_closed:
            raise UnavailableError("The reference engine was closed.")
        self.interface.check_inputs(inputs)
        names = list(outputs) or [spec.name for spec in self.interface.outputs]
        for name in names:
            self.interface.output(name)
        folder = self._scratch / f"run-{next(self._numbers)}"
        folder.mkdir(parents=True)
        write_tensors(folder / _INPUTS, inputs)
        model = self._artifact.snapshot
        arguments = {"path": str(model), "format": self._artifact.format.value, "interface": msgspec.to_builtins(self.interface)}
        self._sandbox.run(SandboxJob(entry=_ENTRY, scratch=folder, arguments=arguments, readable=(model,)))
        results = read_tensors(folder / _OUTPUTS)
        for name in names:
            spec, got = self.interface.output(name), results.get(name)
            if got is None or got.dtype != spec.dtype.numpy or got.ndim != len(spec.shape):
                raise CorruptError(f"The reference gave no usable '{name}'.", hint="The process that wrote it was stopped or failed.")
        return {name: results[name] for name in names}

    def close(self) -> None:
        """Refuse further calls; there is no process to end."""
        self._is_closed = True


def open_reference(artifact: Artifact, scratch: Path, sandbox: Sandbox) -> SklearnReferenceEngine:
    """Return the reference engine for `artifact` (form estimator-file), which writes only into `scratch`."""
    return SklearnReferenceEngine(artifact, scratch, sandbox)


def run_once(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Run in the sandbox: answer scratch/inputs.npz with the estimator and write scratch/outputs.npz."""
    from fairlead.engines.estimator_rows import answers_of, rows_of, select_by_position  # noqa: PLC0415 - only the child needs it

    scratch = Path(arguments["scratch"])
    interface = msgspec.convert(arguments["interface"], Interface)
    estimator = importlib.import_module(_LOADER).load_estimator(Path(arguments["path"]), str(arguments["format"]))
    select_by_position(estimator)
    inputs = read_tensors(scratch / _INPUTS)
    try:
        answers = answers_of(estimator, interface, rows_of(interface, inputs))
    except ValueError as error:  # what scikit-learn raises for a row that it does not take, such as NaN in a column that nothing fills
        raise DataError(
            f"scikit-learn refuses these rows: {shorten(str(error).partition(chr(10))[0], 200)}.",
            hint="Prove the model on rows that it takes itself.",
        ) from None
    write_tensors(scratch / _OUTPUTS, answers)
    return {}
