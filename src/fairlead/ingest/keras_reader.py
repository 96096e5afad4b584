"""Reads Keras files without Keras: HDF5, zip and JSON become a layer graph. Runs in the sandbox; no code of the file is ever run.

Takes the snapshot's path, gives the graph in the scratch folder and JSON about it. Raises SourceError, UnsafeContentError and
UnsupportedError with the layer and its place. Where only Keras itself knows a layer, it says so and leaves the model to it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from fairlead.core.artifact import ArtifactForm, SourceFormat
from fairlead.core.interface import Array, Interface, shorten
from fairlead.core.layer_graph import Layer, LayerGraph
from fairlead.engines.layer_graph_file import write_layer_graph
from fairlead.errors import InputError, SourceError
from fairlead.ingest.keras_files import Gate, KerasFile, megabytes, read_h5, read_keras_zip
from fairlead.ingest.keras_graph import GraphBuilder, model_config, safe_name
from fairlead.ingest.keras_interface import config_activation, describe, loss_name
from fairlead.ingest.keras_layers import LeftToKerasError, Translator
from fairlead.ingest.keras_safety import Refusal, check_config, find_refusals, refuse_unsafe
from fairlead.ingest.keras_weights import finish, match_weights

GRAPH_FOLDER = "graph"


def read_in_sandbox(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Read the file at `path` and write its graph to `scratch`/graph. `problem` says why the graph had to be left to Keras, "" where
    it had not.
    """
    scratch = Path(arguments["scratch"])
    file = _open(arguments, refuse_unsafe)
    check_config(file.config)
    notes = [f"optimizer state dropped: {megabytes(file.dropped_bytes)}"] if file.dropped_bytes else []
    notes += file.notes
    answer: dict[str, Any] = {"framework": f"keras {file.version}", "problem": ""}
    try:
        graph, arrays, interface, more = read_model(file)
    except LeftToKerasError as error:
        return answer | {
            "form": ArtifactForm.KERAS_FILE.value,
            "interface": None,
            "facts": _raw_facts(file),
            "notes": notes,
            "problem": error.message,
            "activation": config_activation(model_config(file.config)),
            "loss": loss_name(file.training.get("loss")),
        }
    write_layer_graph(scratch / GRAPH_FOLDER, graph, arrays)
    return answer | {
        "form": ArtifactForm.LAYER_GRAPH.value,
        "file": GRAPH_FOLDER,
        "interface": msgspec.to_builtins(interface),
        "facts": _facts(graph, arrays),
        "notes": [*notes, *more],
    }


def inspect_in_sandbox(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `read_in_sandbox` would, with every finding instead of the first refusal, and without writing a graph."""
    refusals: list[Refusal] = []
    try:
        file = _open(arguments, lambda config: refusals.extend(find_refusals(config)))
    except InputError as error:
        if not any(refusal.is_unsafe for refusal in refusals):
            raise
        return {"framework": "keras", "findings": _findings(refusals), "interface": None, "facts": {}, "notes": [error.message]}
    answer: dict[str, Any] = {"framework": f"keras {file.version}", "interface": None, "facts": _raw_facts(file)}
    notes = [f"optimizer state: {megabytes(file.dropped_bytes)}"] if file.dropped_bytes else []
    if not refusals:
        try:
            graph, arrays, interface, more = read_model(file)
        except LeftToKerasError as error:
            notes.append(error.message)
        else:
            answer |= {"interface": msgspec.to_builtins(interface), "facts": _facts(graph, arrays)}
            notes += more
    return answer | {"findings": _findings(refusals), "notes": [*notes, *file.notes]}


def _findings(refusals: Sequence[Refusal]) -> list[dict[str, Any]]:
    return [{"is_unsafe": refusal.is_unsafe, "what": refusal.what, "where": refusal.place} for refusal in refusals]


def _open(arguments: Mapping[str, Any], gate: Gate) -> KerasFile:
    path = Path(arguments["path"])
    if arguments["format"] == SourceFormat.KERAS_H5:
        return read_h5(path, gate)
    return read_keras_zip(path, Path(arguments["scratch"]), gate)


def read_model(file: KerasFile) -> tuple[LayerGraph, dict[str, Array], Interface, list[str]]:
    """Return graph, arrays by key, interface and notes of a file whose config has passed the gate. A value of a kind that Keras never
    writes in its place, wherever it stands in the config, is a SourceError.
    """
    try:
        return _read_model(file)
    except (TypeError, AttributeError, LookupError, ValueError, ArithmeticError, RecursionError) as error:
        raise SourceError(
            f"The config is not what Keras writes ({type(error).__name__}: {shorten(str(error), 100)}).",
            hint="The file is damaged. Save the model again; if Keras itself opens it, please report it.",
        ) from error


def _read_model(file: KerasFile) -> tuple[LayerGraph, dict[str, Array], Interface, list[str]]:
    translator = Translator(is_keras2=file.is_keras2)
    builder = GraphBuilder(translator)
    outputs = builder.build(file.config)
    config = model_config(file.config)
    found = match_weights(config, builder.layers, file.weights)
    layers: dict[str, Layer] = {}
    arrays: dict[str, Array] = {}
    for key, built in builder.layers.items():
        finished = finish(built, found.get(key, {}))
        keys = {role: f"{built.label}/{role}" for role in finished}
        arrays |= {keys[role]: array for role, array in finished.items()}
        layers[built.label] = Layer(built.label, built.kind, built.config, keys)
    by_label = {built.label: built for built in builder.layers.values()}
    interface = describe(builder.inputs, outputs, builder.calls, by_label, file.training.get("loss"))
    graph = LayerGraph(
        safe_name(str(config.get("name", "model"))),
        layers,
        tuple(builder.calls),
        interface.inputs,
        tuple((spec.name, value.ref) for spec, (_, value) in zip(interface.outputs, outputs, strict=True)),
        f"keras {file.version}",
    )
    notes = [*builder.notes]
    if translator.policies:
        notes.append(f"trained with {', '.join(sorted(translator.policies))}; computed in float32 here")
    return graph, arrays, interface, notes


def _facts(graph: LayerGraph, arrays: Mapping[str, Array]) -> dict[str, int | str]:
    kinds = Counter(layer.kind for layer in graph.layers.values())
    return {
        "parameter_count": sum(int(array.size) for array in arrays.values()),
        "weights_bytes": sum(int(array.nbytes) for array in arrays.values()),
        "layer_count": len(graph.layers),
        "layers": ", ".join(f"{kind} x{count}" if count > 1 else kind for kind, count in sorted(kinds.items())),
    }


def _raw_facts(file: KerasFile) -> dict[str, int | str]:
    arrays = file.weights.arrays.values()
    return {
        "parameter_count": sum(int(array.size) for array in arrays),
        "weights_bytes": sum(int(array.nbytes) for array in arrays),
    }
