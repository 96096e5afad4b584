"""A foreign model after ingest: what it is, what it takes and gives, and where its data-only copy lies. Pure values."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fairlead.core.interface import Interface, TensorSpec
from fairlead.core.manifest import Manifest


class SourceFormat(enum.StrEnum):
    """What the user gave, decided by content."""

    KERAS_H5 = "keras-h5"
    KERAS_ZIP = "keras-zip"
    SKLEARN_PICKLE = "sklearn-pickle"
    SKLEARN_JOBLIB = "sklearn-joblib"
    SKLEARN_SKOPS = "sklearn-skops"
    ONNX = "onnx"
    TORCH_EXPORTED = "torch-exported"  # .pt2: an ExportedProgram
    TORCH_SCRIPT = "torch-script"  # .pt: TorchScript
    TORCH_STATE = "torch-state"  # .pt, .pth: a state_dict; needs the class that it belongs to
    SAFETENSORS = "safetensors"  # likewise
    TF_SAVED_MODEL = "tf-saved-model"  # a folder
    TFLITE = "tflite"
    XGBOOST_JSON = "xgboost-json"
    XGBOOST_UBJ = "xgboost-ubj"
    LIGHTGBM_TEXT = "lightgbm-text"
    CATBOOST_CBM = "catboost-cbm"


class ArtifactForm(enum.StrEnum):
    """In which form `Artifact.path` holds the model; one converter and one reference engine per form."""

    LAYER_GRAPH = "layer-graph"  # directory of core.layer_graph: graph.json + weights.npz; data only
    KERAS_FILE = "keras-file"  # the snapshot itself: has layers only Keras knows; opened in the sandbox only
    ESTIMATOR_FILE = "estimator-file"  # the snapshot itself: a checked pickle, joblib or skops file; opened in the sandbox only
    ONNX_FILE = "onnx-file"  # single-file ONNX, external data folded in
    TREE_ENSEMBLE = "tree-ensemble"  # file of engines.tree_ensemble_file; data only. The snapshot is the library's own file
    BOOSTER_FILE = "booster-file"  # the snapshot itself: a checked file of a boosting library that is no plain trees; as above
    TORCH_FILE = "torch-file"  # the snapshot itself, checked; opened in the sandbox only
    SAVED_MODEL = "saved-model"  # the snapshot itself (a folder), checked; opened in the sandbox only
    TFLITE_FILE = "tflite-file"  # the snapshot itself, checked; opened in the sandbox only


@dataclass(frozen=True)
class SourceOptions:
    """What the user says about a file that does not say it itself.

    `model_class` is "module:Class" (or a function that returns the model) for files that hold weights only; `model_arguments` are its
    keyword arguments, JSON values. The module is looked for in `import_paths`, and imported in the sandbox only. `inputs` are names, types
    and shapes for files that do not record them; where the user gave none, they are those of the data's arrays. `signature` names the
    one that is meant of a TensorFlow SavedModel that has several.
    """

    model_class: str = ""
    model_arguments: Mapping[str, str | int | float | bool | None] = field(default_factory=dict)
    import_paths: tuple[Path, ...] = ()
    inputs: tuple[TensorSpec, ...] = ()
    signature: str = ""


@dataclass(frozen=True)
class Artifact:
    """The result of ingest. `path` and `snapshot` lie in the workspace and are all that later steps open.

    `snapshot` is the byte-for-byte copy of the user's file (or folder), made while its digest was taken; only the sandbox opens it.
    `source` lists the user's files with digests as they were read; `framework` e.g. "keras 3.15.1"; `facts` are plain numbers and
    names for planning and `inspect` (parameter_count, layer_count, ...); `notes` are sentences for the user ("optimizer state
    dropped: 2.8 MB"). `options` are what the user said beside the file. `attachments` (bare name -> path) are data files that came with
    the model and stay with the version as they are, such as an MLflow folder's description.
    """

    format: SourceFormat
    form: ArtifactForm
    path: Path
    snapshot: Path
    source: Manifest
    framework: str
    interface: Interface
    facts: Mapping[str, int | float | str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    options: SourceOptions = field(default_factory=SourceOptions)
    attachments: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Finding:
    """Something unsafe or noteworthy in a file, found without opening it. `where` is a member, layer or opcode position."""

    is_unsafe: bool
    what: str
    where: str = ""


@dataclass(frozen=True)
class Inspection:
    """What `fairlead inspect` shows: known before anything is deserialized. `interface` is None where it cannot be known safely."""

    path: Path
    format: SourceFormat
    size_bytes: int
    digest: str
    framework: str
    interface: Interface | None
    facts: Mapping[str, int | float | str] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_unsafe(self) -> bool:
        """Whether Fairlead refuses to open the file."""
        return any(finding.is_unsafe for finding in self.findings)
