"""The parts of a Keras file: config, version, weights, and what belongs to training. Both formats, Keras 2 and Keras 3.

Takes a path and the gate that judges the config, gives a KerasFile. Raises SourceError for damage and for files that hold no model,
UnsafeContentError for what reaches outside or is a bomb. The gate sees the config before any weights are read, so that an unsafe file is
called unsafe even where its weights are damaged too. Never interprets the config.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fairlead.core.interface import shorten
from fairlead.errors import SourceError, UnsafeContentError, UnsupportedError
from fairlead.ingest.keras_hdf5 import Hdf5Folder, open_hdf5
from fairlead.ingest.keras_json import SIZE_LIMIT_BYTES, parse_json
from fairlead.ingest.keras_weights import RawWeights
from fairlead.security.archive import ZipMembers, open_zip

_WEIGHTS = "model.weights.h5"
_TRAINING_GROUPS = ("optimizer/", "metrics/", "_metrics/", "_compile_metrics/", "compile_metrics/", "_loss_tracker/")
Gate = Callable[[dict[str, Any]], None]
_DAMAGED = "The file is damaged or was not written by Keras. Save the model again."


@dataclass(frozen=True)
class KerasFile:
    """What a file holds. `training` is the dict of training settings, of which only names of losses are ever used."""

    config: dict[str, Any]
    version: str
    weights: RawWeights = field(repr=False)
    training: Mapping[str, Any] = field(default_factory=dict)
    dropped_bytes: int = 0
    notes: tuple[str, ...] = ()

    @property
    def is_keras2(self) -> bool:
        """Whether Keras 2 wrote it."""
        return self.version.startswith("2.")


def read_h5(path: Path, gate: Gate) -> KerasFile:
    """Return the parts of an .h5 file. What `gate` raises for the config comes through."""
    with open_hdf5(path) as folder:
        texts = {name: folder.text("", name) for name in ("model_config", "training_config", "keras_version")}
        if texts["model_config"] is None:
            raise SourceError(
                "The file holds weights but no model." if folder.datasets else "The file is HDF5, but holds no Keras model.",
                hint="Save the whole model: model.save('model.h5'), not save_weights().",
            )
        config = parse_json(texts["model_config"].encode(), "model_config")
        gate(config)
        names = _listed_names(folder)
        arrays = {path.removeprefix("model_weights/"): folder.array(path) for path in folder.datasets if path.startswith("model_weights/")}
        dropped = folder.size_bytes("optimizer_weights/")
        other = folder.size_bytes("") - folder.size_bytes("model_weights/") - dropped
    return KerasFile(
        config,
        _check_version(texts["keras_version"]),
        RawWeights(arrays, names),
        _training(texts["training_config"]),
        dropped,
        (f"arrays beside the model dropped: {megabytes(other)}",) if other else (),
    )


def _listed_names(folder: Hdf5Folder) -> dict[str, list[str]]:
    if "model_weights" not in folder.groups:
        raise SourceError("The file holds a model without weights.", hint=_DAMAGED)
    layers = folder.texts("model_weights", "layer_names")
    if layers is None:
        raise SourceError("The file does not list its layers.", hint=_DAMAGED)
    layers += ["top_level_model_weights"] if "model_weights/top_level_model_weights" in folder.groups else []
    names: dict[str, list[str]] = {}
    for layer in layers:
        if f"model_weights/{layer}" not in folder.groups or layer in names:
            raise SourceError(f"The weights of layer '{shorten(layer)}' are missing or listed twice.", hint=_DAMAGED)
        names[layer] = folder.texts(f"model_weights/{layer}", "weight_names") or []
    return names


def _training(text: str | None) -> dict[str, Any]:
    return parse_json(text.encode(), "training_config") if text else {}


def _check_version(version: Any) -> str:
    if version is None:
        raise SourceError("The file does not say which Keras wrote it.", hint=_DAMAGED)
    text = shorten(str(version), 40)
    if not text.startswith(("2.", "3.")):
        raise UnsupportedError(f"The file was written by Keras {text}.", hint="Files of Keras 2 and 3 can be read.")
    return text


def read_keras_zip(path: Path, scratch: Path, gate: Gate) -> KerasFile:
    """Return the parts of a .keras file; its weights are unpacked into `scratch`. What `gate` raises for the config comes through."""
    with open_zip(path) as members:
        _check_foreign(members)
        _check_present(members, "config.json")
        config = parse_json(members.read("config.json", limit_bytes=SIZE_LIMIT_BYTES), "config.json")
        gate(config)
        _check_rest(members)
        metadata = parse_json(members.read("metadata.json", limit_bytes=SIZE_LIMIT_BYTES), "metadata.json")
        members.copy(_WEIGHTS, scratch / _WEIGHTS)
    with open_hdf5(scratch / _WEIGHTS) as folder:
        kept = [path for path in folder.datasets if not path.startswith(_TRAINING_GROUPS)]
        arrays = {path: folder.array(path) for path in kept}
        dropped = sum(folder.size_bytes(group) for group in _TRAINING_GROUPS)
        labels = {path: label for path in folder.groups if path and (label := folder.text(path, "name")) is not None}
    (scratch / _WEIGHTS).unlink()
    # The model's first keepers wrote another name for the same folder (Keras 2.12).
    old = "_layer_checkpoint_dependencies/"
    arrays = {f"layers/{path.removeprefix(old)}" if path.startswith(old) else path: array for path, array in arrays.items()}
    training = config.get("compile_config")
    return KerasFile(
        config,
        _check_version(metadata.get("keras_version")),
        RawWeights(arrays, None, labels),
        training if isinstance(training, dict) else {},
        dropped,
    )


def _check_foreign(members: ZipMembers) -> None:
    for name in members.names:
        if name not in ("config.json", "metadata.json", _WEIGHTS) and not name.startswith("assets/"):
            raise UnsafeContentError(f"The file holds '{shorten(name)}', which Keras does not write.", hint="Do not use the file.")


def _check_present(members: ZipMembers, name: str) -> None:
    if name not in members.names:
        raise SourceError(f"The file has no {name}.", hint="A .keras file is what model.save('model.keras') writes.")


def _check_rest(members: ZipMembers) -> None:
    for name in members.names:
        if name.startswith("assets/"):
            raise UnsupportedError(
                f"The file holds '{shorten(name)}', the vocabulary of a text layer.",
                hint="Do the look-up before the model, and save it again.",
            )
    for name in ("metadata.json", _WEIGHTS):
        _check_present(members, name)


def megabytes(size_bytes: int) -> str:
    """Return e.g. `2.8 MB` (10^6 bytes)."""
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes >= 100_000 else f"{size_bytes / 1e3:.1f} kB"
