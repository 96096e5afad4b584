"""XGBoost's linear booster -> canonical ONNX that adds as XGBoost does. Other boosters that are no plain trees have no ONNX form.

Takes an Artifact of form booster-file; the file is parsed by our own parser, in the sandbox. Gives a Conversion; raises UnsupportedError
for CatBoost's categories and LightGBM's linear leaves, which `keep_booster` then keeps.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import onnx

from fairlead.convert.graph_builder import OPSET
from fairlead.convert.trees.graph import build_model
from fairlead.core.artifact import Artifact, SourceFormat
from fairlead.core.conversion import MAIN_FILE, Conversion, RuntimeForm
from fairlead.core.interface import Interface
from fairlead.core.lineage import Step
from fairlead.core.ports import Sandbox, SandboxJob
from fairlead.errors import UnsupportedError
from fairlead.security.xgboost_model import SIZE_LIMIT_BYTES, parse_xgboost
from fairlead.security.xgboost_trees import answering

_TOLERANCE = 2e-6  # what transforms may differ by, as in convert.tree_ensemble_to_onnx
_REASONS = {
    SourceFormat.CATBOOST_CBM: "CatBoost hashes the text of categories and looks the hash up in tables of its own",
    SourceFormat.LIGHTGBM_TEXT: "its leaves hold linear models, which no operator of trees knows",
}


def convert_booster(artifact: Artifact, workspace: Path, *, sandbox: Sandbox) -> Conversion:
    """Write `model.onnx` into a folder inside of `workspace`."""
    if artifact.format in _REASONS:
        raise UnsupportedError(f"{_REASONS[artifact.format]}.", hint="The library that trained it answers for it.")
    scratch = workspace / "linear"
    arguments = {"path": str(artifact.snapshot), "interface": msgspec.to_builtins(artifact.interface)}
    sandbox.run(SandboxJob(f"{__name__}:write_in_sandbox", scratch, arguments, (artifact.snapshot,)))
    step = Step("convert", "booster_to_onnx", "", "", {"onnx": onnx.__version__}, {"opset": OPSET})
    return Conversion(scratch / MAIN_FILE[RuntimeForm.ONNX], artifact.interface, (step,), _TOLERANCE)


def write_in_sandbox(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Run in the sandbox: parse arguments["path"] and write the graph."""
    with Path(arguments["path"]).open("rb") as file:
        model = parse_xgboost(file.read(SIZE_LIMIT_BYTES + 1))
    if model.linear is None:
        raise UnsupportedError("The XGBoost model is no linear booster.", hint="Import it again.")
    graph = build_model(answering(model), msgspec.convert(arguments["interface"], Interface), model.linear)
    (Path(arguments["scratch"]) / MAIN_FILE[RuntimeForm.ONNX]).write_bytes(graph.SerializeToString(deterministic=True))
    return {}
