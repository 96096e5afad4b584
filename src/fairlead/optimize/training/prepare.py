"""A model made ready for training, and written back: constants stored, vectors that layers share by accident parted.

Takes and gives models in memory. What it does changes no answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from fairlead.core.interface import Array
from fairlead.optimize.graph_edit import constants_to_initializers, free_name, taken_names
from fairlead.optimize.offline_session import write

_MOVING = frozenset({"Expand", "Slice", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Tile", "Gather", "Split", "Identity", "Cast"})


def trainable_copy(source: Path) -> onnx.ModelProto:
    """Return the model at `source`, readied for training."""
    return readied(onnx.load_model(source))


def readied(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return `model` with each Constant as a stored tensor, and with every vector of weights used in one place only; changes it.

    Clean-up stores equal tensors once: two layers whose biases happen to be all zeros would be trained, and cut, as one. Matrices that
    several operators use stay shared: a model that shares those means it.
    """
    constants_to_initializers(model.graph)
    stored = {tensor.name for tensor in model.graph.initializer}
    kept = [value for value in model.graph.input if value.name not in stored]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    _drop_zero_states(model.graph)
    _part_vectors(model.graph)
    return model


def _drop_zero_states(graph: onnx.GraphProto) -> None:
    """Leave out first states of recurrent layers that are zeros of a computed size: zero is what a state is where none is given."""
    stored = {tensor.name: tensor for tensor in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        for place in range(5, min(7, len(node.input)) if node.op_type in ("LSTM", "GRU", "RNN") else 5):
            name = node.input[place]
            while name in makers and makers[name].op_type in _MOVING:
                name = makers[name].input[0]
            maker = makers.get(name)
            values = stored.get(name)
            if maker is not None and maker.op_type == "ConstantOfShape":
                values = maker.attribute[0].t if maker.attribute else None
                is_zero = values is None or not numpy_helper.to_array(values).any()
            else:
                is_zero = values is not None and not numpy_helper.to_array(values).any()
            if is_zero and node.input[place]:
                node.input[place] = ""


def _part_vectors(graph: onnx.GraphProto) -> None:
    vectors = {tensor.name: tensor for tensor in graph.initializer if len(tensor.dims) <= 1}
    taken = taken_names(graph)
    seen: set[str] = set()
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name in vectors and name in seen:
                twin = onnx.TensorProto()
                twin.CopyFrom(vectors[name])
                twin.name = free_name(name, taken)
                graph.initializer.append(twin)
                node.input[place] = twin.name
            seen.add(name)


def with_weights(model: onnx.ModelProto, weights: Mapping[str, Array]) -> onnx.ModelProto:
    """Return a copy of `model` whose stored tensors are replaced by those of `weights`, by name."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    for tensor in result.graph.initializer:
        if tensor.name in weights:
            tensor.CopyFrom(numpy_helper.from_array(np.array(weights[tensor.name]), tensor.name))
    return result


def write_model(model: onnx.ModelProto, destination: Path) -> None:
    """Write `model` without the shapes of values in between, which cutting changes, and without notes of tools."""
    del model.graph.value_info[:]
    for part in (model, model.graph):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    for node in model.graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    write(model, destination)
