"""A candidate's ONNX file -> ONNX Runtime's own format, model.ort: the graph as the runtime rewrites it, written once.

Takes a BuildJob, gives a RuntimeModel. Raises UnsupportedError for a model that the runtime cannot load. The level is "extended": its
result is the same on every processor. Layouts for a processor's vector width ("all") are left out, since the file may run elsewhere, and
ONNX Runtime does not add them when it loads an .ort file. It loads faster, asks for the runtime that wrote it or a later one, and is not
written to the same bytes twice.
"""

from __future__ import annotations

from pathlib import Path

import onnxruntime

from fairlead.core.conversion import MAIN_FILE, BuildJob, RuntimeForm, RuntimeModel
from fairlead.core.lineage import Step
from fairlead.engines.onnxruntime_engine import LOAD_ERRORS
from fairlead.errors import UnsupportedError
from fairlead.security.digests import digest_file

_LEVEL = "extended"
_FATAL_SEVERITY = 4


def build_ort(job: BuildJob) -> RuntimeModel:
    """Return model.ort of `job.model` in a folder of the workspace."""
    folder = job.workspace / "ort"
    folder.mkdir(parents=True)
    name = MAIN_FILE[RuntimeForm.ORT]
    _write(job.model, folder / name)
    versions = {"onnxruntime": onnxruntime.__version__}
    step = Step("convert", "onnx_to_ort", digest_file(job.model), digest_file(folder / name), versions, {"level": _LEVEL})
    return RuntimeModel(RuntimeForm.ORT, folder / name, {name: folder / name}, (step,))


def _write(source: Path, target: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.intra_op_num_threads = 1
    options.log_severity_level = _FATAL_SEVERITY
    options.optimized_model_filepath = str(target)
    options.add_session_config_entry("session.save_model_format", "ORT")
    try:
        onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
    except LOAD_ERRORS:
        raise UnsupportedError("ONNX Runtime cannot write this model in its own format.", hint="Use the ONNX file itself.") from None
