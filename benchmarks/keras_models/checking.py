"""Reads saved models with Fairlead and compares ONNX and numpy with the answers of the framework that saved them."""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fairlead.convert.stage import convert
from fairlead.core.artifact import Artifact
from fairlead.core.ports import Engine, SandboxJob
from fairlead.engines.layer_graph_engine import open_reference
from fairlead.engines.onnxruntime_engine import OnnxRuntimeEngine
from fairlead.errors import FairleadError, UnsupportedError
from fairlead.ingest.stage import ingest
from keras_models.battery import BATTERY, FAMILIES

TOLERANCE = 1e-5
_FORBIDDEN = ("keras", "tf_keras", "tensorflow", "torch", "jax")
_SAVERS = {"keras": "Keras 3", "tf_keras": "Keras 2"}


class InProcessSandbox:
    """Runs the reader here, for speed: the battery opens only files that it wrote itself."""

    def run(self, job: SandboxJob) -> dict[str, Any]:
        """Call the entry with its arguments."""
        module, _, function = job.entry.partition(":")
        job.scratch.mkdir(parents=True, exist_ok=True)
        result: dict[str, Any] = getattr(importlib.import_module(module), function)({**job.arguments, "scratch": str(job.scratch)})
        return result

    def layers(self) -> Mapping[str, str]:
        """There are none."""
        return {}


def forbid_frameworks() -> None:
    """Make every import of a training framework fail in this process."""
    for name in _FORBIDDEN:
        sys.modules[name] = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Row:
    """What came of one file. `onnx` and `numpy` are the largest differences, None where there was nothing to compare."""

    model: str
    file: str
    onnx: float | None
    numpy: float | None
    verdict: str
    why: str = ""


@dataclass(frozen=True)
class Report:
    """All rows, and which versions saved the files."""

    rows: tuple[Row, ...]
    versions: tuple[str, ...]

    @property
    def wrong_count(self) -> int:
        """How many files were read wrong."""
        return sum(row.verdict == "WRONG" for row in self.rows)

    def json_lines(self) -> str:
        """Return (format, "family: model", outcome, detail) of every file that there is, one JSON list in a line."""
        outcomes = {"right": "right", "refused by name": "refused", "WRONG": "wrong"}
        return "\n".join(
            json.dumps((row.file, f"{FAMILIES[row.model]}: {row.model}", outcomes[row.verdict], row.why or _shown([row.onnx, row.numpy])))
            for row in self.rows
            if row.verdict in outcomes
        )

    def markdown(self) -> str:
        """Return a summary and the table."""
        counts = Counter(row.verdict for row in self.rows)
        total = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items()))
        models = len({row.model for row in self.rows})
        lines = [f"{models} models saved by {' and '.join(self.versions)}, {len(self.rows)} files: {total}.", ""]
        lines += ["| model | what is in it | saved by | ONNX | numpy | verdict |", "|---|---|---|---|---|---|"]
        groups: dict[tuple[str, str, str], list[Row]] = {}
        for row in self.rows:
            groups.setdefault((row.model, row.verdict, row.why), []).append(row)
        return "\n".join([*lines, *map(_line, groups.values())])


def _line(rows: list[Row]) -> str:
    """One line for all files of a model that fared alike, with their largest differences."""
    first = rows[0]
    differences = " | ".join(_shown([getattr(row, way) for row in rows]) for way in ("onnx", "numpy"))
    files = ", ".join(row.file for row in rows)
    return f"| {first.model} | {BATTERY[first.model].covers} | {files} | {differences} | {first.verdict}{_because(first)} |"


def _shown(differences: list[float | None]) -> str:
    known = [difference for difference in differences if difference is not None]
    return f"{max(known):.1e}" if known else ""


def _because(row: Row) -> str:
    return f": {row.why}".replace("|", "/").replace("\n", " ") if row.why else ""


