"""A PyTorch model that ONNX cannot hold, kept as what PyTorch itself runs: an exported program, or TorchScript.

Takes an artifact of form torch-file, gives a Conversion of form `torch`. Weights with a class become an exported program, so that what is
deployed needs none of the user's code. Raises UnsupportedError where that fails, or where the kept file answers otherwise than the
original. What is kept is the archive that our check rebuilt, never the user's bytes. Never imports torch in this process.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from fairlead.convert.torch_export import first_line, to_program
from fairlead.convert.torch_to_onnx import lineage_notes, parse_answer, taken_file
from fairlead.core.artifact import Artifact, SourceFormat
from fairlead.core.conversion import MAIN_FILE, Conversion, RuntimeForm
from fairlead.core.interface import Interface, shorten
from fairlead.core.lineage import Step
from fairlead.core.ports import Sandbox, SandboxJob
from fairlead.engines.torch_engine import TORCH_LIMITS, kept_format, model_arguments, named_answer
from fairlead.engines.torch_rows import draw_rows
from fairlead.errors import UnsupportedError
from fairlead.security.torch_check import check_program, check_script
from fairlead.security.torch_file import OpenModel, open_model

_TOLERANCE = 1e-5
_HINT = "Convert the model to ONNX where it was trained, or export it with torch.export.save."


class _Answer(msgspec.Struct):
    """What the child says."""

    versions: dict[str, str]


def keep_torch(artifact: Artifact, workspace: Path, *, sandbox: Sandbox) -> Conversion:
    """Write `workspace`/kept/model.torch, which answers drawn rows as the original does, and return it."""
    scratch = workspace / "kept"
    entry = "fairlead.convert.torch_original:keep_in_sandbox"
    job = SandboxJob(
        entry, scratch, model_arguments(artifact), (artifact.snapshot.parent,), TORCH_LIMITS, import_paths=artifact.options.import_paths
    )
    answer = parse_answer(sandbox.run(job), _Answer)
    versions = {shorten(name): shorten(version) for name, version in answer.versions.items()}
    path = taken_file(scratch / MAIN_FILE[RuntimeForm.TORCH])
    step = Step("convert", "torch_original", "", "", versions, {"kind": artifact.format.value}, lineage_notes(artifact))
    return Conversion(path, artifact.interface, (step,), _TOLERANCE, form=RuntimeForm.TORCH)


def keep_in_sandbox(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Write the model at `path` as model.torch into scratch, open that again, and compare both on drawn rows."""
    path, source_format, scratch = Path(arguments["path"]), str(arguments["format"]), Path(arguments["scratch"])
    interface = msgspec.convert(arguments["interface"], Interface)
    target = scratch / MAIN_FILE[RuntimeForm.TORCH]
    model = open_model(path, source_format, arguments["options"], scratch)
    if source_format == SourceFormat.TORCH_EXPORTED:
        check_program(path, target)
    elif source_format == SourceFormat.TORCH_SCRIPT:
        check_script(path, target)
    else:
        _save_program(model, scratch / "exported.pt2", target)
    kept = open_model(target, kept_format(target), {"inputs": arguments["options"]["inputs"]}, scratch)
    _compare(model, kept, interface)
    return {"versions": {"torch": str(importlib.import_module("torch").__version__)}}


def _save_program(model: OpenModel, exported: Path, target: Path) -> None:
    torch = importlib.import_module("torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            torch.export.save(to_program(model, draw_rows(model)), str(exported))
        except Exception as error:  # torch.export raises whatever code that it cannot follow makes it raise
            raise UnsupportedError(f"PyTorch cannot export the model either: {first_line(error)}.", hint=_HINT) from error
    check_program(exported, target)
    exported.unlink()


def _compare(model: OpenModel, kept: OpenModel, interface: Interface) -> None:
    for drawn in draw_rows(model).drawn:
        rows = {spec.name: drawn[mine.name] for mine, spec in zip(model.inputs, interface.inputs, strict=True)}
        before, after = named_answer(model, interface, rows), named_answer(kept, interface, rows)
        for name, wanted in before.items():
            if wanted.shape != after[name].shape or not np.allclose(wanted, after[name], _TOLERANCE, _TOLERANCE, equal_nan=True):
                raise UnsupportedError(f"The kept file answers otherwise than the original (output '{name}').", hint=_HINT)
