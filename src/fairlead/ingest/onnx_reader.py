"""Reads ONNX files: one file with everything in it, checked, with plain tensors in and out. Both functions run in the sandbox.

`companions_in_sandbox` says which files hold the model's external data, `read_in_sandbox` gives interface and facts and writes model.onnx
into scratch. Raises SourceError for damage, UnsafeContentError for data outside of the folder and unknown operators, UnsupportedError for
what Fairlead leaves out. Never loads an operator library, never follows a path that the file names.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped] # no stubs are published with it

from fairlead.core.artifact import ArtifactForm
from fairlead.core.interface import Interface, shorten
from fairlead.engines.onnx_free_batch import free_batch
from fairlead.engines.onnxruntime_engine import open_session
from fairlead.engines.row_proof import prove_rows
from fairlead.errors import SourceError, UnsupportedError
from fairlead.ingest.onnx_batch import observe
from fairlead.ingest.onnx_checks import check_operators, check_tensor, check_text, nodes, tensors
from fairlead.ingest.onnx_external import TOTAL_LIMIT_BYTES, external_names, fold_in
from fairlead.ingest.onnx_interface import class_labels, declared_interface, strip_dictionaries
from fairlead.stores.document import to_plain

_FILE = "model.onnx"
_DAMAGED = "The file is damaged. Copy it again, or export the model again."


def companions_in_sandbox(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return under `files` the names of the files that hold external data of the model in `arguments["path"]`."""
    return {"files": list(external_names(_parse(Path(arguments["path"]))))}