def check_all(folder: Path) -> Report:
    """Check every file under `folder`/keras and `folder`/tf_keras."""
    rows: list[Row] = []
    versions = []
    for framework in sorted(path.parent for path in folder.glob("*/problems.json")):
        record = json.loads((framework / "problems.json").read_text())
        versions.append(f"{record['framework']} {record['version']}")
        rows += _check_framework(framework, record["problems"])
    return Report(tuple(sorted(rows, key=lambda row: (row.model, row.file))), tuple(versions))


def _check_framework(folder: Path, problems: Mapping[str, str]) -> Iterator[Row]:
    names = {path.stem for path in folder.glob("*.npz")} | {name.partition(".")[0] for name in problems}
    for name in sorted(names):
        for extension in ("h5", "keras"):
            file = f"{_SAVERS[folder.name]} .{extension}"
            problem = problems.get(name) or problems.get(f"{name}.{extension}")
            if problem:
                yield Row(name, file, None, None, "absent", problem)
            else:
                yield check_file(folder / f"{name}.{extension}", folder / f"{name}.npz", file)


def check_file(model: Path, answers: Path, file: str) -> Row:
    """Read `model`, run it both ways on the inputs in `answers`, and compare."""
    with tempfile.TemporaryDirectory(prefix="keras-battery-") as temporary:
        workspace = Path(temporary)
        try:
            artifact = ingest(model, workspace / "ingest", sandbox=InProcessSandbox())
        except UnsupportedError as error:
            return Row(model.stem, file, None, None, "refused by name", error.message)
        except FairleadError as error:
            return Row(model.stem, file, None, None, "WRONG", f"cannot be read: {error.message}")
        with np.load(answers, allow_pickle=False) as loaded:
            expected = dict(loaded)
        onnx, onnx_why = _difference(lambda: _onnx_engine(artifact, workspace), artifact, expected)
        own, own_why = _difference(lambda: open_reference(artifact, workspace, InProcessSandbox()), artifact, expected)
    why = "; ".join(f"{who}: {reason}" for who, reason in (("ONNX", onnx_why), ("numpy", own_why)) if reason)
    return Row(model.stem, file, onnx, own, _verdict((onnx, onnx_why), (own, own_why)), why)


def _verdict(*results: tuple[float | None, str]) -> str:
    differences = [difference for difference, _ in results if difference is not None]
    reasons = [reason for _, reason in results if reason]
    if any(not difference <= TOLERANCE for difference in differences) or any(not reason.startswith("refused") for reason in reasons):
        return "WRONG"
    return "refused by name" if reasons else "right"


def _onnx_engine(artifact: Artifact, workspace: Path) -> Engine:
    conversion = convert(artifact, workspace / "convert", sandbox=InProcessSandbox())
    return OnnxRuntimeEngine(conversion.path, conversion.interface)


def _difference(open_engine: Any, artifact: Artifact, answers: Mapping[str, np.ndarray]) -> tuple[float | None, str]:
    """Return the largest difference, and why there is none or what else is wrong ("" for nothing)."""
    try:
        engine = open_engine()
    except UnsupportedError as error:
        return None, f"refused: {error.message}"
    except Exception as error:  # noqa: BLE001 - any crash is a finding about the model in the table
        return None, f"{type(error).__name__}: {error!s:.300}"
    worst = 0.0
    names = [spec.name for spec in artifact.interface.inputs]
    for question in sorted({key.rpartition("/")[0] for key in answers}):
        inputs = {name: answers[f"{question}/in{place}"] for place, name in enumerate(names)}
        try:
            outputs = engine.run(inputs)
        except Exception as error:  # noqa: BLE001 - likewise
            return None, f"at {question}: {type(error).__name__}: {error!s:.300}"
        for place, spec in enumerate(artifact.interface.outputs):
            want, got = answers[f"{question}/out{place}"], outputs[spec.name]
            if want.shape != got.shape:
                return None, f"output {place} has shape {list(got.shape)}, not {list(want.shape)}"
            worst = max(worst, float(np.max(np.abs(got - want) / np.maximum(np.abs(want), 1.0))))
        if f"{question}/out{len(artifact.interface.outputs)}" in answers:
            return None, "an output is missing"
    return worst, ""
