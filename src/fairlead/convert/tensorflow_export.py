"""tf2onnx at work, in the sandbox only: what it makes of a TensorFlow graph or a .tflite file, with the interface's names.

Takes an opened model, gives an onnx ModelProto. Raises UnsupportedError that says which operator has no ONNX form. That it ran proves
nothing: callers compare its output with the original.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fairlead.convert.export_surface import HINT, check_free, rename_tensors
from fairlead.core.interface import TensorSpec
from fairlead.engines.tensorflow_worker import SavedModelFunction, first_line
from fairlead.errors import UnsupportedError

_OPSET = 18
VERSIONED = ("tensorflow", "tf2onnx", "onnx")  # whose versions go into the lineage


def start_tf2onnx() -> Any:
    """Import tf2onnx without its messages; TensorFlow has been started before."""
    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)
    return importlib.import_module("tf2onnx")


def versions() -> dict[str, str]:
    """Return the versions of what exported; only called where all of it is loaded."""
    return {name: str(importlib.import_module(name).__version__) for name in VERSIONED}


def export_function(model: SavedModelFunction) -> tuple[Any, list[str], list[str]]:
    """Return the ONNX form of a signature with its variables as constants, and its tensors' names in the interface's order."""
    tf2onnx = start_tf2onnx()
    loader = importlib.import_module("tf2onnx.tf_loader")
    function = model.function
    captured = {tensor.name for tensor in function.graph.function_captures.by_val_internal.values()}
    placeholders = [tensor.name for tensor in function.inputs if tensor.name not in captured]
    # Both lists stand in the order in which TensorFlow flattens dictionaries: by key.
    given = dict(zip(sorted(function.structured_input_signature[1]), placeholders, strict=True))
    results = dict(zip(sorted(function.structured_outputs), (tensor.name for tensor in function.outputs), strict=True))
    inputs, outputs = [given[key] for key in model.inputs], [results[key] for key in model.outputs]

    def run() -> Any:
        frozen, tables = loader.from_trackable(model.loaded, function, inputs, outputs, False)
        with model.tensorflow.device("/cpu:0"):
            return tf2onnx.convert._convert_common(  # noqa: SLF001 - what its own command line calls; its public doors do not take a graph
                frozen, name="model", opset=_OPSET, input_names=inputs, output_names=outputs, tensors_to_rename={},
                initialized_tables=tables, continue_on_error=False, custom_op_handlers={"Erfc": (_erfc, [])},
            )[0]  # fmt: skip

    return _guarded(run), inputs, outputs


def export_tflite(path: Path) -> Any:
    """Return the ONNX form of a .tflite file, with its own tensors' names."""
    tf2onnx = start_tf2onnx()
    return _guarded(lambda: tf2onnx.convert.from_tflite(str(path), opset=_OPSET)[0])


def surfaced(exported: Any, inputs: Mapping[str, TensorSpec], outputs: Mapping[str, TensorSpec]) -> bytes:
    """Return the export's bytes with the interface's names and order; `inputs` and `outputs` say what its tensors are.

    Raises UnsupportedError where one is missing, or a size that the interface leaves free was frozen.
    """
    graph = exported.graph
    _arrange(graph.input, list(inputs), "input")
    _arrange(graph.output, list(outputs), "output")
    specs = list(inputs.values())
    rename_tensors(exported, [spec.name for spec in specs], [spec.name for spec in outputs.values()])
    check_free(exported, specs)
    for value, spec in zip(graph.output, outputs.values(), strict=True):
        if not value.type.tensor_type.HasField("shape"):  # tf2onnx does not follow shapes through every operator; ONNX wants one
            for axis, size in enumerate(spec.shape):
                value.type.tensor_type.shape.dim.add(**({"dim_param": f"free_{axis}"} if size is None else {"dim_value": size}))
    exported.ClearField("metadata_props")
    exported.doc_string = ""
    graph.doc_string = ""
    data: bytes = exported.SerializeToString(deterministic=True)
    return data


def _arrange(values: Any, names: Sequence[str], what: str) -> None:
    """Put the graph's inputs or outputs into order."""
    by_name = {value.name: value for value in values}
    if sorted(by_name) != sorted(names):
        raise UnsupportedError(f"The export has other {what}s than the model.", hint=HINT)
    arranged = [by_name[name] for name in names]
    copies = [type(value).FromString(value.SerializeToString()) for value in arranged]
    del values[:]
    values.extend(copies)


def _guarded(run: Callable[[], Any]) -> Any:
    try:
        exported = run()
    except Exception as error:  # the exporter raises whatever an operator without a converter raises
        raise UnsupportedError(f"tf2onnx cannot export it: {first_line(error)}.", hint=HINT) from error
    known = {"", "ai.onnx", "ai.onnx.ml", "com.microsoft"}
    foreign = sorted({node.op_type for node in _nodes(exported.graph) if node.domain not in known})
    if foreign:
        raise UnsupportedError(f"tf2onnx left operators that ONNX does not have: {', '.join(foreign[:5])}.", hint=HINT)
    return exported


def _nodes(graph: Any) -> list[Any]:
    inner = [attribute.g for node in graph.node for attribute in node.attribute if attribute.HasField("g")]
    return [*graph.node, *(node for part in inner for node in _nodes(part))]


def _erfc(context: Any, node: Any, name: str, _: Any) -> None:
    """Write erfc(x) as 1 - erf(x), which ONNX has; https://en.wikipedia.org/wiki/Error_function."""
    dtype, shape, result, source = context.get_dtype(node.output[0]), context.get_shape(node.output[0]), node.output[0], node.input[0]
    helper = importlib.import_module("tf2onnx.utils")
    one = context.make_const(f"{name}__one", np.array(1.0, dtype=helper.map_onnx_to_numpy_type(dtype)))
    context.remove_node(node.name)
    erf = context.make_node("Erf", [source], dtypes=[dtype], shapes=[shape])
    context.make_node("Sub", [one.output[0], erf.output[0]], outputs=[result], name=name, dtypes=[dtype], shapes=[shape])
