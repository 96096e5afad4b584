"""A candidate's ONNX file -> OpenVINO IR: model.xml with model.bin beside it, written and proven in the sandbox.

Takes a BuildJob, gives a RuntimeModel. Raises UnsupportedError for a model that OpenVINO cannot hold or would compute otherwise (see
`openvino_limits`), MissingExtraError where it is not installed. Weights are stored as they are: in single precision, or in half where the
candidate's passes made them so. The same model gives the same bytes. Never compresses weights by itself, and never reports to anyone.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fairlead.convert.openvino_file import check_files
from fairlead.core.conversion import MAIN_FILE, BuildJob, RuntimeForm, RuntimeModel
from fairlead.core.interface import shorten
from fairlead.core.lineage import Step
from fairlead.core.ports import SandboxJob, SandboxLimits
from fairlead.errors import CorruptError, MissingExtraError, SandboxError, UnsupportedError
from fairlead.security.digests import digest_file

_ENTRY = "fairlead.convert.onnx_to_openvino:build_in_sandbox"
_XML = MAIN_FILE[RuntimeForm.OPENVINO]
_BIN = "model.bin"
_MEMORY_BYTES = 16 * 2**30  # address space: the library reserves more than it uses
_OLDEST_OPSET = 13  # what the guard's operators need
# Half precision and whole numbers of 8 bits are computed in another order and in other steps than by ONNX Runtime; verify decides on them.
_EXACT, _ROUNDED = 1e-4, 5e-2


def build_openvino(job: BuildJob) -> RuntimeModel:
    """Return the IR of `job.model` in a folder of the workspace."""
    if find_spec("openvino") is None:
        raise MissingExtraError("openvino", needed_for="The form 'openvino'")
    scratch, folder = job.workspace / "scratch", job.workspace / "openvino"
    limits = SandboxLimits(memory_bytes=_MEMORY_BYTES)
    try:
        answer = job.sandbox.run(SandboxJob(_ENTRY, scratch, {"path": str(job.model)}, (job.model.parent,), limits))
    except SandboxError as error:  # the library dies of some graphs, such as a bidirectional LSTM
        raise UnsupportedError(f"OpenVINO could not take this model: {error.message}", hint="Use another engine for it.") from error
    folder.mkdir()
    for name in (_XML, _BIN):
        written = scratch / name
        if written.is_symlink() or not written.is_file():
            raise CorruptError("The conversion to OpenVINO left no file.", hint="Please report this model.")
        shutil.move(written, folder / name)
    check_files(folder / _XML, folder / _BIN)
    notes = tuple(shorten(str(note), 300) for note in answer.get("notes", ()))
    versions = {str(name): shorten(str(version), 40) for name, version in answer.get("versions", {}).items()}
    step = Step("convert", "onnx_to_openvino", digest_file(job.model), digest_file(folder / _XML), versions, {}, notes)
    return RuntimeModel(RuntimeForm.OPENVINO, folder / _XML, {name: folder / name for name in (_XML, _BIN)}, (step,))


def build_in_sandbox(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Run in the sandbox: check, guard, convert, write scratch/model.xml and .bin, and prove them against the ONNX file."""
    import onnx  # noqa: PLC0415 - only the sandboxed child opens the file

    from fairlead.convert.openvino_limits import check_exact, with_guard  # noqa: PLC0415 - as above
    from fairlead.engines.openvino_engine import GUARD, INTEGER_LIMIT  # noqa: PLC0415 - as above
    from fairlead.engines.openvino_library import core, openvino  # noqa: PLC0415 - as above

    source, scratch = Path(arguments["path"]), Path(arguments["scratch"])
    model = _modern(onnx.load_model(source, load_external_data=False))
    guarded = check_exact(model, INTEGER_LIMIT)
    try:
        converted = core().read_model(with_guard(model, guarded, GUARD, INTEGER_LIMIT).SerializeToString())
        converted.set_friendly_name("model")
        openvino.save_model(converted, scratch / _XML, compress_to_fp16=False)
    except RuntimeError as error:
        raise UnsupportedError(
            f"OpenVINO cannot hold this model: {_reason(str(error))}.", hint="Use another engine for it; ONNX Runtime runs it."
        ) from None
    (scratch / _BIN).touch()
    is_rounded = any(value in (onnx.TensorProto.FLOAT16, onnx.TensorProto.INT8, onnx.TensorProto.UINT8) for value in _stored(model))
    proven = _prove(source, scratch / _XML, _ROUNDED if is_rounded else _EXACT)
    notes = [proven, *([f"a guard refuses indices outside of {len(guarded)} tables"] if guarded else [])]
    return {"notes": notes, "versions": {"openvino": openvino.__version__.partition("-")[0], "onnx": onnx.__version__}}


def _modern(model: Any) -> Any:
    import onnx  # noqa: PLC0415 - only the sandboxed child opens the file

    opset = max((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), default=_OLDEST_OPSET)
    if opset >= _OLDEST_OPSET:
        return model
    try:
        return onnx.version_converter.convert_version(model, _OLDEST_OPSET)
    except (RuntimeError, ValueError, onnx.version_converter.ConvertError) as error:
        raise UnsupportedError(f"Operator set {opset} cannot be upgraded: {shorten(str(error), 200)}.") from None


def _stored(model: Any) -> set[int]:
    return {tensor.data_type for tensor in model.graph.initializer}


def _prove(source: Path, written: Path, tolerance: float) -> str:
    """Compare what was written with the ONNX file on drawn rows; return the note."""
    from fairlead.core.interface import Interface  # noqa: PLC0415 - only the sandboxed child needs it
    from fairlead.engines.export_proof import BATCHES, prove_export  # noqa: PLC0415 - as above
    from fairlead.engines.onnxruntime_engine import open_session, session_specs  # noqa: PLC0415 - as above
    from fairlead.engines.openvino_engine import OpenVinoEngine  # noqa: PLC0415 - as above

    inputs, outputs = session_specs(open_session(source, thread_count=1, optimization="none"))
    engine = OpenVinoEngine(written, Interface(inputs, outputs))
    prove_export(source.read_bytes(), inputs, lambda rows: list(engine.run(rows).values()), tolerance=tolerance)
    return f"answers as the ONNX file does on drawn rows in batches of {', '.join(map(str, BATCHES))}"


def _reason(message: str) -> str:
    """Return what OpenVINO says in one line: the operators without a rule where it names them."""
    lines = [line.strip("- ") for line in message.splitlines() if line.strip()]
    named = [line for line in lines if line.startswith(("No conversion rule", "There was an error"))]
    kept = named or [line for line in lines if not line.startswith(("Exception from", "Check '", "FrontEnd API", "To facilitate"))]
    return shorten(" ".join(kept), 300).rstrip(". ")
