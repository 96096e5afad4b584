"""Takes one saved model through the product as a user's file goes, and compares every answer with PyTorch's own."""

from __future__ import annotations

import contextlib
import importlib
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fairlead.convert.stage import convert
from fairlead.core.artifact import Artifact, SourceOptions
from fairlead.core.conversion import Conversion, RuntimeForm
from fairlead.core.interface import Array, Interface, decide
from fairlead.core.ports import Engine, Sandbox, SandboxJob
from fairlead.engines.onnxruntime_engine import OnnxRuntimeEngine
from fairlead.engines.torch_engine import TorchEngine, open_reference
from fairlead.engines.torch_rows import name_outputs, to_array
from fairlead.errors import CorruptError, FairleadError, MissingExtraError, SandboxError
from fairlead.ingest.stage import ingest
from torch_models.case import PROGRAM, SAFETENSORS, STATE, Case, draw, make, save

LIMIT = 1e-5
BATCHES = (1, 2, 7)
FOLDER = Path(__file__).parents[1]


@dataclass(frozen=True)
class Line:
    """What came of one file. `largest` is the largest difference from PyTorch, absolute below 1 and relative above."""

    case: Case
    format: str
    outcome: str  # "right", "refused", "absent" or "wrong"
    way: str = ""
    largest: float | None = None
    detail: str = ""

    def markdown(self) -> str:
        """Return the row of the table."""
        shown = f"{self.largest:.1e}" if self.largest is not None else "-"
        detail = self.detail.replace("|", "/")
        outcome = f"{self.outcome}: {detail}" if detail else self.outcome
        return f"| {self.case.name} | {self.case.covers} | {self.format} | {self.way or '-'} | {shown} | {outcome} |"


class HereSandbox:
    """Runs jobs in this process, for speed: the battery opens only files that it wrote itself."""

    def run(self, job: SandboxJob) -> dict[str, Any]:
        """Call the job's entry."""
        job.scratch.mkdir(parents=True, exist_ok=True)
        sys.path.extend(str(path) for path in job.import_paths if str(path) not in sys.path)
        module, _, name = job.entry.partition(":")
        with contextlib.redirect_stdout(sys.stderr):  # an exporter prints the graph that it fails on
            answer: dict[str, Any] = getattr(importlib.import_module(module), name)({**job.arguments, "scratch": str(job.scratch)})
        return answer

    def start(self, job: SandboxJob) -> Any:
        """A process that stays is always a real one."""
        from fairlead.security.sandbox import OneShotSandbox

        return OneShotSandbox().start(job)

    def layers(self) -> Mapping[str, str]:
        """There are none."""
        return {}


def check_case(case: Case, sandbox: Sandbox) -> Iterator[Line]:
    """Yield one line for each format of the case."""
    model = make(case)
    for file_format in case.formats:
        with tempfile.TemporaryDirectory(prefix="torch-battery-") as name, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                path = save(case, model, file_format, Path(name))
            except ModuleNotFoundError as error:
                yield Line(case, file_format, "absent", detail=f"{error.name} is not installed")
                continue
            yield _check_file(case, model, file_format, path, sandbox)


def _check_file(case: Case, model: torch.nn.Module, file_format: str, path: Path, sandbox: Sandbox) -> Line:
    try:
        artifact = ingest(path, path.parent / "ingest", sandbox=sandbox, options=_options(case, file_format))
        conversion = convert(artifact, path.parent / "convert", sandbox=sandbox)
    except MissingExtraError as error:
        return Line(case, file_format, "absent", detail=error.message)
    except (CorruptError, SandboxError) as error:
        return Line(case, file_format, "wrong", detail=error.message)
    except FairleadError as error:
        return Line(case, file_format, "refused", detail=error.message)
    try:
        way = "PyTorch" if conversion.form is RuntimeForm.TORCH else f"ONNX, {conversion.steps[0].parameters['route']}"
        lengths = case.lengths if any(None in item.shape[1:] for item in artifact.interface.inputs) else case.lengths[:1]
        if len(lengths) < len(case.lengths) and not (case.is_frozen and file_format == PROGRAM) and _has_free_length(case):
            raise ValueError("a free length was frozen")  # noqa: TRY301 - the table says it like every other failure
        largest, wrong = _compare((case, model, lengths), artifact, conversion, path.parent / "reference", sandbox)
    except Exception as error:  # noqa: BLE001 - any crash is a finding about the model in the table
        return Line(case, file_format, "wrong", detail=f"{type(error).__name__}: {error!s:.200}")
    is_right = not wrong and largest <= LIMIT and not case.family.startswith("refused")
    return Line(case, file_format, "right" if is_right else "wrong", way, largest, wrong)


def _options(case: Case, file_format: str) -> SourceOptions:
    if file_format == PROGRAM:
        return SourceOptions()
    if file_format in (STATE, SAFETENSORS):
        location = f"{case.build.__module__}:{case.name}"
        return SourceOptions(model_class=location, import_paths=(FOLDER,), inputs=case.inputs)
    return SourceOptions(inputs=case.inputs)


def _has_free_length(case: Case) -> bool:
    return any(None in item.shape[1:] for item in case.inputs)


def _compare(
    asked: tuple[Case, torch.nn.Module, Sequence[int]], artifact: Artifact, conversion: Conversion, scratch: Path, sandbox: Sandbox
) -> tuple[float, str]:
    """Return the largest difference of candidate and reference from PyTorch, and what else is wrong ("" for nothing)."""
    case, model, lengths = asked
    reference = open_reference(artifact, scratch, sandbox)
    engine: Engine
    if conversion.form is RuntimeForm.TORCH:
        engine = TorchEngine(conversion.path, conversion.interface, sandbox=sandbox)
    else:
        engine = OnnxRuntimeEngine(conversion.path, conversion.interface)
    worst, wrong = 0.0, ""
    try:
        for length in lengths:
            for batch in BATCHES:
                rows = draw(case, batch, length)
                wanted = _ask(model, rows)
                for who, got in (("ONNX", engine.run(rows)), ("the reference", reference.run(rows))):
                    away, problem = _differ(artifact.interface, wanted, got)
                    worst = max(worst, away)
                    wrong = wrong or (f"{who}, batch {batch}, length {length}: {problem}" if problem else "")
    finally:
        engine.close()
        reference.close()
    return worst, wrong


def _ask(model: torch.nn.Module, rows: Mapping[str, Array]) -> dict[str, Array]:
    with torch.no_grad():
        answer = model(**{name: torch.from_numpy(tensor) for name, tensor in rows.items()})
    return {name: to_array(tensor) for name, tensor in name_outputs(answer)}


def _differ(interface: Interface, wanted: Mapping[str, Array], got: Mapping[str, Array]) -> tuple[float, str]:
    if set(wanted) != set(got):
        return 0.0, f"outputs {', '.join(got)} instead of {', '.join(wanted)}"
    worst = 0.0
    for name, one in wanted.items():
        if one.shape != got[name].shape:
            return worst, f"output {name} has shape {got[name].shape} instead of {one.shape}"
        worst = max(worst, float(np.max(np.abs(one - got[name]) / np.maximum(np.abs(one), 1.0))))
    if interface.decision is not None and not np.array_equal(decide(interface, wanted), decide(interface, got)):
        return worst, "a decision differs"
    return worst, ""
