"""A Keras model config as a graph of calls: sequential and functional models, nested ones inlined, shared layers kept shared.

Takes the checked config, gives layers (without weights yet), calls, inputs and outputs. Raises UnsupportedError for models without a
graph (subclasses, by name), LeftToKerasError where Keras would be needed, SourceError for a config that contradicts itself.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fairlead.core.dtype import DType
from fairlead.core.interface import TensorSpec, shorten
from fairlead.core.layer_graph import GRAPH_INPUT, Call, ValueRef
from fairlead.core.layer_shapes import Shape, output_shapes
from fairlead.errors import SourceError, UnsupportedError
from fairlead.ingest.keras_layers import LeftToKerasError, Translator, plain
from fairlead.ingest.keras_names import MASK_OPERATIONS, MODEL_CLASSES, OPERATIONS
from fairlead.ingest.keras_nodes import Binding, NodeCall, TensorName, bind, parse_history, parse_node
from fairlead.ingest.keras_operations import translate_operation

CALL_LIMIT = 20_000
_DAMAGED = "The file is damaged or was not written by Keras. Save the model again."
_DTYPES = {
    "float16": DType.FP32, "bfloat16": DType.FP32, "float32": DType.FP32, "float64": DType.FP32, "int8": DType.INT8,
    "int16": DType.INT16, "int32": DType.INT32, "int64": DType.INT64, "uint8": DType.UINT8, "uint16": DType.UINT16,
    "uint32": DType.UINT32, "uint64": DType.UINT64, "bool": DType.BOOL,
}  # fmt: skip
# Layers that hand on whole numbers as they are.
_KEEPS_TYPE = frozenset({"Flatten", "Reshape", "Permute", "RepeatVector", "Concatenate", "Identity", "Add", "Subtract", "Multiply"})


@dataclass(frozen=True)
class Value:
    """A tensor while the graph is built."""

    ref: ValueRef
    shape: Shape
    dtype: DType


@dataclass
class BuiltLayer:
    """A layer and the input shapes of its first call, from which the shapes of its weights follow.

    `label` is its name in the graph, unique and safe; `class_name` is what the file calls its kind.
    """

    name: str
    label: str
    class_name: str
    kind: str
    config: dict[str, Any]
    source: Mapping[str, Any]
    arguments: Mapping[str, tuple[Shape, ...]]
    is_trainable: bool


@dataclass
class GraphBuilder:
    """Collects layers, calls and inputs while models are inlined."""

    translator: Translator
    layers: dict[tuple[str, ...], BuiltLayer] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    inputs: list[TensorSpec] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    model_count: int = 0

    def build(self, node: Mapping[str, Any]) -> list[tuple[str, Value]]:
        """Build the whole model; returns its outputs by name."""
        config = model_config(node)
        if node["class_name"] == "Sequential":
            shape, dtype, name = _sequential_input(config)
            value = self._add_input(name, shape, dtype)
            last = next(layer["config"].get("name", "output") for layer in reversed(config["layers"]))
            return [(str(last), self._sequential(config, [value], ())[0])]
        names = named_tensors(config.get("input_layers"))
        by_name = {layer["config"].get("name"): layer for layer in config["layers"]}
        values = []
        for _, tensor in names:
            layer = by_name.get(tensor.layer)
            if layer is None or layer["class_name"] != "InputLayer":
                raise SourceError(f"The model's input '{shorten(tensor.layer)}' is not an input layer.", hint=_DAMAGED)
            values.append(self._add_input(tensor.layer, *_input_spec(layer["config"])))
        return self._functional(config, values, (), is_legacy=_is_legacy(config))

    def _add_input(self, name: str, shape: Shape, dtype: DType) -> Value:
        if shape and shape[0] is not None:
            self.notes.append(f"input '{shorten(name)}' was saved with a fixed batch of {shape[0]}; the batch is free now")
        if not shape:
            raise LeftToKerasError(name, "an input without a batch is not known")
        free = (None, *shape[1:])
        self.inputs.append(TensorSpec(name, dtype, free))
        return Value(ValueRef(GRAPH_INPUT, len(self.inputs) - 1), free, dtype)

    def _sequential(self, config: Mapping[str, Any], values: list[Value], owners: tuple[str, ...]) -> list[Value]:
        current = values
        for layer in config["layers"]:
            if layer["class_name"] == "InputLayer":
                continue
            if layer["class_name"] in MODEL_CLASSES:
                current = self._model(layer, current, owners)
                continue
            if len(current) != 1:
                raise LeftToKerasError(str(layer["config"].get("name")), "it takes several tensors in a sequence")
            current = self._call(layer, NodeCall([TensorName("", 0, 0)]), {TensorName("", 0, 0): current[0]}, owners)
        return current

    def _model(self, node: Mapping[str, Any], values: list[Value], owners: tuple[str, ...]) -> list[Value]:
        self.model_count += 1  # models that hold each other twice, many levels deep, grow without a single layer
        if self.model_count > CALL_LIMIT:
            raise UnsupportedError(f"The model holds more than {CALL_LIMIT} models.", hint="Split it.")
        config = model_config(node)
        inner = (*owners, str(config.get("name", "model")))
        if node["class_name"] == "Sequential":
            if len(values) != 1:
                raise SourceError(f"The model '{shorten(inner[-1])}' takes one tensor, not {len(values)}.", hint=_DAMAGED)
            return self._sequential(config, values, inner)
        return [value for _, value in self._functional(config, values, inner, is_legacy=_is_legacy(config))]

    def _functional(
        self, config: Mapping[str, Any], values: list[Value], owners: tuple[str, ...], *, is_legacy: bool
    ) -> list[tuple[str, Value]]:
        inputs = named_tensors(config.get("input_layers"))
        if len(inputs) != len(values):
            raise SourceError(
                f"The model '{shorten(str(config.get('name')))}' takes {len(inputs)} tensors, not {len(values)}.", hint=_DAMAGED
            )
        known = {TensorName(tensor.layer, 0, 0): value for (_, tensor), value in zip(inputs, values, strict=True)}
        waiting = _nodes_of(config, is_legacy=is_legacy)
        while waiting:
            left = []
            for layer, number, call in waiting:
                if all(tensor in known for tensor in call.tensors()):
                    results = self._call(layer, call, known, owners)
                    name = layer["config"].get("name")
                    known |= {TensorName(name, number, output): value for output, value in enumerate(results)}
                else:
                    left.append((layer, number, call))
            if len(left) == len(waiting):
                name = shorten(str(left[0][0]["config"].get("name")))
                raise SourceError(f"Layer '{name}' takes a tensor that no layer gives.", hint=_DAMAGED)
            waiting = left
        outputs = []
        for name, tensor in named_tensors(config.get("output_layers")):
            if tensor not in known:
                raise SourceError(f"The output '{shorten(tensor.layer)}' is not a tensor of the model.", hint=_DAMAGED)
            outputs.append((name, known[tensor]))
        return outputs

    def _call(self, layer: Mapping[str, Any], call: NodeCall, known: Mapping[TensorName, Value], owners: tuple[str, ...]) -> list[Value]:
        class_name, config = str(layer["class_name"]), layer["config"]
        name = str(config.get("name", class_name))
        if class_name in MODEL_CLASSES:
            return self._model(layer, _model_arguments(name, call, known), owners)
        if _is_operation(layer):
            kind, canonical, call = translate_operation(name, class_name, call)
            if any(not known[tensor].dtype.is_float for tensor in call.tensors()):
                raise LeftToKerasError(name, f"{class_name} on whole numbers is not known")
            return self._add_call(name, kind, kind, canonical, {}, bind(name, kind, call), known, owners)
        activation = config.get("activation")
        if isinstance(activation, dict) and activation.get("class_name") not in ("function", None):
            return self._split_activation(layer, activation, call, known, owners)
        kind, canonical = self.translator.translate(class_name, config)
        return self._add_call(name, class_name, kind, canonical, config, bind(name, kind, call), known, owners)

    def _split_activation(
        self,
        layer: Mapping[str, Any],
        activation: Mapping[str, Any],
        call: NodeCall,
        known: Mapping[TensorName, Value],
        owners: tuple[str, ...],
    ) -> list[Value]:
        """A layer used as another's activation becomes a layer of its own behind it; only such without weights."""
        name = str(layer["config"].get("name"))
        if activation["class_name"] not in ("ReLU", "LeakyReLU", "ELU", "Softmax", "Activation") or layer["class_name"] in _RECURRENT:
            raise LeftToKerasError(name, f"the layer {shorten(str(activation['class_name']))} as an activation is not known")
        bare = {**layer, "config": {**layer["config"], "activation": None}}
        between = self._call(bare, call, known, owners)[0]
        inner = {**activation, "config": {**activation["config"], "name": f"{name}_activation"}}
        return self._call(inner, NodeCall([TensorName("", 0, 0)]), {TensorName("", 0, 0): between}, owners)

    def _add_call(
        self,
        name: str,
        class_name: str,
        kind: str,
        config: dict[str, Any],
        source: Mapping[str, Any],
        binding: Binding,
        known: Mapping[TensorName, Value],
        owners: tuple[str, ...],
    ) -> list[Value]:
        if len(self.calls) >= CALL_LIMIT:
            raise UnsupportedError(f"The model has more than {CALL_LIMIT} layers.", hint="Split it.")
        values = {argument: tuple(known[tensor] for tensor in tensors) for argument, tensors in binding.arguments.items()}
        shapes = {argument: tuple(value.shape for value in tensors) for argument, tensors in values.items()}
        try:
            results = output_shapes(kind, config, shapes)
        except ValueError as error:
            if any(len({len(shape) for shape in tensors}) > 1 for tensors in shapes.values()):
                raise LeftToKerasError(name, f"{kind} of tensors with different numbers of axes is not known") from None
            raise SourceError(f"Layer '{shorten(name)}' does not fit its input: {error}.", hint=_DAMAGED) from None
        if kind == "MultiHeadAttention" and not binding.constants.get("return_attention_scores"):
            results = results[:1]
        key = (*owners, name)
        if key not in self.layers:
            trainable = bool(source.get("trainable", True))
            label = self._unique("/".join(safe_name(part) for part in key))
            self.layers[key] = BuiltLayer(name, label, class_name, kind, config, source, shapes, trainable)
        flat = [(argument, value) for argument, tensors in values.items() for value in tensors]
        number = len(self.calls)
        self.calls.append(
            Call(
                self.layers[key].label,
                tuple(value.ref for _, value in flat),
                binding.constants,
                len(results),
                tuple(name for name, _ in flat),
            )
        )
        is_whole = kind in _KEEPS_TYPE and all(not value.dtype.is_float for _, value in flat)
        dtype = flat[0][1].dtype if is_whole else DType.FP32
        return [Value(ValueRef(number, output), shape, dtype) for output, shape in enumerate(results)]

    def _unique(self, label: str) -> str:
        taken = {layer.label for layer in self.layers.values()}
        return next(name for number in itertools.count() if (name := f"{label}_{number}" if number else label) not in taken)


