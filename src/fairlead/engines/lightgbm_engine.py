"""The reference for LightGBM models: LightGBM itself, in the sandbox, on the snapshot that our own parser has checked.

Takes an Artifact of format lightgbm-text; gives an `Engine` whose every call is a one-shot sandboxed process. Raises MissingExtraError,
SandboxError (LightGBM does not check its files: a crash ends that process and nothing else), DataError for rows that it refuses,
RequestError, UnavailableError. `open_model` is also what engines.booster_engine runs.
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
from fairlead.core.interface import Array, Interface, Tensors
from fairlead.core.ports import Sandbox
from fairlead.engines.sandboxed_engine import SandboxedEngine, Worker, write_answers
from fairlead.engines.tensor_file import read_tensors
from fairlead.engines.tree_ensemble_outputs import LABEL, PREDICTION, PROBABILITIES
from fairlead.errors import CorruptError, DataError, MissingExtraError, SourceError

_ENTRY = "fairlead.engines.lightgbm_engine:run_once"


def open_reference(artifact: Artifact, scratch: Path, sandbox: Sandbox) -> SandboxedEngine:
    """Return the reference engine for `artifact`, which writes only into `scratch`."""
    if importlib.util.find_spec("lightgbm") is None:
        raise MissingExtraError("lightgbm", needed_for="Comparing with LightGBM itself")
    arguments = {"path": str(artifact.snapshot), "interface": msgspec.to_builtins(artifact.interface)}
    worker = Worker(_ENTRY, artifact.snapshot, f"{describe_library()} itself, in the sandbox", arguments)
    return SandboxedEngine(worker, artifact.interface, scratch, sandbox)


def describe_library() -> str:
    """Return its name and version, without loading it."""
    return f"lightgbm {importlib.metadata.version('lightgbm')}"


def run_once(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Run in the sandbox: answer the rows in arguments["inputs"] with the model in arguments["path"]."""
    return write_answers(arguments["scratch"], open_model(arguments)(read_tensors(Path(arguments["inputs"]))))


def open_model(arguments: Mapping[str, Any]) -> Callable[[Tensors], dict[str, Array]]:
    """Run in the sandbox: let LightGBM open arguments["path"], and return what answers with it."""
    import lightgbm  # noqa: PLC0415 - the sandboxed child alone opens the file

    interface = msgspec.convert(arguments["interface"], Interface)
    threads = int(arguments.get("thread_count", 1))
    try:
        booster = lightgbm.Booster(model_file=arguments["path"])
    except (lightgbm.basic.LightGBMError, ValueError) as error:
        raise SourceError(f"LightGBM does not read its own file: {str(error)[:200]}.", hint="Save the model again.") from None

    def answer(tensors: Tensors) -> dict[str, Array]:
        rows = tensors[interface.inputs[0].name]
        try:
            values = np.asarray(booster.predict(rows, num_threads=threads), dtype=np.float64).reshape(len(rows), -1)
        except (lightgbm.basic.LightGBMError, ValueError) as error:
            raise DataError(f"LightGBM refuses these rows: {str(error)[:200]}.", hint="Give rows as the model was trained with.") from None
        return {spec.name: _answer(interface, spec.name, values) for spec in interface.outputs}

    return answer


def _answer(interface: Interface, name: str, values: Array) -> Array:
    """One output from what LightGBM's own predict gives, as its scikit-learn classes make it."""
    probabilities = np.hstack([1.0 - values, values]) if values.shape[1] == 1 else values
    if name == LABEL:
        labels = np.asarray(interface.labels, dtype=interface.output(name).dtype.numpy)
        return np.asarray(labels[np.argmax(probabilities, axis=1)])
    if name == PROBABILITIES:
        return probabilities
    if name == PREDICTION:
        return values
    raise CorruptError(f"LightGBM gives no output '{name}'.", hint="Import the model again.")
