"""The readers, by the format of what they read.

Each is a function that runs in the sandbox: it takes the job's arguments (`path`, `format`, `scratch`, and `companions`, the names of
further files of the model beside it) and gives `interface` (or null), `framework`, `facts`, `notes` and `form`; `file` is what it wrote
into scratch, "" for the snapshot itself.
"""

from __future__ import annotations

from fairlead.core.artifact import SourceFormat
from fairlead.core.catalog import Catalog, Variant

_KERAS = Variant("fairlead.ingest.keras_reader:read_in_sandbox")
_SKLEARN = Variant("fairlead.ingest.sklearn_reader:read_in_sandbox", extra="sklearn")
READERS = Catalog(
    "reader",
    "fairlead.readers",
    {
        SourceFormat.KERAS_H5.value: _KERAS,
        SourceFormat.KERAS_ZIP.value: _KERAS,
        SourceFormat.SKLEARN_PICKLE.value: _SKLEARN,
        SourceFormat.SKLEARN_JOBLIB.value: _SKLEARN,
        SourceFormat.SKLEARN_SKOPS.value: _SKLEARN,
        SourceFormat.ONNX.value: Variant("fairlead.ingest.onnx_reader:read_in_sandbox"),
    },
)

# Formats that may keep parts of themselves in files beside: a function that runs in the sandbox takes `path` and gives `files`, bare names.
COMPANIONS = {SourceFormat.ONNX: "fairlead.ingest.onnx_reader:companions_in_sandbox"}
