"""Takes one saved model through ingest and convert as a user's file goes, and compares every answer with the framework's own."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fairlead.convert.stage import convert
from fairlead.core.artifact import SourceOptions
from fairlead.core.conversion import ENGINE_OF_FORM, MAIN_FILE, Conversion, RuntimeForm
from fairlead.core.interface import Array, Interface, decide
from fairlead.core.ports import Engine, Sandbox, SandboxJob
from fairlead.engines.opening import open_engine
from fairlead.errors import FairleadError, MissingExtraError, SandboxError
from fairlead.ingest.stage import ingest

LIMIT = 1e-5


@dataclass(frozen=True)
class Line:
    """What came of one file. `largest` is the largest difference from the framework, absolute below 1 and relative above."""

    model: str
    format: str
    outcome: str  # "right", "refused", "absent" or "wrong"
    way: str = ""
    largest: float | None = None
    detail: str = ""

    def markdown(self) -> str:
        """Return the row of the table."""
        shown = f"{self.largest:.0e}" if self.largest is not None else "-"
        detail = self.detail.replace("|", "/")
        return f"| {self.model} | {self.format} | {self.way or '-'} | {shown} | {self.outcome}{': ' + detail if detail else ''} |"


class HereSandbox:
    """Runs jobs in this process, for speed: the battery opens only files that it wrote itself."""

    def run(self, job: SandboxJob) -> dict[str, Any]:
        """Call the job's entry."""
        job.scratch.mkdir(parents=True, exist_ok=True)
        module, _, name = job.entry.partition(":")
        answer: dict[str, Any] = getattr(importlib.import_module(module), name)({**job.arguments, "scratch": str(job.scratch)})
        return answer

    def start(self, job: SandboxJob) -> Any:
        """Nothing here stays."""
        raise NotImplementedError(job.entry)

    def layers(self) -> Mapping[str, str]:
        """There are none."""
        return {}


def check(model: str, title: str, source: Path, answers: Path, sandbox: Sandbox, options: Mapping[str, str]) -> Line:
    """Return what becomes of `source`, whose framework's answers are in `answers`."""
    with tempfile.TemporaryDirectory(prefix="tensorflow-battery-") as folder:
        try:
            artifact = ingest(source, Path(folder, "ingest"), sandbox=sandbox, options=SourceOptions(**options))
            conversion = convert(artifact, Path(folder, "convert"), sandbox=sandbox)
            kind = ENGINE_OF_FORM[conversion.form]
            engine = open_engine(kind, conversion.path, conversion.interface)
            largest, flips = _compare(engine, answers)
        except MissingExtraError as error:
            return Line(model, title, "absent", detail=error.message)
        except SandboxError as error:
            return Line(model, title, "wrong", detail=error.message)
        except FairleadError as error:
            return Line(model, title, "refused", detail=error.message)
    is_right = largest <= LIMIT and not flips
    return Line(model, title, "right" if is_right else "wrong", _way(conversion), largest, f"{flips} decisions differ" if flips else "")


def _way(conversion: Conversion) -> str:
    if conversion.form is not RuntimeForm.ONNX:
        return f"kept, {MAIN_FILE[conversion.form]}"
    return conversion.steps[0].tool


def _compare(engine: Engine, answers: Path) -> tuple[float, int]:
    """Return the largest difference, and how many rows are decided otherwise; infinite where nothing can be compared."""
    largest, flips = 0.0, 0
    sets = list(_sets(answers))
    for given, wanted in sets:
        got = engine.run(given)
        if set(got) != set(wanted):
            return np.inf, 0
        largest = max(largest, *(difference(wanted[name], got[name]) for name in wanted))
        flips += _flips(engine.interface, wanted, got)
    return (largest, flips) if sets else (np.inf, 0)


def _flips(interface: Interface, wanted: Mapping[str, Array], got: Mapping[str, Array]) -> int:
    return int((decide(interface, wanted) != decide(interface, got)).sum()) if interface.decision is not None else 0


def difference(one: Array, other: Array) -> float:
    """Return the largest difference, absolute below 1 and relative above; infinite where types or shapes differ."""
    if one.shape != other.shape or (one.dtype != other.dtype and one.dtype.kind not in "OU"):
        return np.inf
    if one.dtype.kind != "f":
        return 0.0 if np.array_equal(one, other) else np.inf
    if not np.array_equal(np.isnan(one), np.isnan(other)):
        return np.inf
    distance = np.abs(one.astype(np.float64) - other) / np.maximum(np.abs(one), 1.0)
    return float(np.nanmax(distance, initial=0.0))


def _sets(path: Path) -> Iterator[tuple[dict[str, Array], dict[str, Array]]]:
    with np.load(path, allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    for prefix in sorted({key.rsplit("/", 2)[0] if key.count("/") == 3 else "/".join(key.split("/")[:2]) for key in arrays}):
        sides = ({}, {})
        for key, array in arrays.items():
            if key.startswith(f"{prefix}/"):
                side, _, name = key.removeprefix(f"{prefix}/").partition("/")
                sides[side == "out"][name] = array.astype(object) if array.dtype.kind == "U" else array
        yield sides
