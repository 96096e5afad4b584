"""The index of engines: what serves a registered model, and what runs an original to compare with. Imports nothing heavy."""

from __future__ import annotations

from fairlead.core.artifact import ArtifactForm
from fairlead.core.catalog import Catalog, Variant

# Each is a class: Engine(path, interface, *, thread_count=1), and sandbox=... where it has needs_sandbox. See engines.opening.
ENGINES = Catalog(
    kind="engine",
    group="fairlead.engines",
    variants={
        "onnxruntime": Variant("fairlead.engines.onnxruntime_engine:OnnxRuntimeEngine"),
        "openvino": Variant("fairlead.engines.openvino_engine:OpenVinoEngine", extra="openvino"),
        "litert": Variant("fairlead.engines.litert_engine:LiteRtEngine", extra="litert"),
        "trees": Variant("fairlead.engines.trees_engine:TreesEngine"),
        "torch": Variant("fairlead.engines.torch_engine:TorchEngine", extra="torch"),
        "python": Variant("fairlead.engines.python_engine:PythonEngine", extra="sklearn"),
        "booster": Variant("fairlead.engines.booster_engine:BoosterEngine"),  # whose extra is that of the file's library
        "ensemble": Variant("fairlead.engines.ensemble_engine:EnsembleEngine"),  # of versions by the others; `compose` makes them
    },
)

# Each is a function: open_reference(artifact: Artifact, scratch: Path, sandbox: Sandbox) -> Engine, by ArtifactForm.
# "keras" runs a layer graph's snapshot in Keras itself where that is installed, and "xgboost", "lightgbm" and "catboost" a tree
# ensemble's in the library that trained it: that proves more than our own evaluation.
REFERENCES = Catalog(
    kind="reference engine",
    group="fairlead.references",
    variants={
        ArtifactForm.LAYER_GRAPH.value: Variant("fairlead.engines.layer_graph_engine:open_reference"),
        "keras": Variant("fairlead.engines.keras_engine:open_reference", extra="keras"),
        ArtifactForm.KERAS_FILE.value: Variant("fairlead.engines.keras_engine:open_reference", extra="keras"),
        ArtifactForm.ESTIMATOR_FILE.value: Variant("fairlead.engines.sklearn_engine:open_reference", extra="sklearn"),
        ArtifactForm.ONNX_FILE.value: Variant("fairlead.engines.onnx_reference_engine:open_reference"),
        ArtifactForm.TREE_ENSEMBLE.value: Variant("fairlead.engines.tree_ensemble_engine:open_reference"),
        "xgboost": Variant("fairlead.engines.xgboost_engine:open_reference", extra="xgboost"),
        "lightgbm": Variant("fairlead.engines.lightgbm_engine:open_reference", extra="lightgbm"),
        "catboost": Variant("fairlead.engines.catboost_engine:open_reference", extra="catboost"),
        ArtifactForm.TORCH_FILE.value: Variant("fairlead.engines.torch_engine:open_reference", extra="torch"),
        ArtifactForm.SAVED_MODEL.value: Variant("fairlead.engines.saved_model_engine:open_reference", extra="tensorflow"),
        ArtifactForm.TFLITE_FILE.value: Variant("fairlead.engines.litert_engine:open_reference", extra="litert"),
    },
)
