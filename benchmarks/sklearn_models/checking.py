"""Takes one model through the product as a user's file goes, and counts what differs from scikit-learn."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fairlead.convert.stage import convert
from fairlead.core.artifact import Artifact
from fairlead.core.conversion import ENGINE_OF_FORM, Conversion, RuntimeForm
from fairlead.core.interface import Array, Interface, Tensors
from fairlead.core.ports import Sandbox, SandboxJob
from fairlead.engines.opening import open_engine
from fairlead.engines.sklearn_engine import open_reference
from fairlead.errors import UnsafeContentError, UnsupportedError
from fairlead.ingest.stage import ingest
from sklearn_models.case import Case, fit, save

LIMIT = 1e-6


@dataclass(frozen=True)
class Line:
    """One row of the table. `largest` is absolute below 1 and relative above; in regression a row that differs by more than 1e-6 counts."""

    name: str
    suffix: str
    rows: int = 0
    probes: int = 0
    flips: int = 0
    largest: float = 0.0
    route: str = ""
    refusal: str = ""
    is_right: bool = True

    def markdown(self) -> str:
        """Return the row."""
        if self.refusal:
            return f"| {self.name} | {self.suffix} | - | - | - | - | {'refused' if self.is_right else 'REFUSED'}: {self.refusal} |"
        return f"| {self.name} | {self.suffix} | {self.rows} | {self.probes} | {self.flips} | {self.largest:.0e} | {self.route} |"


class HereResident:
    """Answers in this process."""

    is_alive = True
    peak_memory_bytes = 0

    def __init__(self, answer: Callable[[Tensors], Tensors]) -> None:
        self._answer = answer

    def ask(self, inputs: Tensors, *, timeout_s: float) -> dict[str, Array]:
        """Call the entry's function; it has as long as it takes."""
        del timeout_s
        return dict(self._answer(inputs))

    def close(self) -> None:
        """There is no process to end."""


class HereSandbox:
    """Runs jobs in this process: for the battery's own files, which it has just written."""

    def run(self, job: SandboxJob) -> dict[str, Any]:
        """Call the job's entry."""
        answer: dict[str, Any] = _call(job)
        return answer

    def start(self, job: SandboxJob) -> HereResident:
        """Call the job's entry, and keep what it returns."""
        return HereResident(_call(job))

    def layers(self) -> Mapping[str, str]:
        """There are none."""
        return {}


def _call(job: SandboxJob) -> Any:
    job.scratch.mkdir(parents=True, exist_ok=True)
    module, _, name = job.entry.partition(":")
    return getattr(importlib.import_module(module), name)({**job.arguments, "scratch": str(job.scratch)})


def check(case: Case, sandbox: Sandbox) -> Line:
    """Train, save, ingest, convert, and compare on the test rows and on the rows at the model's thresholds."""
    estimator, rows = fit(case)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = save(estimator, folder, case.suffix)
        try:
            artifact = ingest(path, folder / "ingest", sandbox=sandbox)
            conversion = convert(artifact, folder / "convert", sandbox=sandbox)
        except (UnsupportedError, UnsafeContentError) as error:
            return Line(case.name, case.suffix, refusal=error.message, is_right=case.is_refused)
        asked = tensors_of(artifact.interface, rows)
        probes = dict(conversion.probes or {})
        everything = {key: np.concatenate([tensor, probes[key]]) if probes else tensor for key, tensor in asked.items()}
        flips, largest = _compare(artifact, everything, folder, sandbox, conversion)
        count = len(next(iter(asked.values())))
        total = len(next(iter(everything.values())))
        is_kept = conversion.form is RuntimeForm.PYTHON
        route = "as it is" if is_kept else conversion.steps[0].tool.partition("(")[2].rstrip(")")
        right = flips == 0 and largest <= LIMIT and not case.is_refused and is_kept == case.is_kept
        return Line(case.name, case.suffix, count, total - count, flips, largest, route, is_right=right)


def tensors_of(interface: Interface, rows: Any) -> dict[str, Array]:
    """Return table rows as the interface's inputs."""
    if len(interface.inputs) == 1:
        return {interface.inputs[0].name: rows}
    return {spec.name: rows[:, [position]].astype(spec.dtype.numpy) for position, spec in enumerate(interface.inputs)}


def _compare(artifact: Artifact, rows: dict[str, Array], folder: Path, sandbox: Sandbox, conversion: Conversion) -> tuple[int, float]:
    wanted = open_reference(artifact, folder / "reference", sandbox).run(rows)
    engine = open_engine(ENGINE_OF_FORM[conversion.form], conversion.path, artifact.interface, sandbox=sandbox)
    flips, largest = 0, 0.0
    for batch in (500, 1):  # large batches, then the first rows one by one: a batch must not change a decision
        count = min(len(next(iter(rows.values()))), 10**9 if batch > 1 else 50)
        parts = [
            engine.run({name: tensor[start : min(start + batch, count)] for name, tensor in rows.items()})
            for start in range(0, count, batch)
        ]
        for name, want in wanted.items():
            got = np.concatenate([part[name] for part in parts])
            if name == "label":
                flips += int((got != want[:count]).sum())
                continue
            with np.errstate(invalid="ignore"):
                away = np.abs(got - want[:count]) / np.maximum(np.abs(want[:count]), 1.0)
            largest = max(largest, float(np.nanmax(away)))
            flips += int((away > LIMIT).sum()) if name == "prediction" else 0
    engine.close()
    return flips, largest