_RECURRENT = frozenset({"LSTM", "GRU", "SimpleRNN"})


def safe_name(name: str) -> str:
    """Return `name` with letters, digits and underscores only, starting with a letter or underscore."""
    plain_name = re.sub(r"[^A-Za-z0-9_]", "_", name)[:100]
    return plain_name if plain_name[:1].isalpha() or plain_name[:1] == "_" else f"_{plain_name}"


def model_config(node: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config of a model that has a graph; raises UnsupportedError, with its class, for one that has not."""
    class_name, config = node.get("class_name"), node.get("config")
    if class_name == "Sequential" and isinstance(config, list):  # Keras 1 and early Keras 2
        config = {"name": "sequential", "layers": config}
    if class_name not in MODEL_CLASSES or not isinstance(config, dict) or "layers" not in config:
        raise UnsupportedError(
            f"The model is of the class {shorten(str(class_name))}, which has no graph in the file.",
            hint="Only sequential and functional models carry their graph. Rebuild it as a functional model, or export it to ONNX.",
        )
    layers = config["layers"]
    if not isinstance(layers, list) or not layers:
        raise SourceError("The model has no layers.", hint=_DAMAGED)
    for layer in layers:
        if not isinstance(layer, dict) or not isinstance(layer.get("class_name"), str) or not isinstance(layer.get("config"), dict | list):
            raise SourceError("A layer of the model has no class or no config.", hint=_DAMAGED)
        if isinstance(layer["config"], list):
            layer["config"] = {"name": str(layer.get("name", "sequential")), "layers": layer["config"]}
        if "name" in layer:  # functional models name their layers beside the config too
            layer["config"].setdefault("name", layer["name"])
        if not isinstance(layer["config"].get("name", ""), str) or not isinstance(layer.get("inbound_nodes", []), list):
            raise SourceError("A layer of the model has no proper name or calls.", hint=_DAMAGED)
    return config


def _is_operation(layer: Mapping[str, Any]) -> bool:
    module = layer.get("module")
    if isinstance(module, str):
        return ".ops" in module
    return layer["class_name"] in OPERATIONS | MASK_OPERATIONS and "dtype" not in layer["config"] and "trainable" not in layer["config"]


def _is_legacy(config: Mapping[str, Any]) -> bool:
    """Whether nodes are written as Keras 2 writes them: then a nested model's own calls count from 1."""
    return any(isinstance(node, list) for layer in config["layers"] for node in layer.get("inbound_nodes", ()))


def _nodes_of(config: Mapping[str, Any], *, is_legacy: bool) -> list[tuple[Mapping[str, Any], int, NodeCall]]:
    names = frozenset(str(layer["config"].get("name")) for layer in config["layers"])
    if len(names) != len(config["layers"]):
        raise SourceError("Two layers of the model have the same name.", hint=_DAMAGED)
    nodes = []
    for layer in config["layers"]:
        if layer["class_name"] == "InputLayer":
            continue
        first = 1 if is_legacy and _starts_with_input(layer) else 0
        for number, node in enumerate(layer.get("inbound_nodes", ())):
            nodes.append((layer, number + first, parse_node(str(layer["config"].get("name")), node, names)))
    return nodes


def _starts_with_input(layer: Mapping[str, Any]) -> bool:
    """A nested model that was built with inputs already has one call of its own, which Keras 2 does not write but counts."""
    layers = layer["config"].get("layers") if layer["class_name"] in MODEL_CLASSES else None
    return isinstance(layers, list) and bool(layers) and isinstance(layers[0], dict) and layers[0].get("class_name") == "InputLayer"


def _model_arguments(name: str, call: NodeCall, known: Mapping[TensorName, Value]) -> list[Value]:
    extra = {key: value for key, value in call.kwargs.items() if value not in (None, False)}
    tensors = call.args[0] if len(call.args) == 1 and isinstance(call.args[0], list) else call.args
    if extra or not all(isinstance(tensor, TensorName) for tensor in tensors):
        raise LeftToKerasError(name, "the nested model is called with more than tensors")
    return [known[tensor] for tensor in tensors]


def named_tensors(layers: Any) -> list[tuple[str, TensorName]]:
    """Return the tensors of `input_layers` or `output_layers` with the names that they have there, in Keras's order."""
    if isinstance(layers, dict):
        return [(key, tensor) for key in sorted(layers) for _, tensor in named_tensors(layers[key])]
    if isinstance(layers, list) and layers and isinstance(layers[0], str):
        tensor = parse_history(layers)
        return [(tensor.layer, tensor)]
    if isinstance(layers, list) and layers:
        return [pair for layer in layers for pair in named_tensors(layer)]
    raise SourceError("The model does not say what its inputs and outputs are.", hint=_DAMAGED)


def _input_spec(config: Mapping[str, Any]) -> tuple[Shape, DType]:
    shape = plain(config.get("batch_shape", config.get("batch_input_shape")))
    name = shorten(str(config.get("name", "input")))
    if not isinstance(shape, list) or not all(size is None or (isinstance(size, int) and size > 0) for size in shape):
        raise SourceError(f"Input '{name}' has no shape.", hint=_DAMAGED)
    if config.get("sparse") or config.get("ragged"):
        raise UnsupportedError(f"Input '{name}' is sparse or ragged.", hint="Build the model with dense inputs.")
    dtype = config.get("dtype", "float32")
    if isinstance(dtype, dict):
        dtype = dtype.get("config", {}).get("name")
    if dtype not in _DTYPES:
        raise LeftToKerasError(name, f"an input of type {shorten(str(dtype))} is not known")
    return tuple(shape), _DTYPES[dtype]


def _sequential_input(config: Mapping[str, Any]) -> tuple[Shape, DType, str]:
    first = config["layers"][0]
    while first["class_name"] in MODEL_CLASSES:
        inner = model_config(first)
        first = inner["layers"][0] if first["class_name"] == "Sequential" else _only_input(inner)
    source = first["config"]
    if "batch_shape" in source or "batch_input_shape" in source:
        shape, dtype = _input_spec(
            {**source, "dtype": source.get("dtype", "float32")} if first["class_name"] == "InputLayer" else _bare(source)
        )
        return shape, dtype, str(source.get("name")) if first["class_name"] == "InputLayer" else f"{source.get('name')}_input"
    if config.get("build_input_shape") is not None:
        return *_input_spec({"batch_shape": config["build_input_shape"]}), "input"
    raise UnsupportedError(
        "The model was saved before it knew the shape of its input.", hint="Give it an Input layer, or call it once, and save it again."
    )


def _bare(source: Mapping[str, Any]) -> dict[str, Any]:
    """A first layer that says the shape itself (Keras 2): its dtype is the type of its weights, so that only whole numbers differ."""
    shape = source.get("batch_shape", source.get("batch_input_shape"))
    return {
        "name": source.get("name"),
        "batch_shape": shape,
        "dtype": "int32" if "input_dim" in source and "output_dim" in source else "float32",
    }


def _only_input(config: Mapping[str, Any]) -> Mapping[str, Any]:
    names = [tensor.layer for _, tensor in named_tensors(config.get("input_layers"))]
    for layer in config["layers"]:
        if len(names) == 1 and layer["config"].get("name") == names[0]:
            return layer  # type: ignore[no-any-return] # JSON
    raise SourceError("A nested model does not have the one input that a sequence needs.", hint=_DAMAGED)
