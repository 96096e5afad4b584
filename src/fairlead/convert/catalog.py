"""The converters, by the form of what they convert. All have the signature (artifact, workspace, *, sandbox) -> Conversion."""

from __future__ import annotations

from fairlead.core.artifact import ArtifactForm
from fairlead.core.catalog import Catalog, Variant

CONVERTERS = Catalog(
    "converter",
    "fairlead.converters",
    {
        ArtifactForm.LAYER_GRAPH.value: Variant("fairlead.convert.layer_graph_to_onnx:convert_layer_graph"),
        ArtifactForm.KERAS_FILE.value: Variant("fairlead.convert.keras_file_to_onnx:convert_keras_file", "keras"),
        ArtifactForm.ESTIMATOR_FILE.value: Variant("fairlead.convert.sklearn_to_onnx:convert_estimator", "sklearn"),
        ArtifactForm.ONNX_FILE.value: Variant("fairlead.convert.onnx_to_canonical:convert_onnx"),
    },
)
