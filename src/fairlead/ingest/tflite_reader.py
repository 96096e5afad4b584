"""Reads .tflite files: checks them, and says what they take and give. Both functions run in the sandbox and need
neither LiteRT nor TensorFlow.

Takes the file's copy; gives interface and facts. Raises SourceError for damage, UnsafeContentError for operators that are not on the
allow-list, UnsupportedError for what Fairlead cannot ask.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fairlead.core.artifact import ArtifactForm
from fairlead.core.interface import shorten
from fairlead.errors import UnsupportedError
from fairlead.ingest.tflite_interface import choose_signature, describe
from fairlead.security.tflite_check import check_tflite, open_tflite, operator_name, require_safe
from fairlead.security.tflite_file import LiteModel, LiteSignature
from fairlead.stores.document import to_plain

_FLOATS, _INTEGERS = (0, 1), (3, 7, 9, 17)


def read_in_sandbox(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the reader's answer (see ingest.catalog) for the file in `arguments["path"]`."""
    model = open_tflite(Path(arguments["path"]))
    require_safe(check_tflite(model))
    signature = _signature(model, arguments)
    return {
        "interface": to_plain(describe(model, signature)),
        "framework": _framework(model),
        "form": ArtifactForm.TFLITE_FILE.value,
        "file": "",
        "facts": _facts(model, signature),
        "notes": _notes(model),
    }


def inspect_in_sandbox(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is unsafe in the file, and the interface where it can be told."""
    model = open_tflite(Path(arguments["path"]))
    answer: dict[str, Any] = {"framework": _framework(model), "findings": [asdict(item) for item in check_tflite(model)]}
    try:
        signature = _signature(model, arguments)
        answer["interface"] = to_plain(describe(model, signature))
    except UnsupportedError as error:
        return answer | {"notes": [error.message]}
    return answer | {"facts": _facts(model, signature), "notes": _notes(model)}


def _signature(model: LiteModel, arguments: Mapping[str, Any]) -> LiteSignature | None:
    return choose_signature(model, str((arguments.get("options") or {}).get("signature", "")))


def _framework(model: LiteModel) -> str:
    return "TensorFlow Lite" + (f" ({shorten(model.description, 60)})" if model.description else "")


def _facts(model: LiteModel, signature: LiteSignature | None) -> dict[str, int | str]:
    used = Counter(operator_name(item) for graph in model.graphs for item in graph.operators)
    weights = [item for graph in model.graphs for item in graph.tensors if item.is_constant and item.dtype in (*_FLOATS, *_INTEGERS)]
    return {
        "parameter_count": sum(math.prod(item.shape) for item in weights if item.shape),
        "node_count": used.total(),
        "operators": ", ".join(sorted(used)),
        "signature": signature.key if signature is not None else "",
        "has_free_batch": int(all(model.graphs[0].tensors[index].free_shape[:1] == (None,) for index in model.graphs[0].inputs)),
    }


def _notes(model: LiteModel) -> list[str]:
    graph = model.graphs[0]
    notes = [
        f"'{shorten(tensor.name)}' is quantized: its value is {tensor.scale:.6g} * (number - {tensor.zero_point})"
        for tensor in (graph.tensors[index] for index in (*graph.inputs, *graph.outputs))
        if tensor.scale and tensor.dtype in _INTEGERS
    ]
    if any(item.dtype in _INTEGERS and item.is_constant for item in graph.tensors):
        notes.append("its weights are quantized")
    if any(tensor.keeps_state for item in model.graphs for tensor in item.tensors):
        notes.append("it keeps state between calls, which is cleared before each answer")
    return notes
