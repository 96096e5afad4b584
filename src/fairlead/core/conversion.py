"""What convert gives: a canonical ONNX file, or the form that one engine runs, and how it came about. Pure values."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fairlead.core.artifact import Artifact
from fairlead.core.interface import Interface, Tensors
from fairlead.core.lineage import Step
from fairlead.core.ports import Sandbox


class RuntimeForm(enum.StrEnum):
    """In which form a model runs. Each has one engine (`ENGINE_OF_FORM`) and one main file (`MAIN_FILE`)."""

    ONNX = "onnx"
    ORT = "ort"  # ONNX Runtime's own optimized format
    OPENVINO = "openvino"  # OpenVINO IR: model.xml with model.bin beside it
    TFLITE = "tflite"
    TREES = "trees"  # a tree ensemble as data, for the compiled kernel
    TORCH = "torch"  # an exported program (.pt2) or TorchScript, run in a process of its own
    PYTHON = "python"  # an estimator without a graph form, run in a process of its own
    BOOSTER = "booster"  # a boosting library's own file that is no plain trees, run by that library in a process of its own
    ENSEMBLE = "ensemble"  # a graph of registered versions, whose files lie beside it


TWIN_FILE = "twin.onnx"  # beside a version's main file: the uncompressed original of a lossy one, in canonical ONNX
MAIN_FILE: Mapping[RuntimeForm, str] = {
    RuntimeForm.ONNX: "model.onnx",
    RuntimeForm.ORT: "model.ort",
    RuntimeForm.OPENVINO: "model.xml",
    RuntimeForm.TFLITE: "model.tflite",
    RuntimeForm.TREES: "model.trees",
    RuntimeForm.TORCH: "model.torch",
    RuntimeForm.PYTHON: "model.estimator",
    RuntimeForm.BOOSTER: "model.booster",
    RuntimeForm.ENSEMBLE: "ensemble.json",
}
ENGINE_OF_FORM: Mapping[RuntimeForm, str] = {
    RuntimeForm.ONNX: "onnxruntime",
    RuntimeForm.ORT: "onnxruntime",
    RuntimeForm.OPENVINO: "openvino",
    RuntimeForm.TFLITE: "litert",
    RuntimeForm.TREES: "trees",
    RuntimeForm.TORCH: "torch",
    RuntimeForm.PYTHON: "python",
    RuntimeForm.BOOSTER: "booster",
    RuntimeForm.ENSEMBLE: "ensemble",
}


@dataclass(frozen=True)
class Conversion:
    """`path` is a single-file ONNX model with a dynamic batch and exactly the names of `interface`; or, where no route to ONNX exists,
    the original in another `form` (TORCH, TFLITE, PYTHON or BOOSTER), and the last step's notes say why.

    `probes` are rows that sit on the model's own decision thresholds and one unit in the last place to each side (None where it has
    none); verify adds them to the rows that it compares. `tolerance` is the largest difference from the original that this route
    promises, absolute below 1 and relative above.
    """

    path: Path
    interface: Interface
    steps: tuple[Step, ...]
    tolerance: float = 1e-5
    probes: Tensors | None = field(default=None, repr=False)
    form: RuntimeForm = RuntimeForm.ONNX


@dataclass(frozen=True)
class BuildJob:
    """Make the form that one engine runs: of `model` (the canonical ONNX file after a candidate's passes), or of the artifact itself.

    `workspace` is a folder of the builder's own.
    """

    artifact: Artifact
    conversion: Conversion
    model: Path
    workspace: Path
    sandbox: Sandbox


@dataclass(frozen=True)
class RuntimeModel:
    """`files` (bare name -> path) belong together and lie in one folder; `path` is the one that the engine opens, `MAIN_FILE[form]`."""

    form: RuntimeForm
    path: Path
    files: Mapping[str, Path]
    steps: tuple[Step, ...] = ()
