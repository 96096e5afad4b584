"""Keras itself at work, in the sandbox only: opens a Keras file that has passed the reader's gate, describes and runs it.

Takes the job's arguments, gives JSON data and tensors in the scratch folder. Raises MissingExtraError where Keras or a backend is absent,
UnsupportedError where Keras cannot open the file or stands on another backend already. Never compiles the model, never switches Keras's
safe mode off, is never imported by a process that serves.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import inspect
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fairlead.core.dtype import DType
from fairlead.core.interface import Array, shorten
from fairlead.engines.sandboxed_engine import write_answers
from fairlead.engines.tensor_file import read_tensors
from fairlead.errors import MissingExtraError, UnsupportedError

BACKENDS = ("jax", "torch")
_BATCH_ROWS = 256
_FRESH = "Open the model in a process of its own."
_OWN = "Compare with Fairlead's own evaluation instead."


def find_backend() -> str:
    """Return the backend that Keras can use here, without importing it; raises MissingExtraError."""
    for backend in BACKENDS:
        if importlib.util.find_spec("keras") is not None and importlib.util.find_spec(backend) is not None:
            return backend
    raise MissingExtraError("keras", needed_for="Running the model in Keras itself")


class _Without:
    """An import finder that does not find some modules: Keras imports every framework that is there, which takes seconds, and needs one."""

    def __init__(self, finder: Any, names: frozenset[str]) -> None:
        self._finder = finder
        self._names = names

    def __getattr__(self, name: str) -> Any:
        return getattr(self._finder, name)

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        """Return what the finder behind it finds, and None for the names."""
        return None if fullname in self._names else self._finder.find_spec(fullname, path, target)


def start_keras(backend: str = "") -> Any:
    """Import Keras on `backend`, or on the one that is there, and return the module.

    Raises UnsupportedError where this process has Keras on another one: Keras never changes it, and would export by that one's exporter.
    """
    backend = backend or find_backend()
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = backend
        others = frozenset({"tensorflow", "sklearn", *BACKENDS} - {backend})  # scikit-learn: only for Keras's wrappers of it
        sys.meta_path[:] = [_Without(finder, others) for finder in sys.meta_path]
    keras = importlib.import_module("keras")
    standing = str(keras.backend.backend())
    if standing != backend:
        raise UnsupportedError(f"Keras runs on {standing} in this process and cannot change to {backend}.", hint=_FRESH)
    return keras


def open_model(path: Path, backend: str = "") -> Any:
    """Return the model in the file at `path`, not compiled, on `backend` or on the one that is there."""
    keras = start_keras(backend)
    _skip_drawing(keras)
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises whatever a layer raises; all of it means that it cannot open the file
        raise UnsupportedError(
            f"Keras {keras.__version__} cannot open the file: {_first_line(error)}.", hint="Save it again with the installed Keras."
        ) from error


def _skip_drawing(keras: Any) -> None:
    """Let initializers that draw give zeros instead: the file's weights replace them at once, and drawing costs JAX seconds."""

    def zeros(_: Any, shape: Any, dtype: Any = None) -> Array:
        return np.zeros(shape, keras.backend.standardize_dtype(dtype))

    pending = [keras.initializers.Initializer]
    while pending:
        kind = pending.pop()
        pending += kind.__subclasses__()
        if "seed" in inspect.signature(kind).parameters:
            kind.__call__ = zeros


def _first_line(error: Exception) -> str:
    return shorten(next((line for line in str(error).splitlines() if line.strip()), type(error).__name__), 200)


def describe_in_sandbox(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the interface of the model at `path` and what runs it."""
    model = open_model(Path(arguments["path"]))
    keras = importlib.import_module("keras")
    inputs = [_spec(keras, tensor, tensor.name) for tensor in model.inputs]
    names = list(getattr(model, "output_names", ())) or ["output"]
    outputs = [_spec(keras, tensor, names[place] if place < len(names) else "output") for place, tensor in enumerate(model.outputs)]
    _make_unique(inputs + outputs)
    return {"framework": describe_keras(), "interface": {"inputs": inputs, "outputs": outputs}}


def _as_taken(keras: Any, model: Any, tensors: list[Any]) -> Any:
    """Arrange tensors as the model takes them: one, a list, or a dict."""
    structure = getattr(model, "input", None)
    if structure is None:
        return tensors[0] if len(tensors) == 1 else tensors
    return keras.tree.pack_sequence_as(structure, tensors)


def describe_keras() -> str:
    """Return e.g. `keras 3.15.1 (torch 2.13.0)`, from what is installed: nothing is imported. Raises MissingExtraError."""
    backend = find_backend()
    return f"keras {importlib.metadata.version('keras')} ({backend} {importlib.metadata.version(backend)})"


def _spec(keras: Any, tensor: Any, name: str) -> dict[str, Any]:
    kind = keras.backend.standardize_dtype(tensor.dtype)
    dtype = DType.FP32 if "float" in kind else DType.of(np.dtype(kind))
    safe = "".join(char if char.isalnum() and char.isascii() else "_" for char in name)
    return {"name": safe if safe[:1].isalpha() else f"_{safe}", "dtype": dtype.value, "shape": [None, *tensor.shape[1:]]}


def _make_unique(specs: list[dict[str, Any]]) -> None:
    taken: set[str] = set()
    for spec in specs:
        base, number = spec["name"], 0
        while spec["name"] in taken:
            number += 1
            spec["name"] = f"{base}_{number}"
        taken.add(spec["name"])


def run_in_sandbox(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Run the model at `path` on the rows in `inputs`; `outputs` are the names and element types of its outputs, in its order."""
    model = open_model(Path(arguments["path"]))
    keras = importlib.import_module("keras")
    tensors = list(read_tensors(Path(arguments["inputs"])).values())
    if len(model.inputs or ()) != len(tensors):
        raise UnsupportedError(f"Keras sees {len(model.inputs or ())} inputs where the file has {len(tensors)}.", hint=_OWN)
    pieces: list[list[Array]] = []
    for start in range(0, len(tensors[0]), _BATCH_ROWS):
        rows = [tensor[start : start + _BATCH_ROWS] for tensor in tensors]
        try:
            result = model.predict_on_batch(_as_taken(keras, model, rows))
        except Exception as error:  # what a layer raises on a backend that does not fit it
            raise UnsupportedError(f"Keras cannot run the model: {_first_line(error)}.", hint="Use another backend of Keras.") from error
        pieces.append([np.asarray(part) for part in keras.tree.flatten(result)])
    outputs = [(str(name), DType(dtype).numpy) for name, dtype in arguments["outputs"]]
    if len(pieces[0]) != len(outputs):
        raise UnsupportedError(f"Keras gives {len(pieces[0])} outputs where the file has {len(outputs)}.", hint=_OWN)
    answers = zip(outputs, zip(*pieces, strict=True), strict=True)
    return write_answers(arguments["scratch"], {name: np.concatenate(parts).astype(dtype) for (name, dtype), parts in answers})
