"""The layout of an MLflow model folder with the flavors onnx and python_function, as MLflow itself loads and serves it.

Takes a Shipment whose version has an ONNX file; writes MLmodel, model.onnx, the environment files and an input example from the golden
rows. The same version gives the same bytes. Raises UnsupportedError for a version without ONNX, SpecError where something is in the way.
"""

from __future__ import annotations

import json
import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

import onnx
import yaml

from fairlead.core.lineage import Lineage
from fairlead.core.plan import Plan
from fairlead.core.verdict import Verdict
from fairlead.errors import SpecError, UnsupportedError
from fairlead.ship.catalog import Shipment
from fairlead.ship.mlflow_description import EXAMPLE, SERVING_EXAMPLE, Proven, describe, example, is_table
from fairlead.ship.mlflow_table import as_table
from fairlead.stores.document import load
from fairlead.stores.golden_rows import read_golden

_MODEL, _SOURCE = "model.onnx", "mlflow-model.json"
_MLFLOW = "mlflow>=3.5,<4"


def write_mlflow(shipment: Shipment, folder: Path) -> dict[str, Path]:
    """Write the version as an MLflow model into `folder`, which is new or empty."""
    if _MODEL not in shipment.files:
        raise UnsupportedError(
            f"{shipment.version.label} has no ONNX form, which MLflow would run.", hint="Serve it with Fairlead: fairlead serve."
        )
    if folder.exists() and any(folder.iterdir()):
        raise SpecError(f"The folder '{folder.name}' is not empty.", hint="Write into a new folder: an MLflow model is one folder.")
    unfinished = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        names = _write(shipment, unfinished)
        unfinished.replace(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return {name: folder / name for name in names}


def _write(shipment: Shipment, folder: Path) -> list[str]:
    proven, golden = _proven(shipment), read_golden(shipment.files["golden.npz"])
    if is_table(shipment.interface):
        model = as_table(onnx.load(shipment.files[_MODEL]), shipment.interface)
        (folder / _MODEL).write_bytes(model.SerializeToString(deterministic=True))
    else:
        shutil.copyfile(shipment.files[_MODEL], folder / _MODEL)
    found = example(golden, shipment.interface)
    if found is not None:
        _, rows, serving = found
        (folder / EXAMPLE).write_text(json.dumps(rows), encoding="utf-8")
        (folder / SERVING_EXAMPLE).write_text(json.dumps(serving, indent=2), encoding="utf-8")
    versions = _versions(proven)
    _write_environment(folder, versions)
    size = sum(path.stat().st_size for path in folder.iterdir())
    described = describe(proven, None if found is None else found[0], versions["onnx"], size)
    _write_yaml(folder / "MLmodel", described)
    return sorted(path.name for path in folder.iterdir())


def _proven(shipment: Shipment) -> Proven:
    files = shipment.files
    source: Any = json.loads(files[_SOURCE].read_bytes()) if _SOURCE in files else {}
    return Proven(
        shipment.version,
        shipment.interface,
        load(files["verdict.json"].read_bytes(), Verdict),
        load(files["plan.json"].read_bytes(), Plan),
        load(files["lineage.json"].read_bytes(), Lineage),
        source,
    )


def _versions(proven: Proven) -> dict[str, str]:
    """The releases that the version was proven with, where its evidence says them; else those installed here."""
    recorded = dict(proven.verdict.machine.versions)
    for step in proven.lineage.steps:
        recorded |= {name: version for name, version in step.versions.items() if name in ("onnx", "onnxruntime")}
    return {name: recorded.get(name) or metadata.version(name) for name in ("onnx", "onnxruntime")} | {
        "python": recorded.get("python", "3.11")
    }


def _write_environment(folder: Path, versions: dict[str, str]) -> None:
    needed = [_MLFLOW, f"onnx=={versions['onnx']}", f"onnxruntime=={versions['onnxruntime']}"]
    (folder / "requirements.txt").write_text("\n".join(needed) + "\n", encoding="utf-8")
    python = versions["python"]
    conda = {"name": "mlflow-env", "channels": ["conda-forge"], "dependencies": [f"python={python}", "pip", {"pip": needed}]}
    _write_yaml(folder / "conda.yaml", conda)
    build = ["pip", "setuptools", "wheel"]
    _write_yaml(folder / "python_env.yaml", {"python": python, "build_dependencies": build, "dependencies": ["-r requirements.txt"]})


def _write_yaml(path: Path, content: dict[str, Any]) -> None:
    path.write_text(yaml.safe_dump(content, default_flow_style=False, allow_unicode=True), encoding="utf-8")
