"""The reference for LightGBM models: LightGBM itself, in the sandbox, on the snapshot that our own parser has checked.

Takes an Artifact of format lightgbm-text; gives an `Engine` whose every call is a one-shot sandboxed process. Raises MissingExtraError,
SandboxError (LightGBM does not check its files: a crash ends that process and nothing else), RequestError, UnavailableError. Never used for
serving.
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
from fairlead.core.ports import Sandbox
from fairlead.engines.sandboxed_engine import SandboxedEngine, Worker, write_answers
from fairlead.engines.tensor_file import read_tensors
from fairlead.engines.tree_ensemble_outputs import LABEL, PREDICTION, PROBABILITIES
from fairlead.errors import CorruptError, MissingExtraError, SourceError

_ENTRY = "fairlead.engines.lightgbm_engine:run_once"


def open_reference(artifact: Artifact, scratch: Path, sandbox: Sandbox) -> SandboxedEngine:
    """Return the reference engine for `artifact`, which writes only into `scratch`."""
    if importlib.util.find_spec("lightgbm") is None:
        raise MissingExtraError("lightgbm", needed_for="Comparing with LightGBM itself")
    version = importlib.metadata.version("lightgbm")
    arguments = {"path": str(artifact.snapshot), "interface": msgspec.to_builtins(artifact.interface)}
    worker = Worker(_ENTRY, artifact.snapshot, f"lightgbm {version} itself, in the sandbox", arguments)
    return SandboxedEngine(worker, artifact.interface, scratch, sandbox)


def run_once(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Run in the sandbox: answer the rows in arguments["inputs"] with the model in arguments["path"]."""
    import lightgbm  # noqa: PLC0415 - the sandboxed child alone opens the file

    interface = msgspec.convert(arguments["interface"], Interface)
    rows = read_tensors(Path(arguments["inputs"]))[interface.inputs[0].name]
    try:
        booster = lightgbm.Booster(model_file=arguments["path"])
        values = np.asarray(booster.predict(rows, num_threads=1), dtype=np.float64).reshape(len(rows), -1)
    except (lightgbm.basic.LightGBMError, ValueError) as error:
        raise SourceError(f"LightGBM does not read its own file: {str(error)[:200]}.", hint="Save the model again.") from None
    return write_answers(arguments["scratch"], {spec.name: _answer(interface, spec.name, values) for spec in interface.outputs})


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
