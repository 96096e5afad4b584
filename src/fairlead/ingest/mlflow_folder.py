"""An MLflow model folder: which of its flavors Fairlead reads, and where that flavor's file lies. Pure.

Takes the parsed MLmodel and the names of the folder's files; gives a Choice. Raises UnsafeContentError for a path that leaves the folder,
SourceError for one that is not there, UnsupportedError, by name, for flavors that only Python code could open. Never imports what a
flavor names (`loader_module`, `code`, `model_class`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from fairlead.core.artifact import SourceFormat
from fairlead.core.interface import shorten
from fairlead.errors import SourceError, UnsafeContentError, UnsupportedError

MLMODEL = "MLmodel"
_SAVED_MODEL = "saved_model.pb"
_PICKLES = (SourceFormat.SKLEARN_PICKLE, SourceFormat.SKLEARN_JOBLIB, SourceFormat.SKLEARN_SKOPS)
_KERAS = (SourceFormat.KERAS_ZIP, SourceFormat.KERAS_H5, SourceFormat.TF_SAVED_MODEL)


@dataclass(frozen=True)
class Flavor:
    """`keys` say where the flavor's configuration names its file or folder; `inside` are the files to look for in a folder."""

    name: str
    keys: tuple[str, ...]
    formats: tuple[SourceFormat, ...]
    inside: tuple[str, ...] = ()


# In this order: what is a graph or plain data comes before what is a pickle.
FLAVORS = (
    Flavor("onnx", ("data",), (SourceFormat.ONNX,)),
    Flavor("xgboost", ("data",), (SourceFormat.XGBOOST_UBJ, SourceFormat.XGBOOST_JSON)),
    Flavor("lightgbm", ("data",), (SourceFormat.LIGHTGBM_TEXT, *_PICKLES)),
    Flavor("catboost", ("data",), (SourceFormat.CATBOOST_CBM, SourceFormat.ONNX)),
    Flavor("tensorflow", ("data", "saved_model_dir"), _KERAS, ("model.keras", "model.h5", "model/saved_model.pb", _SAVED_MODEL)),
    Flavor("keras", ("data",), _KERAS, ("model.keras", "model.h5", "model/saved_model.pb", _SAVED_MODEL)),
    Flavor(
        "pytorch",
        ("model_data",),
        (SourceFormat.TORCH_EXPORTED, SourceFormat.TORCH_SCRIPT, SourceFormat.TORCH_STATE),
        ("model.pt2", "model.pth", "model.pt"),
    ),
    Flavor("sklearn", ("pickled_model",), _PICKLES),
)
# Keys of a flavor's configuration whose values are paths in the folder. `artifacts` and `extra_files` hold further configurations.
_PATH_KEYS = frozenset({
    "data", "model_path", "model_data", "pickled_model", "saved_model_dir", "code", "python_model", "state_dict", "path", "conda",
    "virtualenv", "model_code_path", "artifact_path", "serving_input_path",
})  # fmt: skip
_NESTED_KEYS = frozenset({"env", "artifacts", "extra_files", "requirements_file"})
_HINT = "Save the model again with MLflow."


@dataclass(frozen=True)
class Choice:
    """The flavor that is read and where its file, or its folder (`is_folder`), lies."""

    flavor: Flavor
    path: str
    is_folder: bool


def choose(described: Mapping[str, Any], files: Collection[str]) -> Choice:
    """Return what to read of the folder that `described` (a parsed MLmodel) is about."""
    flavors = described.get("flavors")
    if not isinstance(flavors, dict) or not all(isinstance(value, dict) for value in flavors.values()):
        raise SourceError("The MLmodel file lists no flavors.", hint=_HINT)
    for path in _paths(flavors):
        _check_inside(path)
    for path in _paths({"example": described.get("saved_input_example_info") or {}}):
        _check_inside(path)
    for flavor in FLAVORS:
        if flavor.name in flavors:
            return _locate(flavor, flavors[flavor.name], files)
    raise _unknown(list(flavors))


def example_path(described: Mapping[str, Any], files: Collection[str]) -> str:
    """Return where the input example lies, "" where there is none."""
    info = described.get("saved_input_example_info")
    path = info.get("artifact_path") if isinstance(info, dict) else None
    return path if isinstance(path, str) and path in files else ""


def code_paths(described: Mapping[str, Any], files: Collection[str]) -> tuple[str, ...]:
    """Return the names of Python files and code folders that the model brings along."""
    named = {str(path) for conf in described["flavors"].values() if (path := conf.get("code"))}
    named |= {name for name in files if name.endswith((".py", ".pyc", ".so"))}
    return tuple(sorted(named))


def _locate(flavor: Flavor, conf: Mapping[str, Any], files: Collection[str]) -> Choice:
    path = next((conf[key] for key in flavor.keys if isinstance(conf.get(key), str)), None)
    if path is None:
        raise SourceError(f"The flavor {flavor.name} of the MLmodel file does not say where its model lies.", hint=_HINT)
    path = PurePosixPath(path).as_posix()
    if path in files:
        return Choice(flavor, path, is_folder=False)
    for name in flavor.inside:
        candidate = (PurePosixPath(path) / name).as_posix()
        if candidate in files and name.endswith(_SAVED_MODEL):
            return Choice(flavor, PurePosixPath(candidate).parent.as_posix(), is_folder=True)
        if candidate in files:
            return Choice(flavor, candidate, is_folder=False)
    expected = f" ({', '.join(flavor.inside)})" if flavor.inside else ""
    raise SourceError(
        f"The folder lacks '{shorten(path)}'{expected}, which its flavor {flavor.name} names.", hint="Download it again, whole."
    )


def _paths(conf: Any) -> Iterator[str]:
    """Yield every path in flavors' configurations."""
    for value in conf.values() if isinstance(conf, dict) else conf:
        if not isinstance(value, dict):
            continue
        for key, item in value.items():
            if key in _PATH_KEYS | _NESTED_KEYS and isinstance(item, str):
                yield item
            elif key in _NESTED_KEYS and isinstance(item, dict):
                yield from _paths([item, *item.values()])
            elif key in _NESTED_KEYS and isinstance(item, list):
                yield from _paths(item)


def _check_inside(path: str) -> None:
    parts = path.split("/")
    is_sound = path.isprintable() and "\\" not in path and ".." not in parts and not path.startswith(("/", "~"))
    if not is_sound or parts[0].endswith(":"):
        raise UnsafeContentError(f"The MLmodel file names '{shorten(path)}', which leaves the folder.", hint="Do not use this model.")


def _unknown(found: list[str]) -> UnsupportedError:
    native = [name for name in found if name != "python_function"]
    if not native:
        return UnsupportedError(
            "The folder has no flavor but python_function: its model is Python code, which nothing but that code can open.",
            hint="Log the model itself, too: mlflow.sklearn, xgboost, lightgbm, catboost, onnx, pytorch, tensorflow or keras.",
        )
    shown = ", ".join(shorten(name) for name in native[:10])
    return UnsupportedError(
        f"The folder's flavor is {shown}, which Fairlead does not read.", hint=f"It reads: {', '.join(flavor.name for flavor in FLAVORS)}."
    )
