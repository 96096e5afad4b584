"""Step 4: a candidate's passes, applied in order to the converted model -> the file that the candidate's engine runs.

Takes a Candidate, the canonical ONNX, a folder to write into, and rows for passes that measure ranges; gives the file and one lineage step
per pass. Raises UnsupportedError for an unknown pass, for a pass that would do nothing, and for one that needs rows where there are none;
CorruptError where a pass breaks its promise: names, types and shapes of inputs and outputs stay. The file it is given is never changed.
"""

from __future__ import annotations

from pathlib import Path

import onnx

from fairlead.core.interface import Tensors
from fairlead.core.lineage import Step
from fairlead.core.plan import Candidate
from fairlead.errors import CorruptError, UnsupportedError
from fairlead.optimize.catalog import PASSES, PassResult, traits_of
from fairlead.security.digests import digest_file


def optimize(candidate: Candidate, model_path: Path, workspace: Path, calibration: Tensors | None = None) -> tuple[Path, tuple[Step, ...]]:
    """Return the candidate's file (`model_path` itself where it has no passes) and the steps that led to it. `calibration` are rows by
    input name, as they will be asked.
    """
    current, steps = model_path, []
    for number, name in enumerate(candidate.passes):
        workspace.mkdir(parents=True, exist_ok=True)
        following = workspace / f"{number}-{name}.onnx"
        result = _run(name, current, following, calibration)
        _check_promise(name, current, following)
        steps.append(Step("optimize", name, digest_file(current), digest_file(following), result.versions, result.parameters, result.notes))
        current = following
    return current, tuple(steps)


def _run(name: str, source: Path, destination: Path, calibration: Tensors | None) -> PassResult:
    function = PASSES.load(name)
    result: PassResult
    if not traits_of(name).needs_rows:
        result = function(source, destination)
    elif calibration:
        result = function(source, destination, calibration)
    else:
        raise UnsupportedError(f"The pass '{name}' measures ranges on rows, and there are none.", hint="Give data with the model.")
    return result


def _check_promise(name: str, before: Path, after: Path) -> None:
    if _surface(before) != _surface(after):
        raise CorruptError(f"The pass '{name}' changed the model's inputs or outputs.", hint="Please report this model.")


def _surface(path: Path) -> list[bytes]:
    """Names, types and shapes of inputs and outputs, as bytes; initializers of old files that are listed as inputs do not count."""
    graph = onnx.load(path).graph
    stored = {tensor.name for tensor in graph.initializer}
    values = [*(value for value in graph.input if value.name not in stored), *graph.output]
    return [value.SerializeToString(deterministic=True) for value in values]
