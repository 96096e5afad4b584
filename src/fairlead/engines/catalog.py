"""The index of engines: what serves a registered model, and what runs an original to compare with. Imports nothing heavy."""

from __future__ import annotations

from fairlead.core.artifact import ArtifactForm
from fairlead.core.catalog import Catalog, Variant

# Each is a class: Engine(path, interface, *, thread_count=1).
ENGINES = Catalog(
    kind="engine",
    group="fairlead.engines",
    variants={"onnxruntime": Variant("fairlead.engines.onnxruntime_engine:OnnxRuntimeEngine")},
)

# Each is a function: open_reference(artifact: Artifact, scratch: Path, sandbox: Sandbox) -> Engine, by ArtifactForm.
# "keras" runs a layer graph's snapshot in Keras itself where that is installed, which proves more than our own evaluation of the graph.
REFERENCES = Catalog(
    kind="reference engine",
    group="fairlead.references",
    variants={
        ArtifactForm.LAYER_GRAPH.value: Variant("fairlead.engines.layer_graph_engine:open_reference"),
        "keras": Variant("fairlead.engines.keras_engine:open_reference", extra="keras"),
        ArtifactForm.KERAS_FILE.value: Variant("fairlead.engines.keras_engine:open_reference", extra="keras"),
        ArtifactForm.ESTIMATOR_FILE.value: Variant("fairlead.engines.sklearn_engine:open_reference", extra="sklearn"),
        ArtifactForm.ONNX_FILE.value: Variant("fairlead.engines.onnx_reference_engine:open_reference"),
    },
)
