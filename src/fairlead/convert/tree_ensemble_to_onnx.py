"""Tree ensembles (core.tree_ensemble) -> canonical ONNX that decides as the library does at every threshold.

Takes an Artifact of form tree-ensemble, gives a Conversion with rows on the model's own thresholds. The artifact is data of our own, so
nothing needs the sandbox. Raises UnsupportedError for what has no exact form. Every probe row is compared with the numpy walk first.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from fairlead.convert.graph_builder import OPSET
from fairlead.convert.trees.ensemble_node import ML_OPSET
from fairlead.convert.trees.graph import build_model
from fairlead.convert.trees.probes import probe_rows
from fairlead.core.artifact import Artifact
from fairlead.core.conversion import Conversion
from fairlead.core.dtype import DType
from fairlead.core.interface import DecisionKind, Tensors, decide
from fairlead.core.lineage import Step
from fairlead.core.ports import Sandbox
from fairlead.core.tree_ensemble import TreeEnsemble
from fairlead.engines.onnxruntime_engine import OnnxRuntimeEngine
from fairlead.engines.tree_ensemble_engine import TreeEnsembleEngine
from fairlead.engines.tree_ensemble_file import read_tree_ensemble
from fairlead.errors import UnsupportedError

MODEL_FILE = "model.onnx"
_REPORT = "Please report this model."
# What transforms may differ by: a few units in the last place of a number of order 1, in the type that the library adds in.
_TOLERANCES = {DType.FP32: 2e-6, DType.FP64: 1e-12}


def convert_tree_ensemble(artifact: Artifact, workspace: Path, *, sandbox: Sandbox) -> Conversion:
    """Write `model.onnx` into `workspace`."""
    del sandbox
    trees = read_tree_ensemble(artifact.path)
    path = workspace / MODEL_FILE
    path.write_bytes(build_model(trees, artifact.interface).SerializeToString(deterministic=True))
    (spec,) = artifact.interface.inputs
    probes = {spec.name: probe_rows(trees, spec.dtype, allow_missing=bool(artifact.facts.get("accepts_missing", 0)))}
    tolerance = _tolerance(trees)
    _compare(trees, artifact, path, probes, tolerance)
    parameters = {"opset": OPSET, "ml_opset": ML_OPSET, "trees": trees.tree_count, "probe_rows": len(probes[spec.name])}
    step = Step("convert", "tree_ensemble_to_onnx", "", "", {"onnx": onnx.__version__}, parameters)
    return Conversion(path, artifact.interface, (step,), tolerance, probes)


def _tolerance(trees: TreeEnsemble) -> float:
    """Absolute below 1 and relative above, of one output."""
    return _TOLERANCES[trees.sum_dtype]


def _compare(trees: TreeEnsemble, artifact: Artifact, path: Path, probes: Tensors, tolerance: float) -> None:
    """Raise UnsupportedError unless the graph answers the probe rows as the numpy walk does, decision by decision."""
    interface = artifact.interface
    walk, graph = TreeEnsembleEngine(trees, interface), OnnxRuntimeEngine(path, interface)
    expected, got = walk.run(probes), graph.run(probes)
    graph.close()
    rule = interface.decision
    if rule is not None and rule.kind is not DecisionKind.VALUE and not np.array_equal(decide(interface, expected), decide(interface, got)):
        raise UnsupportedError("The ONNX form decides some threshold rows otherwise than the trees.", hint=_REPORT)
    for spec in interface.outputs:
        if spec.dtype.is_float and not np.allclose(expected[spec.name], got[spec.name], rtol=tolerance, atol=tolerance):
            raise UnsupportedError(f"The ONNX form's '{spec.name}' differs from the trees' on threshold rows.", hint=_REPORT)
