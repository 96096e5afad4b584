"""The layout of a model repository for servers of the Open Inference Protocol: NAME/config.pbtxt and NAME/NUMBER/model.onnx.

Triton's ONNX Runtime backend reads it as it is; KServe and Seldon Core start such servers on it. `max_batch_size: 0` says that shapes are
given whole, batch included, which is what the model's interface says (Triton, "Model Configuration", maximum batch size).
Takes a Shipment; raises SpecError where the version is there already or the folder holds a model with another interface, UnsupportedError
for a version without an ONNX form.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, TensorSpec
from fairlead.errors import SpecError, UnsupportedError
from fairlead.ship.catalog import Shipment

_CONFIG = "config.pbtxt"
_MODEL = "model.onnx"


def write_open_inference(shipment: Shipment, folder: Path) -> dict[str, Path]:
    """Write the version into `folder`; versions of one model lie side by side under one configuration."""
    version = shipment.version
    if _MODEL not in shipment.files:
        raise UnsupportedError(f"{version.label} has no ONNX form that other servers could take.", hint="Serve it with `fairlead serve`.")
    model_folder = folder / version.name
    numbered = model_folder / str(version.number)
    config = model_folder / _CONFIG
    text = configuration(version.name, shipment.interface)
    if numbered.exists():
        raise SpecError(f"The folder holds {version.label} already.", hint="Delete it, or write into another folder.")
    if config.exists() and config.read_text(encoding="utf-8") != text:
        raise SpecError(f"The folder holds a '{version.name}' with another interface.", hint="Write into another folder.")
    model_folder.mkdir(parents=True, exist_ok=True)
    config.write_text(text, encoding="utf-8")
    # A server that watches the folder must never see half a version: it appears by one rename.
    unfinished = model_folder / f".{version.number}.{os.getpid()}"
    unfinished.mkdir()
    try:
        shutil.copyfile(shipment.files[_MODEL], unfinished / _MODEL)
        unfinished.rename(numbered)
    except OSError:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return {f"{version.name}/{_CONFIG}": config, f"{version.name}/{version.number}/{_MODEL}": numbered / _MODEL}


def configuration(name: str, interface: Interface) -> str:
    """Return the protobuf text of Triton's model configuration."""
    lines = [f"name: {_quoted(name)}", 'backend: "onnxruntime"', "max_batch_size: 0"]
    lines += _tensors("input", interface.inputs)
    lines += _tensors("output", interface.outputs)
    return "\n".join(lines) + "\n"


def _tensors(kind: str, specs: tuple[TensorSpec, ...]) -> Iterator[str]:
    yield f"{kind} ["
    for position, spec in enumerate(specs):
        dims = ", ".join("-1" if size is None else str(size) for size in spec.shape)
        comma = "," if position < len(specs) - 1 else ""
        yield f"  {{ name: {_quoted(spec.name)}, data_type: {_type(spec.dtype)}, dims: [ {dims} ] }}{comma}"
    yield "]"


def _type(dtype: DType) -> str:
    return "TYPE_STRING" if dtype is DType.BYTES else f"TYPE_{dtype.value}"


def _quoted(text: str) -> str:
    """Protobuf text takes JSON's escapes for quotes, backslashes and control characters; the rest stays UTF-8."""
    return json.dumps(text, ensure_ascii=False)
