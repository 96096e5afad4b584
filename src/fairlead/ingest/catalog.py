"""The readers, by the format of what they read.

Each is a function that runs in the sandbox. It takes the job's arguments: `path`, `format`, `scratch`, `companions` (the names of further
files of the model beside it) and `options` (a core SourceOptions as JSON data, without its paths). It gives `interface` (or null),
`framework`, `facts`, `notes` and `form`; `file` is what it wrote into scratch, "" for the snapshot itself.
"""

from __future__ import annotations

from fairlead.core.artifact import SourceFormat
from fairlead.core.catalog import Catalog, Variant

_KERAS = Variant("fairlead.ingest.keras_reader:read_in_sandbox")
_SKLEARN = Variant("fairlead.ingest.sklearn_reader:read_in_sandbox", extra="sklearn")
_TORCH = Variant("fairlead.ingest.torch_reader:read_in_sandbox", extra="torch")
_XGBOOST = Variant("fairlead.ingest.xgboost_reader:read_in_sandbox")
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
        SourceFormat.TORCH_EXPORTED.value: _TORCH,
        SourceFormat.TORCH_SCRIPT.value: _TORCH,
        SourceFormat.TORCH_STATE.value: _TORCH,
        SourceFormat.SAFETENSORS.value: _TORCH,
        SourceFormat.TF_SAVED_MODEL.value: Variant("fairlead.ingest.saved_model_reader:read_in_sandbox"),
        SourceFormat.TFLITE.value: Variant("fairlead.ingest.tflite_reader:read_in_sandbox"),
        SourceFormat.XGBOOST_JSON.value: _XGBOOST,
        SourceFormat.XGBOOST_UBJ.value: _XGBOOST,
        SourceFormat.LIGHTGBM_TEXT.value: Variant("fairlead.ingest.lightgbm_reader:read_in_sandbox"),
        SourceFormat.CATBOOST_CBM.value: Variant("fairlead.ingest.catboost_reader:read_in_sandbox"),
    },
)

# Formats that may keep parts of themselves in files beside: a function that runs in the sandbox takes `path` and gives `files`, bare names.
COMPANIONS = {SourceFormat.ONNX: "fairlead.ingest.onnx_reader:companions_in_sandbox"}

# What is unsafe in a file, said without opening it (`fairlead inspect`): functions that run in the sandbox, take `path` and `format`, and
# give what a reader gives, with `findings`. A format that is missing here holds data only: its reader is its inspection.
INSPECTORS = {
    SourceFormat.KERAS_H5: "fairlead.ingest.keras_reader:inspect_in_sandbox",
    SourceFormat.KERAS_ZIP: "fairlead.ingest.keras_reader:inspect_in_sandbox",
    SourceFormat.SKLEARN_PICKLE: "fairlead.ingest.inspection:inspect_in_sandbox",
    SourceFormat.SKLEARN_JOBLIB: "fairlead.ingest.inspection:inspect_in_sandbox",
    SourceFormat.SKLEARN_SKOPS: "fairlead.ingest.inspection:inspect_in_sandbox",
    SourceFormat.TORCH_EXPORTED: "fairlead.ingest.torch_reader:inspect_in_sandbox",
    SourceFormat.TORCH_SCRIPT: "fairlead.ingest.torch_reader:inspect_in_sandbox",
    SourceFormat.TORCH_STATE: "fairlead.ingest.torch_reader:inspect_in_sandbox",
    SourceFormat.SAFETENSORS: "fairlead.ingest.torch_reader:inspect_in_sandbox",
    SourceFormat.TF_SAVED_MODEL: "fairlead.ingest.saved_model_reader:inspect_in_sandbox",
    SourceFormat.TFLITE: "fairlead.ingest.tflite_reader:inspect_in_sandbox",
    SourceFormat.CATBOOST_CBM: "fairlead.ingest.catboost_reader:inspect_in_sandbox",
}
