"""Entries of sandboxed jobs that read many bad files in one process, so that thousands take seconds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fairlead.errors import FairleadError
from fairlead.ingest.onnx_reader import read_in_sandbox


def read_onnx_files(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return under `outcomes`, for each of the numbered files in a folder, "read" or the class of the error."""
    outcomes = []
    for number in range(arguments["count"]):
        path = Path(arguments["folder"], f"{number}.onnx")
        try:
            read_in_sandbox({"path": str(path), "scratch": arguments["scratch"], "companions": []})
            outcomes.append("read")
        except FairleadError as error:
            outcomes.append(type(error).__name__)
    return {"outcomes": outcomes}
