"""A Keras model as data (core.layer_graph) -> canonical ONNX, opset 20, float32, free batch and free lengths.

Raises UnsupportedError that names the layer and the setting it cannot honour; nothing is ignored silently. Runs no code of the model.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx

from fairlead.convert.graph_builder import OPSET, GraphBuilder, Value
from fairlead.convert.layer_use import KERAS_HINT, LayerUse, Options
from fairlead.convert.layers.table import LAYER_CONVERTERS
from fairlead.core.artifact import Artifact
from fairlead.core.conversion import Conversion
from fairlead.core.interface import Array, TensorSpec
from fairlead.core.layer_graph import GRAPH_INPUT, Call, LayerGraph, ValueRef
from fairlead.core.layer_kinds import KNOWN_KINDS, call_arguments
from fairlead.core.lineage import Step
from fairlead.core.ports import Sandbox
from fairlead.engines.layer_graph_file import read_layer_graph
from fairlead.errors import UnsupportedError

MODEL_FILE = "model.onnx"


def convert_layer_graph(artifact: Artifact, workspace: Path, *, sandbox: Sandbox) -> Conversion:
    """Write `model.onnx` into `workspace`; the artifact is data of our own, so nothing needs the sandbox."""
    del sandbox
    graph, weights = read_layer_graph(artifact.path)
    model = build_model(graph, weights, artifact.interface.outputs)
    path = workspace / MODEL_FILE
    path.write_bytes(model.SerializeToString(deterministic=True))
    step = Step("convert", "layer_graph_to_onnx", "", "", {"onnx": onnx.__version__}, {"opset": OPSET, "layers": len(graph.layers)})
    return Conversion(path, artifact.interface, (step,))


def build_model(graph: LayerGraph, weights: Mapping[str, Array], outputs: Sequence[TensorSpec]) -> onnx.ModelProto:
    """Return the ONNX model of `graph`, whose outputs get the names and element types of `outputs`."""
    builder = GraphBuilder(graph.name)
    builder.reserve([spec.name for spec in outputs])
    values: dict[ValueRef, Value] = {ValueRef(GRAPH_INPUT, position): builder.input(spec) for position, spec in enumerate(graph.inputs)}
    for number, call in enumerate(graph.calls):
        results = _convert_call(builder, graph, weights, call, values)
        values.update({ValueRef(number, position): value for position, value in enumerate(results)})
    specs = {spec.name: spec for spec in outputs}
    return builder.finish([(specs[name], values[ref]) for name, ref in graph.outputs])


def _convert_call(
    builder: GraphBuilder, graph: LayerGraph, weights: Mapping[str, Array], call: Call, values: Mapping[ValueRef, Value]
) -> list[Value]:
    layer = graph.layers[call.layer]
    if layer.kind not in KNOWN_KINDS:
        raise UnsupportedError(f"Layer '{layer.name}' ({layer.kind}) is of a kind that is not known.", hint=KERAS_HINT)
    own = {role: weights[key] for role, key in layer.weights.items()}
    arguments = {name: [values[ref] for ref in refs] for name, refs in call_arguments(layer.kind, call).items()}
    use = LayerUse(builder, layer.name, layer.kind, Options(layer.config), own, _convert_use, Options(call.constants), arguments)
    for name in arguments:
        if name not in KNOWN_KINDS[layer.kind].arguments:
            raise use.refusal(f"is called with a tensor for '{name}', which is not supported")
    use.constants.get("training")
    results = _convert_use(use, list(itertools.chain.from_iterable(arguments.values())))
    if len(results) != call.output_count:
        raise use.refusal(f"gives {len(results)} tensors where the model takes {call.output_count}")
    return results


def _convert_use(use: LayerUse, inputs: Sequence[Value]) -> list[Value]:
    if use.kind not in LAYER_CONVERTERS:
        raise use.refusal("is of a kind that is not supported")
    use.builder.scope = use.name
    results = LAYER_CONVERTERS[use.kind](use, inputs)
    use.check_all_used()
    return results
