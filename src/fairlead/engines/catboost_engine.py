"""The reference for CatBoost models: CatBoost itself, in the sandbox, on the snapshot that our own parser has checked.

Takes an Artifact of format catboost-cbm; gives an `Engine` whose every call is a one-shot sandboxed process. Raises MissingExtraError,
SandboxError, RequestError, UnavailableError. Never used for serving.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from fairlead.core.artifact import Artifact
from fairlead.core.interface import Array, Interface
from fairlead.core.ports import Sandbox, SandboxLimits
from fairlead.engines.sandboxed_engine import SandboxedEngine, Worker, write_answers
from fairlead.engines.tensor_file import read_tensors
from fairlead.engines.tree_ensemble_outputs import LABEL, PROBABILITIES
from fairlead.errors import CorruptError, MissingExtraError, SourceError

_ENTRY = "fairlead.engines.catboost_engine:run_once"
_LIMITS = SandboxLimits(memory_bytes=32 * 2**30)  # address space: its library reserves far more than it uses
_EXPONENT = ("Poisson", "Tweedie", "LogLinQuantile")


def open_reference(artifact: Artifact, scratch: Path, sandbox: Sandbox) -> SandboxedEngine:
    """Return the reference engine for `artifact`, which writes only into `scratch`."""
    if importlib.util.find_spec("catboost") is None:
        raise MissingExtraError("catboost", needed_for="Comparing with CatBoost itself")
    version = importlib.metadata.version("catboost")
    arguments = {
        "path": str(artifact.snapshot),
        "interface": msgspec.to_builtins(artifact.interface),
        "kind": "Exponent" if artifact.facts.get("objective") in _EXPONENT else "RawFormulaVal",
    }
    worker = Worker(_ENTRY, artifact.snapshot, f"catboost {version} itself, in the sandbox", arguments, _LIMITS)
    return SandboxedEngine(worker, artifact.interface, scratch, sandbox)


def run_once(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Run in the sandbox: answer the rows in arguments["inputs"] with the model in arguments["path"]."""
    import catboost  # noqa: PLC0415 - the sandboxed child alone opens the file

    interface = msgspec.convert(arguments["interface"], Interface)
    rows = read_tensors(Path(arguments["inputs"]))[interface.inputs[0].name]
    try:
        model = catboost.CatBoost().load_model(arguments["path"])
        answers = {spec.name: _answer(model, rows, interface, spec.name, str(arguments["kind"])) for spec in interface.outputs}
    except catboost.CatBoostError as error:
        raise SourceError(f"CatBoost does not read its own file: {str(error)[:200]}.", hint="Save the model again.") from None
    return write_answers(arguments["scratch"], answers)


def _answer(model: Any, rows: Array, interface: Interface, name: str, kind: str) -> Array:
    spec = interface.output(name)
    if name == LABEL:
        places = {str(label): place for place, label in enumerate(interface.labels)}
        found = np.asarray(model.predict(rows, prediction_type="Class", thread_count=1)).reshape(-1)
        try:
            return np.array([interface.labels[places[str(label)]] for label in found], dtype=spec.dtype.numpy)
        except KeyError as error:
            raise CorruptError(f"CatBoost answers with another class: {str(error)[:100]}.", hint="Import the model again.") from None
    chosen = "Probability" if name == PROBABILITIES else kind
    return np.asarray(model.predict(rows, prediction_type=chosen, thread_count=1), dtype=np.float64).reshape(len(rows), -1)
