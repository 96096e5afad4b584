"""What an exported MLflow folder says about its model: the MLmodel file, the signature, and the input example.

Takes a Shipment and its evidence; gives plain data that YAML or JSON writes. The same version gives the same data. Keys that an MLflow
source had and that are not this folder's own come back under their names; the rest of the source's keys are kept in
`metadata.fairlead.source`. Layout: mlflow/models/model.py and mlflow/models/utils.py (`_Example`) of MLflow 3.17.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from fairlead.core.dtype import DType
from fairlead.core.golden import Golden
from fairlead.core.interface import Array, Interface, TensorSpec
from fairlead.core.lineage import Lineage
from fairlead.core.plan import Plan
from fairlead.core.verdict import Verdict
from fairlead.core.version import Version
from fairlead.ship.mlflow_table import TYPES, TableColumn, input_columns, output_columns

MLFLOW_VERSION = "3.17.2"
EXAMPLE, SERVING_EXAMPLE = "input_example.json", "serving_input_example.json"
# Keys that describe a folder and its files, so that another folder has to say them itself.
_OWN_KEYS = frozenset({
    "artifact_path", "flavors", "is_signature_from_type_hint", "metadata", "mlflow_version", "model_id", "model_size_bytes", "model_uuid",
    "saved_input_example_info", "signature", "type_hint_from_example", "utc_time_created",
})  # fmt: skip


@dataclass(frozen=True)
class Proven:
    """A version with its evidence; `source` is the MLmodel that it came with (empty: it did not come from MLflow)."""

    version: Version
    interface: Interface
    verdict: Verdict
    plan: Plan
    lineage: Lineage
    source: Mapping[str, Any]


def is_table(interface: Interface) -> bool:
    """Whether rows go in as columns of a data frame, and answers come out so."""
    return bool(input_columns(interface)) and bool(output_columns(interface))


def describe(proven: Proven, example_info: Mapping[str, Any] | None, onnx_version: str, size_bytes: int) -> dict[str, Any]:
    """Return the content of MLmodel."""
    python = proven.verdict.machine.versions.get("python", "3.11")
    at = datetime.fromtimestamp(proven.version.created_at, UTC)
    described: dict[str, Any] = {key: value for key, value in proven.source.items() if key not in _OWN_KEYS}
    described |= {
        "flavors": {
            "onnx": {
                "code": None,
                "data": "model.onnx",
                "onnx_session_options": None,
                "onnx_version": onnx_version,
                "providers": ["CPUExecutionProvider"],
            },
            "python_function": {
                "data": "model.onnx",
                "env": {"conda": "conda.yaml", "virtualenv": "python_env.yaml"},
                "loader_module": "mlflow.onnx",
                "python_version": python,
            },
        },
        "is_signature_from_type_hint": False,
        "metadata": _metadata(proven),
        "mlflow_version": MLFLOW_VERSION,
        "model_id": None,
        "model_size_bytes": size_bytes,
        "model_uuid": proven.version.digest[:32],
        "signature": signature(proven.interface, proven.source),
        "type_hint_from_example": False,
        "utc_time_created": at.strftime("%Y-%m-%d %H:%M:%S.%f"),
    }
    if example_info is not None:
        described["saved_input_example_info"] = dict(example_info)
    return described


def _metadata(proven: Proven) -> dict[str, Any]:
    verdict, lineage, source = proven.verdict, proven.lineage, proven.source
    kept = source.get("metadata") if isinstance(source.get("metadata"), dict) else {}
    own = {key: value for key, value in source.items() if key in _OWN_KEYS - {"metadata"} and value is not None}
    evidence: dict[str, Any] = {
        "version": proven.version.label,
        "digest": proven.version.digest,
        "verdict": "green" if verdict.is_green else "red",
        "checks": [{"name": item.name, "is_met": item.is_met, "measured": item.measured, "bound": item.bound} for item in verdict.checks],
        "requirements": [str(item) for item in proven.plan.requirements],
        "proven": {"rows": verdict.row_count, "data": verdict.data_description, "engine": verdict.engine, "against": verdict.reference},
        "lineage": {
            "source": lineage.source_name,
            "source_digest": lineage.source_digest,
            "steps": [
                {"room": step.room, "tool": step.tool, "output_digest": step.output_digest, "notes": list(step.notes)}
                for step in lineage.steps
            ],
        },
    }
    if own:
        evidence["source"] = own
    return {**{key: value for key, value in (kept or {}).items() if key != "fairlead"}, "fairlead": evidence}


def signature(interface: Interface, source: Mapping[str, Any]) -> dict[str, Any]:
    """Return the signature: columns for a table, tensors otherwise; each part is JSON text, as MLflow writes it."""
    if is_table(interface):
        optional = _optional_names(source)
        # MLflow refuses to narrow a data frame's doubles, and hands them to an ONNX model as the floats that it takes.
        ins = [
            {
                "type": "double" if column.dtype is DType.FP32 else TYPES[column.dtype],
                "name": column.name,
                "required": column.name not in optional,
            }
            for column in input_columns(interface)
        ]
        outs = [{"type": TYPES[column.dtype], "name": column.name, "required": True} for column in output_columns(interface)]
    else:
        ins = [_tensor(spec, is_named=len(interface.inputs) > 1) for spec in interface.inputs]
        outs = [_tensor(spec, is_named=True) for spec in interface.outputs]
    return {"inputs": json.dumps(ins), "outputs": json.dumps(outs), "params": None}


def _tensor(spec: TensorSpec, *, is_named: bool) -> dict[str, Any]:
    dtype = "str" if spec.dtype is DType.BYTES else spec.dtype.numpy.name
    described = {"type": "tensor", "tensor-spec": {"dtype": dtype, "shape": [-1 if size is None else size for size in spec.shape]}}
    return {"name": spec.name, **described} if is_named else described


def _optional_names(source: Mapping[str, Any]) -> frozenset[str]:
    """The columns that the source's own signature calls optional."""
    entry = source.get("signature")
    text = entry.get("inputs") if isinstance(entry, dict) else None
    columns = json.loads(text) if isinstance(text, str) else []
    return frozenset(item["name"] for item in columns if item.get("required") is False and isinstance(item.get("name"), str))


def example(golden: Golden, interface: Interface) -> tuple[dict[str, Any], Any, dict[str, Any]] | None:
    """Return (saved_input_example_info, input example, serving example) of the golden rows; None where JSON cannot hold them."""
    info: dict[str, Any] = {"artifact_path": EXAMPLE, "serving_input_path": SERVING_EXAMPLE}
    if is_table(interface):
        columns = input_columns(interface)
        frame = {"columns": [column.name for column in columns], "data": _rows(golden, columns)}
        return {**info, "pandas_orient": "split", "type": "dataframe"}, frame, {"dataframe_split": frame}
    if not all(_is_finite(tensor) for tensor in golden.inputs.values()):
        return None
    arrays: Any = {name: tensor.tolist() for name, tensor in golden.inputs.items()}
    if len(interface.inputs) == 1:
        arrays = arrays[interface.inputs[0].name]
    return {**info, "type": "ndarray"}, arrays, {"inputs": arrays}


def _rows(golden: Golden, columns: tuple[TableColumn, ...]) -> list[list[Any]]:
    """Rows of a table; a missing or infinite number is null."""
    lists = [[_json_value(value) for value in column.of(golden.inputs).tolist()] for column in columns]
    return [list(row) for row in zip(*lists, strict=True)]


def _json_value(value: Any) -> Any:
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _is_finite(tensor: Array) -> bool:
    return tensor.dtype.kind != "f" or bool(np.isfinite(tensor).all())
