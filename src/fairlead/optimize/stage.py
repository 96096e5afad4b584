"""Step 4: a candidate's passes, applied in order to the converted model -> the file that the candidate's engine runs.

Takes a Candidate, the canonical ONNX, a folder to write into and Supplies (rows, what else passes need); gives the file and one lineage
step per pass. Raises UnsupportedError for an unknown pass, for a pass that would do nothing, and for one that needs rows or training data
where there are none; SpecError for settings that a pass does not have; CorruptError where a pass breaks its promise: names, types and
shapes of inputs and outputs stay. The file it is given is never changed.
"""

from __future__ import annotations

import time
from dataclasses import fields
from pathlib import Path

import onnx

from fairlead.core.lineage import Step
from fairlead.core.pass_use import PassUse
from fairlead.core.plan import Candidate
from fairlead.errors import CorruptError, UnsupportedError
from fairlead.optimize.catalog import PASSES, complete_settings, traits_of
from fairlead.optimize.job import PassJob, PassResult, Supplies
from fairlead.security.digests import digest_file

_LEAST_S = 1.0  # what is left to a pass that begins when the time is over: it says so by itself


def optimize(candidate: Candidate, model_path: Path, folder: Path, supplies: Supplies | None = None) -> tuple[Path, tuple[Step, ...]]:
    """Return the candidate's file (`model_path` itself where it has no passes) and the steps that led to it. The time of `supplies` is
    for all passes together.
    """
    supplies = supplies or Supplies()
    current, steps = model_path, []
    started = time.monotonic()
    for number, use in enumerate(candidate.uses):
        folder.mkdir(parents=True, exist_ok=True)
        following = folder / f"{number}-{use.name}.onnx"
        spent_s = time.monotonic() - started
        result = _run(use, current, following, supplies, max(supplies.time_s - spent_s, _LEAST_S) if supplies.time_s else 0.0)
        _check_promise(use.name, current, following)
        parameters = {**complete_settings(use), **result.parameters}
        steps.append(Step("optimize", use.name, digest_file(current), digest_file(following), result.versions, parameters, result.notes))
        current = following
    return current, tuple(steps)


def _run(use: PassUse, source: Path, destination: Path, supplies: Supplies, time_s: float) -> PassResult:
    function, traits = PASSES.load(use.name), traits_of(use.name)
    if traits.needs_rows and not supplies.rows:
        raise UnsupportedError(f"The pass '{use.name}' measures ranges on rows, and there are none.", hint="Give data with the model.")
    if traits.needs_training and supplies.training is None:
        raise UnsupportedError(f"The pass '{use.name}' trains, and there are no rows to train on.", hint="Give them: --train train.npz")
    handed = {item.name: getattr(supplies, item.name) for item in fields(Supplies)} | {"time_s": time_s}
    result: PassResult = function(PassJob(source, destination, complete_settings(use), **handed))
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