def read_in_sandbox(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the reader's answer (see ingest.catalog). 1. Parse. 2. Check tensors and operators. 3. Fold external data in. 4. Let onnx
    check it. 5. Strip what is not the function. 6. Load it once. 7. Free the batch where it is fixed and can be.
    """
    path, scratch = Path(arguments["path"]), Path(arguments["scratch"])
    model = _parse(path)
    for tensor in tensors(model):
        check_tensor(tensor)
    check_operators(model)
    names = external_names(model)
    folded = fold_in(model, {name: path.parent / name for name in names if name in arguments["companions"]})
    notes = [f"external data folded in: {folded} bytes from {', '.join(names)}"] if names else []
    labels = class_labels(model)
    notes += strip_dictionaries(model)
    notes += _strip(model)
    _fill_shapes(model)
    _check(model)
    onnx.save_model(model, scratch / _FILE)
    open_session(scratch / _FILE, thread_count=1, optimization="none")
    interface = declared_interface(model, labels)
    model, interface, batch_notes = _with_free_batch(model, interface, labels, scratch)
    if all(spec.shape[0] is None for spec in interface.inputs):
        interface = observe(scratch / _FILE, interface)
    return {
        "interface": to_plain(interface),
        "framework": _framework(model),
        "form": ArtifactForm.ONNX_FILE.value,
        "file": _FILE,
        "facts": _facts(model),
        "notes": [*notes, *batch_notes],
    }


def _parse(path: Path) -> Any:
    if path.stat().st_size > TOTAL_LIMIT_BYTES:
        raise UnsupportedError("The model is larger than 2 GiB.", hint="Quantize it or store it as float16 before.")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except (DecodeError, ValueError):
        raise SourceError("The ONNX file breaks off or is damaged.", hint=_DAMAGED) from None
    check_text(model)
    if not model.graph.node or not model.opset_import or not 3 <= model.ir_version <= onnx.IR_VERSION:
        raise SourceError(
            f"The ONNX file has {len(model.graph.node)} nodes, IR version {model.ir_version} and {len(model.opset_import)} operator sets.",
            hint=f"Export the model again; IR versions 3 to {onnx.IR_VERSION} are read.",
        )
    if model.training_info:
        raise UnsupportedError("The ONNX file holds training steps.", hint="Export the model for inference.")
    return model


def _strip(model: Any) -> list[str]:
    """Drop what has no part in the function: texts and key-value pairs, in which anything may travel. Producer and version stay."""
    had = len(model.metadata_props) + len(model.graph.metadata_props)
    for graph in (model, model.graph):
        graph.ClearField("metadata_props")
        graph.ClearField("doc_string")
    for node in nodes(model):
        node.ClearField("doc_string")
        node.ClearField("metadata_props")
    return [f"{had} metadata entries dropped"] if had else []


def _fill_shapes(model: Any) -> None:
    """Give outputs without a shape the one that follows from the graph; the checker demands one."""
    plain = [value for value in model.graph.output if value.type.HasField("tensor_type")]
    bare = [value for value in plain if not value.type.tensor_type.HasField("shape")]
    if not bare:
        return
    try:
        inferred = {value.name: value for value in onnx.shape_inference.infer_shapes(model).graph.output}
    except (onnx.shape_inference.InferenceError, ValueError, RuntimeError) as error:
        raise SourceError(f"The shapes of the model cannot be inferred: {shorten(str(error), 300)}.", hint=_DAMAGED) from None
    for value in bare:
        if not inferred[value.name].type.tensor_type.HasField("shape"):
            raise UnsupportedError(
                f"The output '{shorten(value.name)}' has no shape, and none follows from the graph.",
                hint="Export the model with the shapes of its outputs.",
            )
        value.CopyFrom(inferred[value.name])


def _check(model: Any) -> None:
    try:
        onnx.checker.check_model(model)
        onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=False)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError, RuntimeError, TypeError) as error:
        raise SourceError(f"The ONNX checker refuses the model: {shorten(str(error), 300)}.", hint=_DAMAGED) from None


def _with_free_batch(model: Any, interface: Interface, labels: Any, scratch: Path) -> tuple[Any, Interface, list[str]]:
    """Return the model with a free batch where it was fixed and the freed one answers every row as before."""
    sizes = {spec.shape[0] for spec in interface.inputs}
    fixed = [size for size in sizes if size is not None]
    if not fixed:
        return model, interface, []
    if len(sizes) > 1:
        return model, interface, ["the inputs do not share one batch size"]
    original, freed_path = scratch / _FILE, scratch / "freed.onnx"
    freed = free_batch(model, fixed[0])
    onnx.save_model(freed, freed_path)
    try:
        problem = prove_rows(original, freed_path, fixed[0])
    except SourceError as error:
        problem = error.message
    if problem:
        freed_path.unlink()
        return model, interface, [f"the batch is fixed to {fixed[0]} and cannot be freed: {problem}"]
    freed_path.replace(original)
    note = f"the batch, fixed to {fixed[0]} by the export, was made free; batches of 1, 2 and 7 answer as before"
    return freed, declared_interface(freed, labels), [note]


def _framework(model: Any) -> str:
    opset = max((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), default=0)
    producer = f"{model.producer_name} {model.producer_version}".strip()
    return shorten(f"ONNX opset {opset}" + (f" by {producer}" if producer else ""), 100)


def _facts(model: Any) -> dict[str, int | str]:
    weights = [tensor for tensor in model.graph.initializer if len(tensor.dims)]
    count = sum(_product(tensor.dims) for tensor in weights)
    operators = sorted({node.op_type for node in nodes(model)})
    return {
        "parameter_count": count,
        "node_count": sum(1 for _ in nodes(model)),
        "ir_version": int(model.ir_version),
        "opset": max((int(item.version) for item in model.opset_import if item.domain in ("", "ai.onnx")), default=0),
        "operators": ", ".join(operators)[:500],
        "accepts_missing": int(any(map(_handles_missing, nodes(model)))),
    }


def _handles_missing(node: Any) -> bool:
    """Whether the operator has a rule of its own for NaN."""
    if node.op_type in ("Imputer", "IsNaN"):
        return True
    tracks = "nodes_missing_value_tracks_true"
    return node.op_type.startswith("TreeEnsemble") and any(any(item.ints) for item in node.attribute if item.name == tracks)


def _product(sizes: Any) -> int:
    count = 1
    for size in sizes:
        count *= int(size)
    return count
