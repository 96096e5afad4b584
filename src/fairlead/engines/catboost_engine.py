"""The reference for CatBoost models: CatBoost itself, in the sandbox, on the snapshot that our own parser has checked.

Takes an Artifact of format catboost-cbm; gives an `Engine` whose every call is a one-shot sandboxed process. Raises MissingExtraError,
SandboxError, DataError for rows that CatBoost refuses, RequestError, UnavailableError. `open_model` is also what engines.booster_engine
runs.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from fairlead.core.artifact import Artifact
from fairlead.core.dtype import DType
from fairlead.core.interface import Array, Interface, Tensors
from fairlead.core.ports import Sandbox, SandboxLimits
from fairlead.engines.sandboxed_engine import SandboxedEngine, Worker, write_answers
from fairlead.engines.tensor_file import read_tensors
from fairlead.engines.tree_ensemble_outputs import LABEL, PROBABILITIES
from fairlead.errors import CorruptError, DataError, MissingExtraError, SourceError

_ENTRY = "fairlead.engines.catboost_engine:run_once"
_LIMITS = SandboxLimits(memory_bytes=32 * 2**30)  # address space: its library reserves far more than it uses
_EXPONENT = ("Poisson", "Tweedie", "LogLinQuantile")


def open_reference(artifact: Artifact, scratch: Path, sandbox: Sandbox) -> SandboxedEngine:
    """Return the reference engine for `artifact`, which writes only into `scratch`."""
    if importlib.util.find_spec("catboost") is None:
        raise MissingExtraError("catboost", needed_for="Comparing with CatBoost itself")
    objective = str(artifact.facts.get("objective", ""))
    arguments = {"path": str(artifact.snapshot), "interface": msgspec.to_builtins(artifact.interface), "objective": objective}
    worker = Worker(_ENTRY, artifact.snapshot, f"{describe_library()} itself, in the sandbox", arguments, _LIMITS)
    return SandboxedEngine(worker, artifact.interface, scratch, sandbox)


def describe_library() -> str:
    """Return its name and version, without loading it."""
    return f"catboost {importlib.metadata.version('catboost')}"


def run_once(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Run in the sandbox: answer the rows in arguments["inputs"] with the model in arguments["path"]."""
    return write_answers(arguments["scratch"], open_model(arguments)(read_tensors(Path(arguments["inputs"]))))


def open_model(arguments: Mapping[str, Any]) -> Callable[[Tensors], dict[str, Array]]:
    """Run in the sandbox: let CatBoost open arguments["path"], whose loss is arguments["objective"], and return what answers with it."""
    import catboost  # noqa: PLC0415 - the sandboxed child alone opens the file

    interface = msgspec.convert(arguments["interface"], Interface)
    threads = int(arguments.get("thread_count", 1))
    kind = "Exponent" if str(arguments["objective"]) in _EXPONENT else "RawFormulaVal"
    try:
        model = catboost.CatBoost().load_model(arguments["path"])
    except catboost.CatBoostError as error:
        raise SourceError(f"CatBoost does not read its own file: {str(error)[:200]}.", hint="Save the model again.") from None

    def answer(tensors: Tensors) -> dict[str, Array]:
        try:
            rows = catboost.Pool(_rows(interface, tensors), cat_features=_categories(interface), thread_count=threads)
            return {spec.name: _answer(model, rows, interface, spec.name, kind, threads) for spec in interface.outputs}
        except catboost.CatBoostError as error:
            raise DataError(f"CatBoost refuses these rows: {str(error)[:200]}.", hint="Give rows as the model was trained with.") from None

    return answer


def _rows(interface: Interface, tensors: Tensors) -> Array:
    """One table of numbers as it is; columns of several kinds side by side, as objects."""
    arrays = [tensors[spec.name] for spec in interface.inputs]
    return arrays[0] if len(arrays) == 1 else np.concatenate([array.astype(object) for array in arrays], axis=1)


def _categories(interface: Interface) -> list[int]:
    """Return the numbers of the columns that hold categories."""
    if len(interface.inputs) > 1:
        return [place for place, spec in enumerate(interface.inputs) if spec.dtype is DType.BYTES]
    (only,) = interface.inputs
    return list(range(only.shape[1] or 0)) if only.dtype is DType.BYTES else []


def _answer(model: Any, rows: Any, interface: Interface, name: str, kind: str, threads: int) -> Array:
    spec = interface.output(name)
    if name == LABEL:
        places = {str(label): place for place, label in enumerate(interface.labels)}
        found = np.asarray(model.predict(rows, prediction_type="Class", thread_count=threads)).reshape(-1)
        try:
            return np.array([interface.labels[places[str(label)]] for label in found], dtype=spec.dtype.numpy)
        except KeyError as error:
            raise CorruptError(f"CatBoost answers with another class: {str(error)[:100]}.", hint="Import the model again.") from None
    chosen = "Probability" if name == PROBABILITIES else kind
    return np.asarray(model.predict(rows, prediction_type=chosen, thread_count=threads), dtype=np.float64).reshape(rows.num_row(), -1)
