"""Reads the input example that an MLflow model brings along: a data frame, arrays, or records, as MLflow writes them to JSON.

Takes a path and an interface; gives a Dataset without answers. Raises DataError for what does not fit the model. Forms and names:
mlflow/models/utils.py, `_Example`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec

from fairlead.core.dataset import Dataset
from fairlead.core.interface import Interface
from fairlead.datasets.bind import bind
from fairlead.datasets.json_reader import raw_of
from fairlead.errors import DataError


def load_mlflow_example(path: Path, interface: Interface, *, allow_missing: bool = False) -> Dataset:
    """Return the rows of the example in `path` as `interface` wants them."""
    data = path.read_bytes()
    try:
        # MLflow writes missing numbers as NaN, which is not JSON; Python's own reader takes it.
        content = json.loads(data) if b"NaN" in data else msgspec.json.decode(data)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise DataError(f"The model's input example is not JSON: {error}.", hint="Give rows: --data rows.csv.") from error
    dataset = bind(raw_of(_plain_rows(content)), interface, allow_missing=allow_missing)
    description = f"the model's own input example, {dataset.rows} row{'s' if dataset.rows > 1 else ''}"
    described = "; ".join(part for part in (description, dataset.description) if part)
    return dataclasses.replace(dataset, digest=hashlib.sha256(data).hexdigest(), description=described)


def _plain_rows(content: Any) -> Any:
    """Return records or arrays: a data frame in pandas' "split" form has columns and data; parameters of `predict` stand beside."""
    if isinstance(content, dict) and content.keys() == {"inputs", "params"}:
        content = content["inputs"]
    if isinstance(content, dict) and isinstance(content.get("data"), list) and content.keys() <= {"columns", "data", "index"}:
        columns, rows = content.get("columns"), content["data"]
        if not isinstance(columns, list):
            return rows
        if not all(isinstance(row, list) and len(row) == len(columns) for row in rows):
            raise DataError("The rows of the model's input example do not have one value for each column.", hint="Give rows: --data.")
        return [dict(zip(map(str, columns), row, strict=True)) for row in rows]
    if isinstance(content, dict) and content and not any(isinstance(value, list | dict) for value in content.values()):
        return [content]
    return content
