"""A foreign model after ingest: what it is, what it takes and gives, and where its data-only copy lies. Pure values."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fairlead.core.interface import Interface
from fairlead.core.manifest import Manifest


class SourceFormat(enum.StrEnum):
    """What the user gave, decided by content."""

    KERAS_H5 = "keras-h5"
    KERAS_ZIP = "keras-zip"
    SKLEARN_PICKLE = "sklearn-pickle"
    SKLEARN_JOBLIB = "sklearn-joblib"
    SKLEARN_SKOPS = "sklearn-skops"
    ONNX = "onnx"


class ArtifactForm(enum.StrEnum):
    """In which form `Artifact.path` holds the model; one converter and one reference engine per form."""

    LAYER_GRAPH = "layer-graph"  # directory of core.layer_graph: graph.json + weights.npz; data only
    KERAS_FILE = "keras-file"  # the snapshot itself: has layers only Keras knows; opened in the sandbox only
    ESTIMATOR_FILE = "estimator-file"  # the snapshot itself: a checked pickle, joblib or skops file; opened in the sandbox only
    ONNX_FILE = "onnx-file"  # single-file ONNX, external data folded in


@dataclass(frozen=True)
class Artifact:
    """The result of ingest. `path` and `snapshot` lie in the workspace and are all that later steps open.

    `snapshot` is the byte-for-byte copy of the user's file, made while its digest was taken; only the sandbox opens it.
    `source` lists the user's files with digests as they were read; `framework` e.g. "keras 3.15.1"; `facts` are plain numbers and
    names for planning and `inspect` (parameter_count, layer_count, ...); `notes` are sentences for the user ("optimizer state
    dropped: 2.8 MB").
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
