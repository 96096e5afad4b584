"""The reference for XGBoost models: XGBoost itself, in the sandbox, on the snapshot that our own parser has checked.

Takes an Artifact of format xgboost-json or xgboost-ubj; gives an `Engine` whose every call is a one-shot sandboxed process. Raises
MissingExtraError, SandboxError (a crash of XGBoost ends that process and nothing else), SourceError, DataError for rows that XGBoost
refuses (infinities), RequestError, UnavailableError. `open_model` is also what engines.booster_engine runs.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from fairlead.core.artifact import Artifact
from fairlead.core.interface import Array, Interface, Tensors
from fairlead.core.ports import Sandbox
from fairlead.engines.sandboxed_engine import SandboxedEngine, Worker, write_answers
from fairlead.engines.tensor_file import read_tensors
from fairlead.engines.tree_ensemble_outputs import LABEL, PREDICTION, PROBABILITIES, SCORES
from fairlead.errors import CorruptError, DataError, MissingExtraError, SourceError

_ENTRY = "fairlead.engines.xgboost_engine:run_once"


def open_reference(artifact: Artifact, scratch: Path, sandbox: Sandbox) -> SandboxedEngine:
    """Return the reference engine for `artifact`, which writes only into `scratch`."""
    if importlib.util.find_spec("xgboost") is None:
        raise MissingExtraError("xgboost", needed_for="Comparing with XGBoost itself")
    arguments = {"path": str(artifact.snapshot), "interface": msgspec.to_builtins(artifact.interface)}
    worker = Worker(_ENTRY, artifact.snapshot, f"{describe_library()} itself, in the sandbox", arguments)
    return SandboxedEngine(worker, artifact.interface, scratch, sandbox)


def describe_library() -> str:
    """Return its name and version, without loading it."""
    for package in ("xgboost-cpu", "xgboost"):
        with suppress(importlib.metadata.PackageNotFoundError):
            return f"xgboost {importlib.metadata.version(package)}"
    return "xgboost of an unknown version"


def run_once(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Run in the sandbox: answer the rows in arguments["inputs"] with the model in arguments["path"]."""
    return write_answers(arguments["scratch"], open_model(arguments)(read_tensors(Path(arguments["inputs"]))))


def open_model(arguments: Mapping[str, Any]) -> Callable[[Tensors], dict[str, Array]]:
    """Run in the sandbox: let XGBoost open arguments["path"], and return what answers with it."""
    import xgboost  # noqa: PLC0415 - the sandboxed child alone opens the file

    interface = msgspec.convert(arguments["interface"], Interface)
    booster = xgboost.Booster({"nthread": int(arguments.get("thread_count", 1)), "device": "cpu"})
    try:
        booster.load_model(bytearray(Path(arguments["path"]).read_bytes()))
        rounds = _round_count(booster)
    except (xgboost.core.XGBoostError, ValueError) as error:
        raise SourceError(f"XGBoost does not open the model: {_reason(error)}.", hint="Save the model again.") from None

    def answer(tensors: Tensors) -> dict[str, Array]:
        rows = tensors[interface.inputs[0].name]
        try:
            # By DMatrix: what DART answers in place differs in the last bits (measured).
            table = xgboost.DMatrix(rows, feature_names=booster.feature_names, feature_types=booster.feature_types, enable_categorical=True)
            values = np.asarray(booster.predict(table, iteration_range=(0, rounds)), dtype=np.float32)
        except (xgboost.core.XGBoostError, ValueError) as error:
            raise DataError(f"XGBoost refuses these rows: {_reason(error)}.", hint="Give rows as the model was trained with.") from None
        return {spec.name: _answer(interface, spec.name, values) for spec in interface.outputs}

    return answer


def _reason(error: Exception) -> str:
    """The sentence without the time, the place in XGBoost's own source, and the addresses of its frames."""
    return str(error).partition("\nStack trace:")[0].rpartition("Check failed: ")[2].strip()[:200].rstrip(".")


def _round_count(booster: Any) -> int:
    """The rounds that early stopping chose, as XGBoost's scikit-learn classes use them; 0 for all. The linear booster knows no rounds."""
    if json.loads(booster.save_config())["learner"]["gradient_booster"]["name"] == "gblinear":
        return 0
    best = booster.attr("best_iteration")
    return int(best) + 1 if best is not None else 0


def _answer(interface: Interface, name: str, values: Array) -> Array:
    """One output from what XGBoost's own predict gives, as its scikit-learn classes make it."""
    has_probabilities = any(spec.name == PROBABILITIES for spec in interface.outputs)
    if name == LABEL:
        if not has_probabilities:  # the objective gives the class itself
            return values.reshape(-1).astype(np.int64)
        return np.asarray(values > 0.5 if values.ndim == 1 else np.argmax(values, axis=1), dtype=np.int64)
    if name == PROBABILITIES:
        return np.stack([1 - values, values], axis=1) if values.ndim == 1 else values
    if name in (PREDICTION, SCORES):
        return values.reshape(len(values), -1)
    raise CorruptError(f"XGBoost gives no output '{name}'.", hint="Import the model again.")
