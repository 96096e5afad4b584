"""What convert can do, by name. Imports nothing heavy."""

from __future__ import annotations

from fairlead.core.artifact import ArtifactForm
from fairlead.core.catalog import Catalog, Variant
from fairlead.core.conversion import RuntimeForm

# To canonical ONNX, by the form of what is converted: (artifact, workspace, *, sandbox) -> Conversion.
CONVERTERS = Catalog(
    "converter",
    "fairlead.converters",
    {
        ArtifactForm.LAYER_GRAPH.value: Variant("fairlead.convert.layer_graph_to_onnx:convert_layer_graph"),
        ArtifactForm.KERAS_FILE.value: Variant("fairlead.convert.keras_file_to_onnx:convert_keras_file", "keras"),
        ArtifactForm.ESTIMATOR_FILE.value: Variant("fairlead.convert.sklearn_to_onnx:convert_estimator", "sklearn"),
        ArtifactForm.ONNX_FILE.value: Variant("fairlead.convert.onnx_to_canonical:convert_onnx"),
        ArtifactForm.TREE_ENSEMBLE.value: Variant("fairlead.convert.tree_ensemble_to_onnx:convert_tree_ensemble"),
        ArtifactForm.BOOSTER_FILE.value: Variant("fairlead.convert.booster_to_onnx:convert_booster"),
        ArtifactForm.TORCH_FILE.value: Variant("fairlead.convert.torch_to_onnx:convert_torch_file", "torch"),
        ArtifactForm.SAVED_MODEL.value: Variant("fairlead.convert.saved_model_to_onnx:convert_saved_model", "tensorflow"),
        ArtifactForm.TFLITE_FILE.value: Variant("fairlead.convert.tflite_to_onnx:convert_tflite", "tensorflow"),
    },
)

# Where no route to ONNX exists: the original in a form that an engine runs in a process of its own. Same signature.
ORIGINALS = Catalog(
    "form of an original",
    "fairlead.originals",
    {
        ArtifactForm.TORCH_FILE.value: Variant("fairlead.convert.torch_original:keep_torch", "torch"),
        ArtifactForm.ESTIMATOR_FILE.value: Variant("fairlead.convert.estimator_original:keep_estimator", "sklearn"),
        ArtifactForm.BOOSTER_FILE.value: Variant("fairlead.convert.booster_original:keep_booster"),
        ArtifactForm.TFLITE_FILE.value: Variant("fairlead.convert.tflite_to_onnx:keep_tflite", "litert"),
    },
)

# On to what other engines run, by RuntimeForm: (BuildJob) -> RuntimeModel. Each raises UnsupportedError for a model that has no such form.
BUILDERS = Catalog(
    "form",
    "fairlead.forms",
    {
        RuntimeForm.ORT.value: Variant("fairlead.convert.onnx_to_ort:build_ort"),
        RuntimeForm.OPENVINO.value: Variant("fairlead.convert.onnx_to_openvino:build_openvino", "openvino"),
        RuntimeForm.TFLITE.value: Variant("fairlead.convert.to_tflite:build_tflite", "litert"),
        RuntimeForm.TREES.value: Variant("fairlead.convert.tree_ensemble_to_kernel:build_trees"),
    },
)
