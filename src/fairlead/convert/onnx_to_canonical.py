"""An ONNX file (form onnx-file) -> canonical ONNX: the same graph with a free batch, an operator set that every engine reads, and proof.

Takes what ingest wrote: one file, checked, plain tensors. Gives it with the interface's names, its rows proven independent of each other
at batches 1, 2 and 7 in the sandbox. Raises UnsupportedError for a batch that is fixed, or where rows influence each other. Never changes
weights or operators other than by onnx's own version converter.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fairlead.core.artifact import Artifact
from fairlead.core.conversion import Conversion
from fairlead.core.interface import shorten
from fairlead.core.lineage import Step
from fairlead.core.ports import Sandbox, SandboxJob
from fairlead.errors import CorruptError, UnsupportedError

_ENTRY = "fairlead.convert.onnx_to_canonical:canonicalize_in_sandbox"
_FILE = "canonical.onnx"
_OLDEST_OPSET, _NEW_OPSET = 7, 13  # ONNX Runtime implements operators from set 7 on; quantizers want 13
_TOLERANCE = 1e-5


def convert_onnx(artifact: Artifact, workspace: Path, *, sandbox: Sandbox) -> Conversion:
    """Return the canonical file in `workspace`."""
    fixed = [spec for spec in (*artifact.interface.inputs, *artifact.interface.outputs) if spec.shape[:1] != (None,)]
    if fixed:
        reason = next((note for note in artifact.notes if "cannot be freed" in note), "")
        raise UnsupportedError(
            f"The model's batch is fixed: {fixed[0].describe()}. {reason}".strip(),
            hint="Export it with a dynamic batch axis (torch: dynamic_shapes, tf2onnx: a signature with None first).",
        )
    scratch = workspace / "canonicalize"
    answer = sandbox.run(SandboxJob(_ENTRY, scratch, {"path": str(artifact.path)}, (artifact.path.parent,)))
    written = scratch / _FILE
    if written.is_symlink() or not written.is_file():
        raise CorruptError("The conversion left no file.", hint="Export the model again.")
    path = workspace / _FILE
    shutil.move(written, path)
    notes = tuple(shorten(str(note), 300) for note in answer.get("notes", ()))
    versions = {str(name): shorten(str(version), 40) for name, version in answer.get("versions", {}).items()}
    step = Step("convert", "onnx_to_canonical", artifact.source.digest, "", versions, {}, notes)
    return Conversion(path, replace(artifact.interface), (step,), tolerance=_TOLERANCE)


def canonicalize_in_sandbox(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Run in the sandbox: upgrade the operator set where it is too old, prove the rows, write scratch/canonical.onnx."""
    import onnx  # noqa: PLC0415 - only the sandboxed child opens the file
    import onnxruntime  # noqa: PLC0415 - as above

    from fairlead.engines.row_proof import NOT_TRIED, prove_rows  # noqa: PLC0415 - as above

    source, target = Path(arguments["path"]), Path(arguments["scratch"]) / _FILE
    model = onnx.load_model(source, load_external_data=False)
    notes = []
    opset = max((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), default=_NEW_OPSET)
    if opset < _OLDEST_OPSET:
        try:
            model = onnx.version_converter.convert_version(model, _NEW_OPSET)
        except (RuntimeError, ValueError, onnx.version_converter.ConvertError) as error:
            raise UnsupportedError(
                f"The model uses operator set {opset}, which cannot be upgraded: {shorten(str(error), 200)}.",
                hint=f"Export it again with operator set {_NEW_OPSET} or later.",
            ) from None
        notes.append(f"operator set {opset} upgraded to {_NEW_OPSET}")
    onnx.save_model(model, target)
    problem = prove_rows(source, target, 1)
    if problem == NOT_TRIED:
        notes.append("rows could not be proven independent on drawn data; verify does it on the real rows")
    elif problem:
        raise UnsupportedError(
            f"The model does not treat rows independently: {problem}.", hint="Export it so that each row has its own answer."
        )
    else:
        notes.append("batches of 1, 2 and 7 answer as each row alone")
    return {"notes": notes, "versions": {"onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__}}
