"""What a Keras model takes, gives and decides, told from its graph and the name of its loss. Pure.

Takes built inputs and outputs, gives an Interface with stable, valid names. A task that is not clear stays None; it is never guessed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fairlead.core.interface import Decision, DecisionKind, Interface, Task, TensorSpec
from fairlead.core.layer_graph import GRAPH_INPUT, Call, ValueRef
from fairlead.core.layer_kinds import IDENTITY_KINDS
from fairlead.ingest.keras_graph import BuiltLayer, Value, named_tensors, safe_name

_REGRESSION = ("mean_squared_error", "mse", "mean_absolute_error", "mae", "huber", "log_cosh", "logcosh", "mape", "msle", "poisson")


def unique_names(names: Sequence[str], taken: Sequence[str] = ()) -> list[str]:
    """Return `names` as valid identifiers, each different from the others and from `taken`."""
    result: list[str] = []
    for name in map(safe_name, names):
        candidate, number = name, 0
        while candidate in (*result, *taken):
            number += 1
            candidate = f"{name}_{number}"
        result.append(candidate)
    return result


def describe(
    inputs: Sequence[TensorSpec], outputs: Sequence[tuple[str, Value]], calls: Sequence[Call], layers: Mapping[str, BuiltLayer], loss: Any
) -> Interface:
    """Return the interface; `layers` are by label."""
    input_names = unique_names([spec.name for spec in inputs])
    output_names = unique_names([name for name, _ in outputs], input_names)
    specs = tuple(TensorSpec(name, spec.dtype, spec.shape) for name, spec in zip(input_names, inputs, strict=True))
    results = tuple(TensorSpec(name, value.dtype, value.shape) for name, (_, value) in zip(output_names, outputs, strict=True))
    if len(results) != 1:
        return Interface(specs, results)
    task, decision = decide(results[0], _last_activation(outputs[0][1].ref, calls, layers), loss_name(loss))
    return Interface(specs, results, task, decision)


def _last_activation(ref: ValueRef, calls: Sequence[Call], layers: Mapping[str, BuiltLayer]) -> str:
    while ref.call != GRAPH_INPUT:
        call = calls[ref.call]
        layer = layers[call.layer]
        if layer.kind == "Softmax":
            return "softmax" if layer.config["axis"] == -1 else ""
        if layer.kind not in IDENTITY_KINDS:
            return str(layer.config.get("activation", "linear"))
        ref = call.inputs[0]
    return ""


def config_activation(config: Mapping[str, Any]) -> str:
    """Return the activation of the one output of a model whose layers were left to Keras; "" where its config does not say."""
    last = config["layers"][-1]
    if "output_layers" in config:
        outputs = named_tensors(config["output_layers"])
        names = {layer["config"].get("name"): layer for layer in config["layers"]}
        last = names.get(outputs[0][1].layer, last) if len(outputs) == 1 else {}
    activation = last["config"].get("activation") if last.get("class_name") in ("Dense", "Activation") else ""
    return activation if isinstance(activation, str) else ""


def loss_name(loss: Any) -> str:
    """Return the loss in snake case, with `_from_logits` behind it where it says so; "" where there is no single built-in one."""
    if isinstance(loss, str):
        return loss.lower()
    if isinstance(loss, dict) and isinstance(loss.get("class_name"), str) and isinstance(loss.get("config"), dict):
        name = "".join(f"_{char.lower()}" if char.isupper() else char for char in loss["class_name"]).strip("_")
        return f"{name}_from_logits" if loss["config"].get("from_logits") is True else name
    return ""


def decide(output: TensorSpec, activation: str, loss: str) -> tuple[Task | None, Decision | None]:
    """Return the task and how `output` decides, told from the activation behind it and the name of the loss."""
    size = output.shape[-1] if len(output.shape) > 1 else None
    argmax = Task.CLASSIFICATION, Decision(DecisionKind.ARGMAX, output.name, scores=output.name)
    if activation == "softmax" and size != 1:
        return argmax
    if activation == "sigmoid" and size == 1:
        return Task.CLASSIFICATION, Decision(DecisionKind.THRESHOLD, output.name, scores=output.name, threshold=0.5)
    if activation != "linear":
        return None, None
    if "categorical_crossentropy" in loss and size not in (None, 1):
        return argmax
    if loss.startswith("binary_crossentropy"):
        if size == 1 and loss.endswith("from_logits"):  # a score above 0 is a probability above one half
            return Task.CLASSIFICATION, Decision(DecisionKind.THRESHOLD, output.name, threshold=0.0)
        return None, None
    if loss in _REGRESSION or (not loss and size == 1):
        return Task.REGRESSION, Decision(DecisionKind.VALUE, output.name)
    return None, None
